#!/bin/sh
# The three Debian packages: built, installed, run as a person would, removed. Root only; leaves the machine as it was.
# test-deb.sh BUILD
set -eu
build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")/.." && pwd)
packages="stip-model-dev stip-server stip-user"
export DEBIAN_FRONTEND=noninteractive PATH=/usr/bin:/usr/sbin:/bin:/sbin

say() { echo "test-deb: $*"; }
fail() { say "$*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "needs root: it installs packages"
for p in $packages; do
  ! dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install' || fail "$p is installed; remove it first, this test would"
  [ ! -e "/var/lib/$p" ] || fail "/var/lib/$p is there; this test would remove it"
done

dir=$(mktemp -d)
daemons=""
clean() {
  for pid in $daemons; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$dir" /var/lib/stip-server /var/lib/stip-model-dev # first: the users go when their folders are gone
  dpkg --purge $packages >/dev/null 2>&1 || true
}
trap clean EXIT

say "building"
rm -rf "$build/deb"
(cd "$build" && cpack -G DEB >"$dir/cpack.log" 2>&1) || { cat "$dir/cpack.log"; fail "cpack"; }
ls "$build"/deb/*.deb
for p in $packages; do
  dpkg-deb -f "$build"/deb/${p}_*.deb Package Depends Description
  dpkg-deb -c "$build"/deb/${p}_*.deb >"$dir/$p.files"
  grep -q "usr/bin/$p\$" "$dir/$p.files" || fail "$p has no program"
done
! grep -E 'stip-user|stip-model-dev|stip-bench' "$dir/stip-server.files" || fail "the server's package holds another role"

say "installing"
apt-get install -y -qq "$build"/deb/*.deb >"$dir/apt.log" 2>&1 || { cat "$dir/apt.log"; fail "apt-get install"; }
for p in $packages; do
  [ -x "/usr/bin/$p" ] || fail "there is no /usr/bin/$p"
  "/usr/bin/$p" --version
  [ -f "/usr/share/man/man1/$p.1" ] || [ -f "/usr/share/man/man1/$p.1.gz" ] || grep -qs 'path-exclude=/usr/share/man' /etc/dpkg/dpkg.cfg.d/* ||
    fail "$p has no man page"
  [ -f "/usr/share/bash-completion/completions/$p" ] || fail "$p has no completion"
done
for p in stip-server stip-model-dev; do
  [ "$(stat -c '%a %U' "/var/lib/$p")" = "700 $p" ] || fail "/var/lib/$p: $(stat -c '%a %U' "/var/lib/$p")"
  [ -f "/usr/lib/systemd/system/$p.service" ] || fail "$p has no service"
done
[ -f /usr/lib/systemd/user/stip-user.service ] || fail "stip-user has no service"

# Each daemon in its own folder as its own user; the configs are those of the demo.
say "running"
as() { runuser -u "$1" -- sh -c "cd /var/lib/$1 && $2"; }
user() { (cd "$dir/user" && "$@"); }
mkdir -m 700 "$dir/user"
port=$((20000 + $$ % 20000))
ports="s/:7401/:$port/; s/:7402/:$((port + 1))/; s/:7403/:$((port + 2))/"
for p in stip-server:server stip-model-dev:model_dev; do
  config=${p#*:}.json
  sed "$ports" "$source/configs/demo/$config" >"/var/lib/${p%:*}/$config"
done
sed "$ports" "$source/configs/demo/user.json" >"$dir/user/user.json"
cp -r "$source/examples/demo-lm" /var/lib/stip-model-dev/model
as stip-server "stip-server keygen --out server.id" >/dev/null
as stip-model-dev "stip-model-dev keygen --out model_dev.id" >/dev/null
user stip-user keygen --out user.id >/dev/null
publish() { # whose identity, and who gets it
  from=$1; name=$2; shift 2
  for to in "$@"; do install -D -m 0644 "$from/identity.pub" "$to/$name/identity.pub"; done
}
publish /var/lib/stip-server/server.id server.id /var/lib/stip-model-dev "$dir/user"
publish /var/lib/stip-model-dev/model_dev.id model_dev.id /var/lib/stip-server "$dir/user"
publish "$dir/user/user.id" user.id /var/lib/stip-server /var/lib/stip-model-dev
sed -i 's|"model": *"[^"]*"|"model": "model"|' /var/lib/stip-model-dev/model_dev.json
as stip-model-dev "stip-model-dev protect --model model --out protected --identity model_dev.id" >/dev/null
runuser -u stip-server -- stip-server serve --config /var/lib/stip-server/server.json >/dev/null 2>"$dir/server.log" &
daemons="$daemons $!"
runuser -u stip-model-dev -- stip-model-dev serve --config /var/lib/stip-model-dev/model_dev.json >/dev/null 2>"$dir/model_dev.log" &
daemons="$daemons $!"
tries=0
until grep -q serving "$dir/server.log" || [ $((tries += 1)) -gt 100 ]; do sleep 0.2; done
user stip-user join --config user.json || { cat "$dir"/*.log; fail "join"; }
user stip-user generate --config user.json --prompt "Once upon a time" --max-tokens 20
user stip-user doctor --config user.json >"$dir/doctor" || { cat "$dir/doctor"; fail "doctor"; }
as stip-server "stip-server doctor --config server.json" >"$dir/doctor" || { cat "$dir/doctor"; fail "doctor"; }
for pid in $daemons; do kill "$pid"; wait "$pid" 2>/dev/null || true; done
daemons=""

say "removing"
apt-get remove -y -qq $packages >"$dir/apt.log" 2>&1 || { cat "$dir/apt.log"; fail "apt-get remove"; }
for p in $packages; do [ ! -e "/usr/bin/$p" ] || fail "$p is still there"; done
[ -f /var/lib/stip-server/server.id/identity.key ] || fail "removing a package must leave keys"
rm -rf /var/lib/stip-server /var/lib/stip-model-dev
dpkg --purge $packages >"$dir/apt.log" 2>&1 || { cat "$dir/apt.log"; fail "dpkg --purge"; }
for p in stip-server stip-model-dev; do ! getent passwd "$p" >/dev/null || fail "user $p is still there"; done
say "ok"
