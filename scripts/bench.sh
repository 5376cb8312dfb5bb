#!/bin/sh
# The comparison of docs/BENCH.md in one go: plain, private and other engines, over shapes, types and threads, into a folder of
# JSON files and figures, and a Markdown table on stdout.
#   [SHAPES="..."] [DTYPES="..."] [THREADS="1 2"] [PEER=KIND=PATH,...] [TORCH=PATH] [GEN=32] [REPEATS=5] [LIMIT_S=1800]
#   [BENCH=build/bin/stip-bench] scripts/bench.sh OUT
# PEER goes to stip-bench speed --peer; TORCH=PATH is asked on every shape, PEER on those that a GGUF file can hold.
# A run that takes longer than LIMIT_S, or that this version cannot do, is named on stderr and left out.
set -eu

out=${1:?usage: scripts/bench.sh OUT}
bench=${BENCH:-build/bin/stip-bench}
command -v jq >/dev/null || {
  echo "scripts/bench.sh: jq is needed for the table; apt-get install jq" >&2
  exit 1
}
mkdir -p "$out/tmp"
trap 'rm -rf "$out/tmp"' EXIT
TMPDIR=$(cd "$out/tmp" && pwd) # a run that is stopped leaves gigabytes there
export TMPDIR

join() { # of two lists that may be empty
  printf '%s%s%s' "$1" "${1:+${2:+,}}" "$2"
}

for shape in ${SHAPES:-gpt2-124m llama-110m tinyllama-1.1b bert-base}; do
  case $shape in
  bert-*) peer="" prompt=128 batch=1,8 ;;
  *) peer=${PEER:-} prompt=128,512 batch=1,8,32 ;;
  esac
  [ -z "${TORCH:-}" ] || peer=$(join "$peer" "torch=$TORCH")
  for dtype in ${DTYPES:-f32 bf16 int8}; do
    for threads in ${THREADS:-1 2}; do
      name=$shape-$dtype-$threads
      echo "$name" >&2
      if timeout "${LIMIT_S:-1800}" "$bench" speed --shape "$shape" --dtype "$dtype" --threads "$threads" --prompt $prompt \
        --batch $batch --gen "${GEN:-32}" --repeats "${REPEATS:-5}" --peer "$peer" --plot "$out/$name.svg" --json >"$out/$name.part"; then
        mv "$out/$name.part" "$out/$name.json"
      else
        echo "$name: left out" >&2
        rm -rf "$out/$name.part" "${TMPDIR:?}"/*
      fi
    done
  done
done

echo "| shape | dtype | threads | phase | tokens | batch | engine | tokens/s | of the limit | private is |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for file in "$out"/*.json; do
  [ -f "$file" ] || continue
  jq -r '. as $all | .rows[] | "| \($all.shape) | \($all.dtype) | \($all.machine.threads) | \(.phase) | \(.tokens) | \(.batch) | "
    + "\(.mode)\(if .tool then " (" + .tool + ")" else "" end) | \(.tok_s * 10 | round / 10) | \(100 * .tok_s / .limit_tok_s | round) % | "
    + "\(.private_ratio * 1000 | round / 1000) x |"' "$file"
done
