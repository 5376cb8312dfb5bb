#!/bin/sh
# Profile "engine" against an engine that shares no code with us (scripts/torch_engine.py): exports a checkpoint, serves the export,
# generates through it, with ids and with rows (--prompt-embeds), and compares with plain inference by three processes of ours.
#   scripts/engine_check.sh BUILD MODEL PROMPT [TOKENS]
set -eu
bin=$1/bin model=$2 prompt=$3 tokens=${4:-48}
root=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$dir"' EXIT
"$bin/stip-model-dev" export --model "$model" --out "$dir/exported" >/dev/null 2>&1
"$bin/stip-user" keygen --out "$dir/user.id" >/dev/null
"$bin/stip-model-dev" grant --user "$dir/user.id/identity.pub" --protected "$dir/exported" --model "$model" --prompt-embeds --canaries 0 --out "$dir/user.sealed" >/dev/null
"$root/torch_engine.py" --model "$dir/exported/package" --enable-prompt-embeds --port 0 >"$dir/url" &
pid=$!
i=0
while [ ! -s "$dir/url" ]; do
  i=$((i + 1))
  [ $i -lt 300 ] || { echo "engine_check: the engine did not start" >&2; exit 1; }
  sleep 0.1
done
cat >"$dir/user.json" <<EOF
{"role": "user", "identity": "user.id", "grant": "grant", "backend": {"url": "openai:$(cat "$dir/url")"},
 "peers": {"model_dev": {"endpoint": "tcp://127.0.0.1:1", "key": "@exported/identity/identity.pub"}}}
EOF
"$bin/stip-user" join --config "$dir/user.json" --grant "$dir/user.sealed" >/dev/null
for how in off on; do
  "$bin/stip-user" generate --config "$dir/user.json" --prompt "$prompt" --max-tokens "$tokens" --prompt-embeds $how >"$dir/engine-$how.txt"
done
"$bin/stip-bench" loopback --model "$model" -- generate --prompt "$prompt" --max-tokens "$tokens" >"$dir/ours.txt"
if cmp -s "$dir/engine-off.txt" "$dir/ours.txt" && cmp -s "$dir/engine-on.txt" "$dir/ours.txt"; then
  echo "engine_check: the same $tokens tokens from torch on the export, given ids and given rows, and from ours: $(head -c 70 "$dir/ours.txt" | head -1)..."
else
  echo "engine_check: answers differ" >&2
  diff "$dir/ours.txt" "$dir/engine-off.txt" >&2 || true
  diff "$dir/ours.txt" "$dir/engine-on.txt" >&2 || true
  exit 1
fi
