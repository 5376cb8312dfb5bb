#!/bin/sh
# Runs the fuzz targets of a build, one after the other; stops at the first finding.
#   scripts/fuzz.sh BUILD_DIR [SECONDS [RUNS [NAME...]]]
# Each target gets SECONDS (60). With RUNS, rounds are made until every target has had so many executions, all calls together:
# BUILD_DIR/fuzz/NAME.runs has a line "executions seconds" for each slice, so that the work may be interrupted and taken up again.
# Seeds: tests/fuzz/corpus/NAME/ and the malformed files of tests/vectors. New inputs and findings go to BUILD_DIR/fuzz/NAME/.
set -eu

build=${1:?usage: scripts/fuzz.sh BUILD_DIR [SECONDS [RUNS [NAME...]]]}
seconds=${2:-60}
runs=${3:-0}
[ $# -gt 3 ] && shift 3 || shift $#
root=$(cd "$(dirname "$0")/.." && pwd)
# Short stacks of allocations and a small quarantine: 60 MB of memory instead of 400, and a little faster.
export ASAN_OPTIONS="${ASAN_OPTIONS:-allocator_may_return_null=1:malloc_context_size=2:quarantine_size_mb=8}"

names=$*
if [ -z "$names" ]; then
  for target in "$build"/bin/fuzz_*; do
    [ -x "$target" ] && names="$names $(basename "$target" | sed 's/^fuzz_//')"
  done
fi
if [ -z "$names" ]; then
  echo "fuzz: no fuzz targets in $build/bin; configure with cmake --preset fuzz" >&2
  exit 1
fi

done_so_far() { # executions of a target, all slices together
  awk '{ n += $1 } END { printf "%.0f\n", n }' "$build/fuzz/$1.runs" 2>/dev/null || echo 0
}

slice() {
  name=$1
  work="$build/fuzz/$name"
  mkdir -p "$work"
  set -- "$work"
  for seeds in "$root/tests/fuzz/corpus/$name" "$root/tests/vectors/malformed/$name"; do
    [ -d "$seeds" ] && set -- "$@" "$seeds"
  done
  # What a parser has to fear is in its structure: 16 KiB hold all of that, and longer inputs take the time of shorter ones.
  if ! "$build/bin/fuzz_$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=16384 -reload=0 -print_final_stats=1 \
      -artifact_prefix="$work-" "$@" >"$work.log" 2>&1; then
    tail -n 60 "$work.log" >&2
    echo "fuzz: $name found something; the input is at $work-*, the whole log is $work.log" >&2
    exit 1
  fi
  awk -v s="$seconds" '/number_of_executed_units/ { print $2, s }' "$work.log" >>"$work.runs"
  echo "fuzz: $name, $seconds s: $(tail -n 1 "$work.runs" | cut -d' ' -f1) executions, $(done_so_far "$name") in all," \
    "$(awk '/peak_rss_mb/ { print $2 }' "$work.log") MB"
}

while :; do
  left=0
  for name in $names; do
    if [ "$runs" -gt 0 ] && [ "$(done_so_far "$name")" -ge "$runs" ]; then
      continue
    fi
    slice "$name"
    left=1
  done
  [ "$runs" -gt 0 ] && [ "$left" -eq 1 ] || break
done
