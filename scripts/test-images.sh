#!/bin/sh
# The images of packaging/docker and packaging/compose.yaml, as its head says, up to an answer through the gateway. Debian itself comes
# from its package mirror (debootstrap), so that no image registry is asked; podman or docker does the rest, with its files in a temporary
# folder and the containers in namespaces of their own: nothing of the machine is changed. Root only; needs the network for Debian's
# packages, 4 GB of disk and some minutes; 77 where that cannot be.
#   test-images.sh [podman | docker]         default: podman. docker: with a dockerd of its own
set -eu
say() { echo "test-images: $*"; }
skip() { say "$*; skipped"; exit 77; }
fail() { say "$*"; exit 1; }
roles="server model-dev user"

# ---------------------------------------------------------------- outside: sources, Debian, images
if [ "${1:-}" != --inside ]; then
  source=$(cd "$(dirname "$0")/.." && pwd)
  case ${1:-podman} in
    podman) engine=podman tools="podman podman-compose" packages="podman podman-compose crun netavark aardvark-dns" ;;
    docker) engine=docker tools="docker dockerd docker-compose" packages="docker.io docker-compose" ;;
    *) fail "expected podman or docker, found $1" ;;
  esac
  [ "$(id -u)" -eq 0 ] || skip "needs root, for namespaces and debootstrap"
  for tool in $tools debootstrap iptables; do
    command -v $tool >/dev/null || skip "$tool is missing: apt-get install $packages debootstrap iptables"
  done
  unshare -mpfCiun --mount-proc true 2>/dev/null || skip "no namespaces may be made here"
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  trap 'exit 1' INT TERM
  mkdir "$dir/src" "$dir/networks"
  (cd "$source" && git ls-files -z | xargs -0 cp --parents -t "$dir/src")
  cat >"$dir/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$dir/storage"
runroot = "/run/stip-test"
CONF
  # No control groups, and limits below those of any machine: they ask for rights that root of a virtual machine may lack.
  cat >"$dir/containers.conf" <<CONF
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "/run/stip-test"
[network]
network_backend = "netavark"
network_config_dir = "$dir/networks"
CONF
  cp "$0" "$dir/test-images.sh"
  for part in build run; do
    say "$part"
    own=-mpfCi # namespaces; those who run get a network of their own too
    [ $part = build ] || own=-mpfCiun
    timeout -k 10 3600 setsid unshare $own --kill-child --mount-proc \
      sh "$dir/test-images.sh" --inside $part "$dir" $engine </dev/null || fail "failed in: $part"
  done
  say ok
  exit 0
fi

# ---------------------------------------------------------------- in the namespaces
part=$2
dir=$3
engine=$4
export CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage.conf" HOME="$dir" DEBIAN_FRONTEND=noninteractive
mount --make-rprivate /
cp -L /etc/resolv.conf "$dir/resolv.conf" 2>/dev/null || true
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup

# The network of `build` is the machine's: no bridge is made there, and no rule.
start_docker() {
  own=""
  [ $part = run ] || own="--bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false"
  export DOCKER_HOST=unix:///run/docker.sock DOCKER_BUILDKIT=0
  dockerd --data-root "$dir/docker" --exec-root /run/docker --pidfile /run/docker.pid -H $DOCKER_HOST --storage-driver overlay2 $own >"$dir/dockerd.log" 2>&1 &
  tries=300
  until docker version >/dev/null 2>&1; do
    [ $((tries -= 1)) -gt 0 ] && kill -0 $! || { tail "$dir/dockerd.log"; fail "dockerd does not start"; }
    sleep 0.2
  done
}
build_flags="--network host"
case $engine in
  podman) build_flags="--isolation chroot --network host --pull=never --layers" compose=podman-compose library=docker.io/library/ ;;
  docker) compose=docker-compose library="" ;;
esac

