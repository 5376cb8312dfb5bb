#!/bin/sh
# The tests that take a sample by default, in full: every fault, 10,000 strangers of each kind, 10,000 seeds, 4,000 users, bad lines, kills.
#   scripts/test-long.sh BUILD_DIR
set -eu

build=${1:?usage: scripts/test-long.sh BUILD_DIR}
export STIP_LONG=1 OPENBLAS_NUM_THREADS=1
for name in protocol_test_sim e2e_test_lines e2e_test_kills e2e_test_uploads e2e_test_floods e2e_test_crowd e2e_test_faults; do
  echo "test-long: $name"
  nice "$build/bin/$name" -j1 --timeout 86400
done
