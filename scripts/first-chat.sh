#!/bin/sh
# How long it takes from a fresh clone to the first private answer in a browser: clone, build, keys and package, three processes and
# the gateway, a question typed into the chat page by a headless chromium. Seconds of each step and of all. Packages of
# install-deps.sh, chromium and the npm packages of tests/page must be there; no compiler cache is used.
#   scripts/first-chat.sh [REPOSITORY]       default: this one
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
from=${1:-$root}
[ -d "$root/tests/page/node_modules/playwright-core" ] || { echo "first-chat: first (cd $root/tests/page && npm install)" >&2; exit 1; }
command -v "${STIP_CHROMIUM:-chromium}" >/dev/null || { echo "first-chat: chromium is missing: apt-get install chromium, or STIP_CHROMIUM=PATH" >&2; exit 1; }
dir=$(mktemp -d)
daemons=""
clean() {
  for pid in $daemons; do kill "$pid" 2>/dev/null || true; done
  for pid in $daemons; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 1' INT TERM
unset CMAKE_C_COMPILER_LAUNCHER
export CCACHE_DISABLE=1

begin=$(date +%s.%N)
last=$begin
step() {
  now=$(date +%s.%N)
  echo "$1 $last $now" | awk '{ printf "%8.1f s  %s\n", $NF - $(NF - 1), substr($0, 1, length($0) - length($NF) - length($(NF - 1)) - 2) }'
  last=$now
}

# Until a log says so, at most a minute.
until_said() { # text, log
  tries=0
  until grep -q "$1" "$2"; do
    [ $((tries += 1)) -lt 600 ] || { cat "$2" >&2; echo "first-chat: nobody said '$1'" >&2; exit 1; }
    sleep 0.1
  done
}

git clone -q --depth 1 "file://$(cd "$from" && git rev-parse --path-format=absolute --git-common-dir)" "$dir/stip" --branch "$(cd "$from" && git rev-parse --abbrev-ref HEAD)"
cd "$dir/stip"
step "clone"
cmake --preset release -DSTIP_TESTS=OFF >"$dir/build.log"
cmake --build --preset release >>"$dir/build.log" || { tail -n 30 "$dir/build.log"; exit 1; }
step "build on $(nproc) CPUs"

# docs/OPERATIONS.md, "The same on one machine".
cp -r configs/demo build/demo && cd build/demo && export PATH=$PWD/../bin:$PATH
port=$((20000 + $$ % 20000))
sed -i "s/:7401/:$port/; s/:7402/:$((port + 1))/; s/:7403/:$((port + 2))/" ./*.json
stip-model-dev keygen --out model_dev.id >/dev/null
stip-server keygen --out server.id >/dev/null
stip-user keygen --out user.id >/dev/null
stip-model-dev protect --model ../../examples/demo-lm --out protected --identity model_dev.id >/dev/null
step "identities, package"
stip-server serve --config server.json >/dev/null 2>server.log &
daemons="$daemons $!"
stip-model-dev serve --config model_dev.json >/dev/null 2>model_dev.log &
daemons="$daemons $!"
until_said serving server.log
stip-user join --config user.json >/dev/null
step "server, developer, join"
touch gateway.out # looked into before the gateway may have opened it
stip-user serve --config user.json --listen 127.0.0.1:0 --json >gateway.out 2>gateway.log &
daemons="$daemons $!"
until_said '"event":"ready"' gateway.out
step "gateway"
node "$root/tests/page/first.mjs" "$(sed -n 's/.*"url":"\([^"]*\)".*/\1/p' gateway.out)"
step "browser, question, answer"
last=$begin
step "from the clone to the answer"
