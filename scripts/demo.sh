#!/bin/sh
# What `make demo` shows: three processes, one private answer, checked against plain inference.
# MODEL=HFDIR and PROMPT="..." choose another checkpoint and text.
set -eu
cd "$(dirname "$0")/.."
bench=build/bin/stip-bench

if [ -n "${MODEL:-}" ]; then
  if [ -n "${PROMPT:-}" ]; then
    exec "$bench" demo --model "$MODEL" --prompt "$PROMPT"
  fi
  exec "$bench" demo --model "$MODEL"
fi

"$bench" demo --model examples/demo-lm --prompt "${PROMPT:-Once upon a time}"
echo "----------------------------------------------------------------"
"$bench" demo --model examples/demo-classifier --prompt "The start was slow, but the ending was wonderful."
