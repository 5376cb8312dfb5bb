#!/bin/sh
# The tests that take a sample by default, in full: every fault, 10,000 strangers of each kind, 10,000 seeds, 4,000 users, bad lines, kills.
#   scripts/test-long.sh BUILD_DIR [PART...]
# A PART is a test's name (e2e_test_kills), one with a filter (e2e_test_kills:kills/two*), or with faults of one kind as well
# (e2e_test_faults:faults/server:memory:0/7, STIP_FAULTS); without, all below that have not passed since what they run was built. What a part
# said is in BUILD_DIR/long/PART. Parts with bounds in time have the machine to themselves; of the faults, whose programs wait for one another
# most of the time, as many run at once as JOBS says.
set -eu

usage="usage: scripts/test-long.sh BUILD_DIR [PART...]"
build=$(cd "${1:?$usage}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
shift
export STIP_LONG=1 OPENBLAS_NUM_THREADS=1

alone() {
  echo protocol_test_sim
  echo 'e2e_test_floods:floods/!(silent*)'
  echo 'e2e_test_floods:floods/silent*'
  echo 'e2e_test_kills:kills/one*'
  echo 'e2e_test_kills:kills/two*'
  for name in lines crowd uploads gateway_clients; do
    echo "e2e_test_$name"
  done
}

together() {
  for path in join rotate protect generate grant tokenize keygen; do
    echo "e2e_test_faults:faults/$path"
  done
  for faults in memory:0/7 memory:1/7 memory:2/7 memory:3/7 memory:4/7 memory:5/7 memory:6/7 send:0/3 send:1/3 send:2/3 \
    recv:0/3 recv:1/3 recv:2/3 open read write fsync rename map thread socket; do
    echo "e2e_test_faults:faults/server:$faults"
  done
}

begin() {
  name=${part%%:*}
  rest=${part#"$name"}
  rest=${rest#:}
  filter=${rest%%:*}
  faults=${rest#"$filter"}
  faults=${faults#:}
  said=$build/long/$(printf %s "$part" | tr -c 'A-Za-z0-9_-' _)
}

passed() {
  [ -e "$said.passed" ] && [ -z "$(find "$build"/bin/stip-* "$build/bin/libstip_fault.so" "$build/bin/$name" -newer "$said.passed")" ]
}

run() {
  set -- "$build/bin/$name" --timeout 86400
  case $name in
  e2e_test_lines) set -- "$@" -j4 ;; # one line does not slow another
  *) set -- "$@" -j1 ;;
  esac
  [ -z "$filter" ] || set -- "$@" --filter "$filter"
  [ -z "$faults" ] || export STIP_FAULTS="$faults"
  nice "$@"
}

mkdir -p "$build/long"
if [ $# -eq 0 ]; then
  failed=0
  # shellcheck disable=SC2046
  eval "set -- $(alone | sed "s/.*/'&'/" | tr '\n' ' ')"
  STIP_LONG_REST=1 "$root/scripts/test-long.sh" "$build" "$@" || failed=1
  together | STIP_LONG_REST=1 xargs -P "${JOBS:-6}" -n 1 "$root/scripts/test-long.sh" "$build" || failed=1
  [ $failed -eq 0 ] && echo "test-long: all passed"
  exit $failed
fi

failed=
for part; do
  begin
  if [ -n "${STIP_LONG_REST:-}" ] && passed; then
    echo "test-long: $part: passed before"
    continue
  fi
  rm -f "$said.passed"
  began=$(date +%s)
  status=0
  (run) >"$said" 2>&1 || status=$?
  grep -E '^(sim|lines|kills|uploads|floods|crowd|clients|faults): ' "$said" || true
  echo "test-long: $part: $(tail -n 1 "$said"); status $status, $(($(date +%s) - began)) s"
  if [ $status -eq 0 ]; then
    touch "$said.passed"
  else
    head -n 40 "$said" >&2
    failed="$failed $part"
  fi
done
if [ -n "$failed" ]; then
  echo "test-long: failures in $build/long:$failed" >&2
  exit 1
fi
