#!/bin/sh
# What `make demo` runs after the build: three processes on loopback answer a prompt, and the answer is compared with plain
# inference. Without MODEL the two demo models of this repository are shown, with MODEL only that checkpoint.
#   MODEL   folder of a Hugging Face checkpoint        PROMPT   what the user types
# Exit status 0 only if all of it held.
set -eu
cd "$(dirname "$0")/.."

if [ -n "${MODEL:-}" ]; then
  build/bin/stip-bench demo --model "$MODEL" --prompt "${PROMPT:-Once upon a time}"
else
  build/bin/stip-bench demo --model examples/demo-lm --prompt "${PROMPT:-Once upon a time}"
  build/bin/stip-bench demo --model examples/demo-classifier --prompt "The food was not bad at all, and our waiter was kind."
fi
