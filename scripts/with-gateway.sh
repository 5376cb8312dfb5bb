#!/bin/sh
# Runs a command against a gateway in front of three processes with the demo model, or with the checkpoint in the folder
# CHECKPOINT and with more flags of serve in FLAGS; {} in the command becomes http://127.0.0.1:PORT.
#   scripts/with-gateway.sh BUILD_DIR COMMAND...
set -eu
build=$(cd "${1:?usage: scripts/with-gateway.sh BUILD_DIR COMMAND...}" && pwd)
shift
root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mktemp)
"$build/bin/stip-bench" loopback --model "${CHECKPOINT:-$root/examples/demo-lm}" -- serve --listen 127.0.0.1:0 --json \
  --turn '<|user|>%s<|end|><|assistant|>' ${FLAGS:-} >"$out" &
bench=$!
trap 'kill -TERM $bench 2>/dev/null || true; wait $bench 2>/dev/null || true; rm -f "$out"' EXIT
trap 'exit 1' INT TERM

url=""
tries=0
while [ -z "$url" ]; do
  tries=$((tries + 1))
  if ! kill -0 $bench 2>/dev/null || [ $tries -gt 600 ]; then
    echo "with-gateway: the gateway did not start" >&2
    exit 1
  fi
  sleep 0.1
  url=$(sed -n 's/.*"event":"ready","url":"\([^"]*\)".*/\1/p' "$out")
done

# A placeholder may stand in the middle of a word.
n=$#
while [ "$n" -gt 0 ]; do
  word=$(printf '%s' "$1" | sed "s|{}|$url|g")
  shift
  set -- "$@" "$word"
  n=$((n - 1))
done
"$@"