if [ "$part" = build ]; then
  [ -e /etc/resolv.conf ] || { mkdir -p "$(dirname "$(readlink -m /etc/resolv.conf)")" && cp "$dir/resolv.conf" "$(readlink -m /etc/resolv.conf)"; }
  debootstrap --variant=minbase bookworm "$dir/debian" "${STIP_MIRROR:-http://deb.debian.org/debian}" >"$dir/log" 2>&1 || { tail "$dir/log"; fail "debootstrap"; }
  [ $engine = podman ] || start_docker
  for tag in 12 12-slim; do
    tar -C "$dir/debian" -c . | $engine import - ${library}debian:$tag >"$dir/log" 2>&1 || { tail "$dir/log"; fail "$engine import"; }
  done
  rm -rf "$dir/debian"
  cd "$dir/src"
  for role in $roles; do
    $engine build $build_flags -t stip-$role -f packaging/docker/$role.Dockerfile . >"$dir/log" 2>&1 ||
      { tail -n 40 "$dir/log"; fail "stip-$role cannot be built"; }
  done
  $engine images | sed 's/^/test-images:   /'
  [ $engine = podman ] || { kill "$(cat /run/docker.pid)" && wait; } # what it has written is whole then
  exit 0
fi

ip link set lo up
[ $engine = podman ] || start_docker
cd "$dir/src/packaging"
export PODMAN_COMPOSE_WARNING_LOGS=false
chown -R 1000:1000 compose # to whom compose.yaml gives the containers
until_so() { # seconds, command
  tries=$(($1 * 5)); shift
  until "$@" >/dev/null 2>&1; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.2
  done
}
logs() { $engine ps -a; for role in $roles; do echo "--- $role"; $engine logs packaging_${role}_1 2>&1 | tail -n 20; done; }

for role in $roles; do
  $engine run --rm --network none stip-$role --version | sed 's/^/test-images:   /'
  for other in $roles; do
    [ $other = $role ] || ! $engine run --rm --network none --entrypoint sh stip-$role -c "command -v stip-$other" || fail "the image of $role holds $other"
  done
done

# The head of compose.yaml, line by line; images are there.
sed -n 's/^#   //p' compose.yaml | sed 's/  *#.*//; /^docker compose build/d
  s/^docker compose run --rm/'$compose' run --no-deps -T --rm/; s/^docker compose/'$compose'/' >"$dir/steps"
while read -r step; do
  sh -c "$step" >"$dir/log" 2>&1 </dev/null || { cat "$dir/log"; logs; fail "$step"; }
  ! grep '^exit code: [^0]' "$dir/log" || { cat "$dir/log"; logs; fail "$step"; } # podman-compose's own status says nothing
  say "  $step"
done <"$dir/steps"

chat='{"messages":[{"role":"user","content":"What colour is the sky?"}],"temperature":0}'
answers() { curl -s http://127.0.0.1:7847/v1/chat/completions -H 'Content-Type: application/json' -d "$chat" | grep -q 'The sky is blue'; }
until_so 60 answers || { logs; fail "the gateway does not answer"; }
curl -s http://127.0.0.1:7847/ | grep -qi '<!doctype html' || fail "the gateway has no page"
say "the gateway answers"

for role in $roles; do
  c=packaging_${role}_1
  [ "$($engine exec $c id -u)" = 1000 ] || fail "$role is not user 1000"
  ! $engine exec $c touch /usr/stip-was-here 2>/dev/null || fail "$role may write outside its folder"
  $engine exec $c touch /party/stip-was-here || fail "$role may not write in its folder"
  status=$($engine exec $c cat /proc/1/status)
  for line in "CapEff:	0000000000000000" "CapBnd:	0000000000000000" "NoNewPrivs:	1"; do
    echo "$status" | grep -qxF "$line" || fail "$role: not $line"
  done
done
! $engine logs packaging_server_1 2>&1 | grep 'Operation not permitted' || fail "the container keeps the server from its own sandbox"
say "no rights, read-only but for the party's folder"

$engine restart packaging_server_1 >/dev/null
until_so 60 answers || { logs; fail "no answer after the server was restarted"; }
for role in user model-dev server; do
  c=packaging_${role}_1
  $engine stop -t 60 $c >/dev/null
  [ "$($engine inspect -f '{{.State.ExitCode}}' $c)" = 0 ] || { logs; fail "$role stopped with $($engine inspect -f '{{.State.ExitCode}}' $c)"; }
done
say "restarted, stopped"
