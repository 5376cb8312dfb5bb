#!/bin/sh
# The demos with the three programs under valgrind's memcheck, from keygen to the answer, which must be that of plain inference:
# no error, no byte that is definitely lost.
#   scripts/test-valgrind.sh BUILD_DIR
# Logs of every process: BUILD_DIR/valgrind/*.log.
set -eu

build=$(cd "${1:?usage: scripts/test-valgrind.sh BUILD_DIR}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work="$build/valgrind"
if ! command -v valgrind >/dev/null; then
  echo "test-valgrind: valgrind is missing: apt-get install valgrind" >&2
  exit 1
fi

# stip-bench starts the programs that lie beside it: here, scripts that start them under valgrind.
rm -rf "$work"
mkdir -p "$work"
for program in stip-model-dev stip-server stip-user; do
  cat >"$work/$program" <<END
#!/bin/sh
# The filter of system calls knows what the server calls, not what valgrind does; eight canaries would take minutes.
[ "\${1:-}" = serve ] && sed -i -e 's/"role":[[:space:]]*"server",/&"sandbox":false,/' -e 's/"role":[[:space:]]*"model_dev",/&"canaries":1,/' "\$3"
exec valgrind --fair-sched=yes --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 \\
  --num-callers=24 --log-file="$work/$program.%p.log" \\
  "$build/bin/$program" "\$@"
END
  chmod +x "$work/$program"
done

# valgrind 3.19 does not know AVX-512, nor does it hide it from programs that ask the processor.
export STIP_ISA=avx2 OPENBLAS_CORETYPE=Haswell OPENBLAS_NUM_THREADS=1
cp "$build/bin/stip-bench" "$work/"
"$work/stip-bench" demo --model "$root/examples/demo-lm" --prompt "Once upon a time" --max-tokens 12 --threads 1
"$work/stip-bench" demo --model "$root/examples/demo-classifier" --prompt "The start was slow, but the ending was wonderful." --threads 1

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
