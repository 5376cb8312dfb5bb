#!/bin/sh
# Tests in which several threads are at work, under the thread sanitizer. First those of the parts: pool of threads, loader, scheduler,
# worker, products, connections, all in BUILD_TSAN. Then, with the programs of BUILD_TSAN and the end-to-end tests of BUILD_DIR: the
# server's scheduler, pool, loader and figures, the user's gateway, the load generator. No race is the result.
#   scripts/test-tsan.sh BUILD_DIR BUILD_TSAN [PART...]
# A PART is a test's name (unit_test_loader), one with a filter (e2e_test_load:load/three*), or stip-bench; without, all below that have not
# passed since what they run was built. What a part said, and its reports, are in BUILD_TSAN/tsan/PART/.
# Criterion maps memory where this sanitizer has its shadow: tests of the parts have a plain runner there (tests/support/plain), the
# end-to-end ones only start programs. tests/tsan.supp says which reports are of libraries that are not instrumented, and why.
set -eu

usage="usage: scripts/test-tsan.sh BUILD_DIR BUILD_TSAN [PART...]"
build=$(cd "${1:?$usage}" && pwd)
programs=$(cd "${2:?$usage}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
shift 2

parts() {
  for name in threads worker loader stock patience backlog core core_schedule core_drain core_prefix progress log serve_stop serve_chunk matmul core_memory core_limits smpc; do
    echo "unit_test_$name"
  done
  for name in channel link session push install http model_dev_serve verify_peer; do
    echo "protocol_test_$name"
  done
  for name in load gateway gateway_limits metrics keylife resume crowd; do
    echo "e2e_test_$name"
  done
  echo 'e2e_test_answers:answers/users_at_the_same_time*'
  echo stip-bench
}

# Programs as the tests find them: beside the test.
furnish() {
  for program in stip-model-dev stip-user; do
    ln -s "$programs/bin/$program" "$work/"
  done
  cat >"$work/stip-server" <<END
#!/bin/sh
# In its sandbox it could write no report.
[ "\${1:-}" = serve ] && ! grep -q '"sandbox"' "\$3" && sed -i 's/"role":"server",/&"sandbox":false,/' "\$3"
exec "$programs/bin/stip-server" "\$@"
END
  chmod +x "$work/stip-server"
  cp "$programs/bin/stip-bench" "$work/" # it starts what lies beside it
}

passed() {
  [ -e "$work/passed" ] || return 1
  [ -z "$(find "$programs/bin/stip-model-dev" "$programs/bin/stip-server" "$programs/bin/stip-user" "$programs/bin/stip-bench" "$test" \
    "$root/tests/tsan.supp" -newer "$work/passed")" ]
}

run() {
  furnish
  case $part in
  stip-bench) # the tests give the server one thread; here its pool has two
    set -- "$work/stip-bench" load --model "$root/examples/demo-lm" --sessions 8 --duration 5 --prompt-tokens 40 --max-tokens 16 --threads 2
    ;;
  *)
    cp "$test" "$work/"
    set -- "$work/$name" -j1 --timeout 900
    case $part in *:*) set -- "$@" --filter "${part#*:}" ;; esac
    ;;
  esac
  "$@"
}

export OPENBLAS_NUM_THREADS=1 STIP_SLOW=10
all=
if [ $# -eq 0 ]; then
  all=1
  eval "set -- $(parts | sed "s/.*/'&'/" | tr '\n' ' ')"
fi
failed=""
for part; do
  name=${part%%:*}
  case $name in e2e_*) test=$build/bin/$name ;; *) test=$programs/bin/$name ;; esac
  work=$programs/tsan/$(printf %s "$part" | tr -c 'A-Za-z0-9_-' _)
  if [ -n "$all" ] && passed; then
    echo "test-tsan: $part: passed before"
    continue
  fi
  rm -rf "$work"
  mkdir -p "$work"
  export TSAN_OPTIONS="suppressions=$root/tests/tsan.supp log_path=$work/report"
  began=$(date +%s)
  status=0
  run >"$work/said" 2>&1 || status=$?
  reports=$(find "$work" -name 'report.*')
  echo "test-tsan: $part: $(tail -n 1 "$work/said"); status $status, $(printf %s "$reports" | grep -c '') reports, $(($(date +%s) - began)) s"
  if [ $status -eq 0 ] && [ -z "$reports" ]; then
    touch "$work/passed"
    continue
  fi
  # shellcheck disable=SC2086
  head -n 40 "$work/said" $reports >&2
  failed="$failed $part"
done
if [ -n "$failed" ]; then
  echo "test-tsan: reports or failures in $programs/tsan:$failed" >&2
  exit 1
fi
echo "test-tsan: no reports"
