#!/bin/sh
# Tests in which several threads are at work, under the thread sanitizer. First those of the parts: pool of threads, loader, scheduler,
# worker, products, connections, all in BUILD_TSAN. Then, with the programs of BUILD_TSAN and the end-to-end tests of BUILD_DIR: the
# server's scheduler, pool, loader and figures, the user's gateway, the load generator. No race is the result, reports are in
# BUILD_TSAN/tsan/.
#   scripts/test-tsan.sh BUILD_DIR BUILD_TSAN [TEST [FILTER]]
# Criterion maps memory where this sanitizer has its shadow: tests of the parts have a plain runner there (tests/support/plain), the
# end-to-end ones only start programs. tests/tsan.supp says which reports are of libraries that are not instrumented, and why.
set -eu

usage="usage: scripts/test-tsan.sh BUILD_DIR BUILD_TSAN [TEST [FILTER]]"
build=$(cd "${1:?$usage}" && pwd)
programs=$(cd "${2:?$usage}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work="$programs/tsan"
rm -rf "$work"
mkdir -p "$work"
for program in stip-model-dev stip-user; do
  ln -s "$programs/bin/$program" "$work/"
done
cat >"$work/stip-server" <<END
#!/bin/sh
# In its sandbox it could write no report.
[ "\${1:-}" = serve ] && sed -i 's/"role":"server",/&"sandbox":false,/' "\$3"
exec "$programs/bin/stip-server" "\$@"
END
chmod +x "$work/stip-server"

cp "$programs/bin/stip-bench" "$work/" # it starts what lies beside it

export OPENBLAS_NUM_THREADS=1 TSAN_OPTIONS="suppressions=$root/tests/tsan.supp log_path=$work/report"
failed=0
run() {
  echo "test-tsan: $1 ${2:-}"
  case $1 in
  e2e_*) cp "$build/bin/$1" "$work/" ;;
  *) cp "$programs/bin/$1" "$work/" ;;
  esac
  "$work/$1" -j1 --timeout 900 ${2:+--filter "$2"} || failed=1
}

if [ -n "${3:-}" ]; then
  run "$3" "${4:-}"
else
  for name in threads worker loader patience backlog core core_schedule core_drain core_prefix progress log serve_stop serve_chunk; do
    run "unit_test_$name"
  done
  run unit_test_core_memory 'memory/!(ten_thousand*)' # those two take minutes and have one more thread, as the others
  run unit_test_core_limits '!(core_limits/ten_thousand*)'
  for name in channel link session push install http model_dev_serve verify_peer; do
    run "protocol_test_$name"
  done
  run e2e_test_load 'load/!(refusals*)' # that one wants answers within seconds, which this sanitizer takes ten times longer for
  for name in gateway gateway_limits metrics keylife resume crowd; do
    run "e2e_test_$name"
  done
  run e2e_test_answers 'answers/users_at_the_same_time*'
  # The tests give the server one thread; here its pool has two.
  "$work/stip-bench" load --model "$root/examples/demo-lm" --sessions 8 --duration 5 --prompt-tokens 40 --max-tokens 16 --threads 2 ||
    failed=1
fi

reports=$(find "$work" -name 'report.*')
if [ -n "$reports" ]; then
  # shellcheck disable=SC2086
  head -n 40 $reports >&2
  echo "test-tsan: reports in $work" >&2
  failed=1
fi
[ $failed -eq 0 ] && echo "test-tsan: no reports"
exit $failed
