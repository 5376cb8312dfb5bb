#!/bin/sh
# Runs every fuzz target of a build for some seconds each; stops at the first finding.
#   scripts/fuzz.sh BUILD_DIR [SECONDS]
# Seeds: tests/fuzz/corpus/NAME/ and the malformed files of tests/vectors. New inputs and findings go to BUILD_DIR/fuzz/NAME/.
set -eu

build=${1:?usage: scripts/fuzz.sh BUILD_DIR [SECONDS]}
seconds=${2:-60}
root=$(cd "$(dirname "$0")/.." && pwd)
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1}"

found=0
for target in "$build"/bin/fuzz_*; do
  [ -x "$target" ] || continue
  found=$((found + 1))
  name=$(basename "$target" | sed 's/^fuzz_//')
  work="$build/fuzz/$name"
  mkdir -p "$work"
  set -- "$work"
  for seeds in "$root/tests/fuzz/corpus/$name" "$root/tests/vectors/malformed/$name"; do
    [ -d "$seeds" ] && set -- "$@" "$seeds"
  done
  echo "fuzz: $name, $seconds s"
  if ! "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=65536 -print_final_stats=1 \
      -artifact_prefix="$work-" "$@" >"$work.log" 2>&1; then
    tail -n 60 "$work.log" >&2
    echo "fuzz: $name found something; the input is at $work-*, the whole log is $work.log" >&2
    exit 1
  fi
  grep -E 'number_of_executed_units|peak_rss_mb' "$work.log" || true
done
if [ "$found" -eq 0 ]; then
  echo "fuzz: no fuzz targets in $build/bin; configure with cmake --preset fuzz" >&2
  exit 1
fi
