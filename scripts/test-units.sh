#!/bin/sh
# The systemd units, started by a real systemd as they stand in the packages: a copy-on-write view of this machine is booted in
# namespaces of its own (files, processes, network, control groups), the three packages are installed there, and the services are
# started, asked, reloaded, killed, broken and stopped. Nothing of the machine itself is changed. Root only; 77 where that cannot be.
#   test-units.sh BUILD
set -eu
say() { echo "test-units: $*"; }
skip() { say "$*; skipped"; exit 77; }

if [ "${1:-}" != --inside ]; then
  build=$(cd "$1" && pwd)
  source=$(cd "$(dirname "$0")/.." && pwd)
  [ "$(id -u)" -eq 0 ] || skip "needs root, to boot a systemd in namespaces"
  [ -x /lib/systemd/systemd ] || skip "there is no systemd here"
  unshare -mpfCiun --mount-proc true 2>/dev/null || skip "no namespaces may be made here"
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  trap 'exit 1' INT TERM
  (cd "$build" && cpack -G DEB >"$dir/cpack.log" 2>&1) || { cat "$dir/cpack.log"; exit 1; }
  cp -r "$build"/deb "$source/configs/demo" "$source/examples/demo-lm" "$dir"
  cp "$0" "$dir/test-units.sh"
  mkdir "$dir/layers"
  mount -t tmpfs tmpfs "$dir/layers" && umount "$dir/layers" || skip "nothing can be mounted here"
  timeout -k 10 240 setsid unshare -mpfCiun --kill-child --mount-proc sh "$dir/test-units.sh" --inside boot "$dir" >"$dir/boot.log" 2>&1 </dev/null || true
  cat "$dir/out" 2>/dev/null || true
  grep -q '^test-units: ok$' "$dir/out" 2>/dev/null || { tail -n 60 "$dir/boot.log"; say "failed"; exit 1; }
  exit 0
fi

