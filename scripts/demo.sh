#!/bin/sh
# What `make demo` runs after the build: three processes on loopback answer a prompt, and the answer is compared with plain
# inference. Without MODEL the two demo models of this repository are shown, with MODEL only that checkpoint.
#   MODEL   folder of a Hugging Face checkpoint        PROMPT   what the user types
# Exit status 0 only if all of it held.
set -eu
cd "$(dirname "$0")/.."
bench=build/bin/stip-bench

if [ -n "${MODEL:-}" ]; then
  exec "$bench" demo --model "$MODEL" --prompt "${PROMPT:-Once upon a time}"
fi

"$bench" demo --model examples/demo-lm --prompt "${PROMPT:-Once upon a time}"
echo "----------------------------------------------------------------"
"$bench" demo --model examples/demo-classifier --prompt "The start was slow, but the ending was wonderful."
