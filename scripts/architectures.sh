#!/bin/bash
# The table of architectures in README.md: for each, a small checkpoint of random weights goes through
#   equality (head where protect puts it), equality --head user, equality --profile gauge, equality --dtype int8, export.
#   scripts/architectures.sh [NAME ...]      all of them without names; BUILD=build says where the programs are
# yes: private and plain agree (stip-bench equality ended with 0) or the export was written; no: refused, the reason is on stderr;
# BAD: neither, and then the script ends with 1.
set -u
cd "$(dirname "$0")/.."
bin=${BUILD:-build}/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
names=("$@")
[ $# -gt 0 ] || mapfile -t names < <("$bin/stip-bench" synth --architectures | grep -v '^ViT\|^DeiT') # images have a table of their own
"$bin/stip-model-dev" keygen --out "$work/id" >/dev/null || exit 1
printf 'The lantern stood by the river.\nA fox came, and the cat was there.\n' >"$work/text"

# cell NAME COMMAND...: status 0 is yes, 2 (usage: it was refused by name) is no.
cell() {
  local what=$1 status
  shift
  "$@" >"$work/out" 2>"$work/err"
  status=$?
  case $status in
    0) echo yes ;;
    2) echo no; echo "$what: $(tail -1 "$work/err")" >&2 ;;
    *) echo BAD; bad=1; echo "$what: status $status: $(tail -1 "$work/err")" >&2; cat "$work/out" >&2 ;;
  esac
}

echo '| architecture | plain = private | head on user | gauge | int8 | engine export |'
echo '|---|---|---|---|---|---|'
for name in "${names[@]}"; do
  case $name in
    *Bert* | *Roberta*) tokenizer=examples/demo-classifier ;;
    *) tokenizer=examples/demo-lm ;;
  esac
  rm -rf "$work/model" "$work/export"
  "$bin/stip-bench" synth --architecture "$name" --tokenizer "$tokenizer" --out "$work/model" || exit 1
  equality=("$bin/stip-bench" equality --model "$work/model" --text "$work/text" --gen 16 --threads 1 --json)
  row="| $name "
  row+="| $(cell "$name, equality" "${equality[@]}") "
  row+="| $(cell "$name, head user" "${equality[@]}" --head user) "
  row+="| $(cell "$name, gauge" "${equality[@]}" --profile gauge --head user) "
  row+="| $(cell "$name, int8" "${equality[@]}" --dtype int8) "
  row+="| $(cell "$name, export" "$bin/stip-model-dev" export --model "$work/model" --out "$work/export" --identity "$work/id") |"
  echo "$row"
  ! grep -q BAD <<<"$row" || bad=1
done
exit $bad