# ---------------------------------------------------------------- in the namespaces: a root to write in, then systemd
if [ "$2" = boot ]; then
  dir=$3
  mount --make-rprivate /
  mount -t tmpfs tmpfs "$dir/layers"
  mkdir "$dir/layers/upper" "$dir/layers/work" "$dir/layers/root"
  root=$dir/layers/root
  mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/layers/upper,workdir=$dir/layers/work" "$root"
  mkdir -p "$root/stip-test"
  mount --bind "$dir" "$root/stip-test"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 none "$root/sys/fs/cgroup"
  mount -t tmpfs tmpfs "$root/run"
  mount -t tmpfs tmpfs "$root/tmp"
  mount --rbind /dev "$root/dev"
  # Of this machine's own services none is wanted.
  rm -rf "$root"/etc/systemd/system/* "$root"/usr/lib/systemd/system/*.wants/* "$root"/etc/machine-id "$root"/etc/fstab
  touch "$root/etc/machine-id" "$root/etc/fstab"
  cat >"$root/etc/systemd/system/stip-test.service" <<UNIT
[Unit]
Description=the test itself
After=basic.target
Requires=basic.target
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
StandardOutput=append:/stip-test/out
StandardError=append:/stip-test/out
ExecStart=/bin/sh /stip-test/test-units.sh --inside test
UNIT
  for p in stip-server stip-model-dev; do # there is no journal here
    mkdir -p "$root/etc/systemd/system/$p.service.d"
    printf '[Service]\nStandardError=append:/stip-test/%s.log\n' $p >"$root/etc/systemd/system/$p.service.d/log.conf"
  done
  ip link set lo up
  export container=stip-test
  # Not chroot: in one no user namespace can be made (PrivateUsers).
  mkdir "$root/before" && cd "$root" && pivot_root . before && umount -l /before
  exec /lib/systemd/systemd --system --unit=stip-test.service --log-target=console --show-status=no
fi

# ---------------------------------------------------------------- under systemd
export DEBIAN_FRONTEND=noninteractive PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root
fail() { say "$*"; systemctl --no-pager --full status stip-server stip-model-dev || true; tail -n 20 /stip-test/*.log; exit 1; }
until_so() { # seconds, command
  tries=$(($1 * 10)); shift
  until "$@" >/dev/null 2>&1; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.1
  done
}
property() { systemctl show -p "$2" --value "$1"; }

say "systemd $(systemctl --version | head -n 1 | cut -d ' ' -f 2) is up"
dpkg -i /stip-test/deb/*.deb >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; fail "dpkg -i"; }
for p in stip-server stip-model-dev; do
  ! systemctl is-active -q $p || fail "$p runs before it has a config"
done
systemctl start stip-server
[ "$(property stip-server ConditionResult)" = no ] || fail "started without a config"

# As docs/OPERATIONS.md has it, each party in its own folder as its own user.
as() { runuser -u "$1" -- sh -c "cd /var/lib/$1 && $2" >/dev/null; }
mkdir -m 700 $HOME/stip
cp /stip-test/demo/server.json /var/lib/stip-server/
cp /stip-test/demo/model_dev.json /var/lib/stip-model-dev/
cp /stip-test/demo/user.json $HOME/stip/
cp -r /stip-test/demo-lm /var/lib/stip-model-dev/model
sed -i 's|"model": *"[^"]*"|"model": "model"|' /var/lib/stip-model-dev/model_dev.json
as stip-server "stip-server keygen --out server.id"
as stip-model-dev "stip-model-dev keygen --out model_dev.id"
(cd $HOME/stip && stip-user keygen --out user.id) >/dev/null
for party in stip-server:server stip-model-dev:model_dev; do
  from=/var/lib/${party%:*}/${party#*:}.id/identity.pub
  for to in /var/lib/stip-server /var/lib/stip-model-dev $HOME/stip; do
    [ -e "$to/${party#*:}.id" ] || install -D -m 0644 "$from" "$to/${party#*:}.id/identity.pub"
  done
done
for to in /var/lib/stip-server /var/lib/stip-model-dev; do install -D -m 0644 $HOME/stip/user.id/identity.pub "$to/user.id/identity.pub"; done
chown -R stip-model-dev: /var/lib/stip-model-dev/model_dev.json
as stip-model-dev "stip-model-dev protect --model model --out protected --identity model_dev.id --derived-from none"

systemctl start stip-server stip-model-dev || fail "start"
until_so 30 grep -q serving /stip-test/stip-server.log || fail "the server does not serve"
ask() { (cd $HOME/stip && stip-user generate --config user.json --prompt "Once upon a time" --max-tokens 12 --temperature 0); }
(cd $HOME/stip && stip-user join --config user.json) >/dev/null || fail "join"
answer=$(ask) || fail "no answer"
say "started, joined, asked: $answer"

# What the unit says of it is true of the process.
for p in stip-server stip-model-dev; do
  pid=$(property $p MainPID)
  state=$(cat "/proc/$pid/status")
  for line in "NoNewPrivs:	1" "Seccomp:	2" "CapEff:	0000000000000000" "CapBnd:	0000000000000000"; do
    echo "$state" | grep -qxF "$line" || fail "$p: not $line"
  done
  [ "$(stat -c %U "/proc/$pid")" = "$p" ] || fail "$p runs as $(stat -c %U "/proc/$pid")"
  inside() { nsenter -t "$pid" -m "$@" 2>/dev/null; }
  ! inside touch /etc/stip-was-here || fail "$p may write in /etc"
  ! inside touch /usr/bin/stip-was-here || fail "$p may write in /usr"
  ! inside ls -A /root /home | grep -vE '^(/|$)' | grep -q . || fail "$p sees homes"
  inside touch "/var/lib/$p/stip-was-here" || fail "$p may not write in its own folder"
done
! grep -q 'Operation not permitted' /stip-test/stip-server.log || fail "the unit keeps the server from its own sandbox"
say "hardening is in force"

pid=$(property stip-server MainPID)
systemctl reload stip-server || fail "reload"
[ "$(ask)" = "$answer" ] && [ "$(property stip-server MainPID)" = "$pid" ] || fail "after a reload"
kill -KILL "$pid"
until_so 20 sh -c "systemctl is-active -q stip-server && [ \"\$(systemctl show -p MainPID --value stip-server)\" != $pid ]" || fail "not started again after a kill"
until_so 20 sh -c 'cd $HOME/stip && stip-user generate --config user.json --prompt Once --max-tokens 1' || fail "no answer after a kill"
[ "$(ask)" = "$answer" ] || fail "another answer after a kill"
say "reloaded; killed, and started again"

systemctl stop stip-server stip-model-dev || fail "stop"
for p in stip-server stip-model-dev; do
  [ "$(property $p Result) $(property $p ExecMainStatus)" = "success 0" ] || fail "$p stopped with $(property $p Result) $(property $p ExecMainStatus)"
done
sed -i 's/"role"/"rule"/' /var/lib/stip-server/server.json
systemctl start stip-server || true
sleep 4
[ "$(property stip-server NRestarts) $(property stip-server ActiveState)" = "0 failed" ] || fail "a wrong config is tried again: $(property stip-server NRestarts) $(property stip-server ActiveState)"
sed -i 's/"rule"/"role"/' /var/lib/stip-server/server.json
systemctl reset-failed stip-server
systemctl start stip-server
say "stopped well; a wrong config is not tried again"

# The gateway, in the service manager of the person.
export XDG_RUNTIME_DIR=/run/user/0
mkdir -p -m 700 $XDG_RUNTIME_DIR
systemd-run -q --unit=person -p Delegate=yes -p Environment="XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR HOME=$HOME" /lib/systemd/systemd --user
until_so 20 systemctl --user is-system-running --wait || true
systemctl --user start stip-user || { systemctl --user --no-pager status stip-user; fail "the gateway"; }
chat='{"messages":[{"role":"user","content":"What colour is the sky?"}],"temperature":0}'
until_so 20 sh -c "curl -s http://127.0.0.1:7847/v1/chat/completions -H 'Content-Type: application/json' -d '$chat' | grep -q 'The sky is blue'" || { systemctl --user --no-pager status stip-user; fail "the gateway does not answer"; }
pid=$(systemctl --user show -p MainPID --value stip-user)
grep -q '^NoNewPrivs:	1' "/proc/$pid/status" && grep -q '^Seccomp:	2' "/proc/$pid/status" || fail "the gateway is not hardened"
systemctl --user stop stip-user
[ "$(systemctl --user show -p Result --value stip-user)" = success ] || fail "the gateway does not stop well"
say "the gateway answers as a user's service"
apt_left=$(dpkg --purge stip-user stip-server stip-model-dev 2>&1) || { echo "$apt_left"; fail "purge"; }
! systemctl is-active -q stip-server || fail "removed, and still running"
say ok
