#!/bin/sh
# The tests in which several threads are at work, under the thread sanitizer: pool, scheduler, server, gateway, load.
#   scripts/test-tsan.sh [REGEX]
# REGEX chooses tests by name as ctest -R does. tests/tsan.supp says which reports are of libraries that are not instrumented, and why.
set -eu
cd "$(dirname "$0")/.."
which=${1:-'unit/test_(core|threads|progress|loader|serve|log|pace|retry|kernels|matmul|engine|lookup)|protocol/|e2e/test_(load|gateway|gateway_limits|keylife|metrics|resume|crowd|answers)$'}
ctest --preset tsan -j1 -R "$which" -E 'faults'
