#!/bin/sh
# systemd takes the units without a word, and rates the two system services as little exposed. 77: no systemd-analyze here.
# units.sh SOURCE BUILD
set -eu
command -v systemd-analyze >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_RUNTIME_DIR="$dir"

# Programs are found on the path once installed; here they are in the build folder.
for unit in stip-server stip-model-dev stip-user; do
  sed "s|^ExecStart=|ExecStart=$2/bin/|" "$1/packaging/systemd/$unit.service" >"$dir/$unit.service"
done

verify() { systemd-analyze $1 verify --man=no "$dir/$2" 2>&1; }

for unit in stip-server stip-model-dev; do
  said=$(verify --system $unit.service) && [ -z "$said" ] || { echo "$unit: $said"; exit 1; }
  systemd-analyze security --no-pager --offline=true --threshold=20 "$dir/$unit.service" >"$dir/out" 2>&1 || { tail -n 3 "$dir/out"; exit 1; }
done
said=$(verify --user stip-user.service) && [ -z "$said" ] || { echo "stip-user: $said"; exit 1; }

# A setting that is not known, and an open service, are noticed.
sed 's/^NoNewPrivileges=/NoNewPriviliges=/' "$dir/stip-server.service" >"$dir/typo.service"
[ -n "$(verify --system typo.service)" ] || { echo "a typing error is not noticed"; exit 1; }
grep -vE '^(Protect|Private|Restrict|SystemCall|Capability|NoNew)' "$dir/stip-server.service" >"$dir/open.service"
! systemd-analyze security --no-pager --offline=true --threshold=20 "$dir/open.service" >"$dir/out" 2>&1 || { echo "an open service passes"; exit 1; }
