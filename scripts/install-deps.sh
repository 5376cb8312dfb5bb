#!/bin/sh
# Installs the Debian packages that stip builds with, if any is missing. Needs root or sudo only then.
#   scripts/install-deps.sh [MORE...]     and these: what only some tests need
set -eu

packages="build-essential cmake ninja-build pkg-config file clang libclang-rt-14-dev
libssl-dev libzmq3-dev libcjson-dev libopenblas-dev libpcre2-dev libutf8proc-dev libmicrohttpd-dev libcurl4-openssl-dev libpng-dev libjpeg-dev zlib1g-dev libedit-dev libseccomp-dev scdoc
libsodium-dev libcriterion-dev"

# Another release names clang's runtime differently; then its own default is taken.
. /etc/os-release 2>/dev/null || true
if [ "${VERSION_ID:-}" != 12 ]; then
  packages=$(echo "$packages" | sed 's/libclang-rt-14-dev//')
fi

missing=""
for p in $packages "$@"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

echo "stip: installing Debian packages:$missing"
if [ "$(id -u)" -eq 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1; then
  as_root="sudo"
else
  echo "stip: run this as root (or install sudo): apt-get install$missing" >&2
  exit 1
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086  # word splitting is meant
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
