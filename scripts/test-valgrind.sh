#!/bin/sh
# The end-to-end tests with the three programs under valgrind's memcheck: no error, no byte that is definitely lost.
#   scripts/test-valgrind.sh BUILD_DIR [TEST [FILTER]]...
# Without arguments: a language model and a classifier from keygen to the answer. TEST is an end-to-end test of the build, FILTER
# what its --filter takes. Logs of every process: BUILD_DIR/valgrind/*.log. tests/valgrind.supp says what is not ours, and why.
set -eu

build=$(cd "${1:?usage: scripts/test-valgrind.sh BUILD_DIR [TEST [FILTER]]...}" && pwd)
shift
[ $# -gt 0 ] || set -- e2e_test_answers 'answers/the_demo_*' e2e_test_gateway 'gateway/streamed_*'
root=$(cd "$(dirname "$0")/.." && pwd)
work="$build/valgrind"
if ! command -v valgrind >/dev/null; then
  echo "test-valgrind: valgrind is missing: apt-get install valgrind" >&2
  exit 1
fi

# A test starts the programs that lie beside it: here, scripts that start them under valgrind.
rm -rf "$work"
mkdir -p "$work"
for program in stip-model-dev stip-server stip-user; do
  cat >"$work/$program" <<END
#!/bin/sh
# The filter of system calls knows what the server calls, not what valgrind does.
[ "\${1:-}" = serve ] && [ $program = stip-server ] && sed -i 's/"role":"server",/&"sandbox":false,/' "\$3"
exec valgrind --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 \\
  --num-callers=24 --suppressions="$root/tests/valgrind.supp" --log-file="$work/$program.%p.log" \\
  "$build/bin/$program" "\$@"
END
  chmod +x "$work/$program"
done

# valgrind 3.19 does not know AVX-512, nor does it hide it from programs that ask the processor.
export STIP_ISA=avx2 OPENBLAS_CORETYPE=Haswell OPENBLAS_NUM_THREADS=1
while [ $# -gt 0 ]; do
  cp "$build/bin/$1" "$work/"
  echo "test-valgrind: $1 ${2:-}"
  "$work/$1" -j1 --timeout 3600 ${2:+--filter "$2"}
  [ $# -gt 1 ] && shift 2 || shift
done

count=$(find "$work" -name '*.log' | wc -l)
# A process that was killed has not said so either.
bad=$(find "$work" -name '*.log' -exec grep -L 'ERROR SUMMARY: 0 errors' {} +)
if [ -n "$bad" ]; then
  # shellcheck disable=SC2086
  head -n 60 $bad >&2
  echo "test-valgrind: findings in" $bad >&2
  exit 1
fi
if [ "$count" -eq 0 ]; then
  echo "test-valgrind: no program was run" >&2
  exit 1
fi
echo "test-valgrind: $count processes, no errors, nothing definitely lost"
