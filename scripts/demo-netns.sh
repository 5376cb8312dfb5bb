#!/bin/sh
# The steps of docs/OPERATIONS.md, "From nothing to the first answer", as they stand there: every line "party$ command" is run in
# that party's own network namespace and folder. Three namespaces on a bridge in a fourth; the machine's own network is not touched.
# demo-netns.sh BUILD; root only. Only scp is another one: there is no sshd, so it copies between the folders.
set -eu
cd "$(dirname "$0")/.."
STIP=$PWD
build=$(cd "$1" && pwd)
export STIP PATH="$build/bin:$PATH"

say() { echo "demo-netns: $*" >&2; }

[ "$(id -u)" -eq 0 ] || { say "needs root, to make network namespaces; make demo needs none"; exit 2; }
dir=$(mktemp -d)
name=stip$$
spaces="$name-net $name-developer $name-server $name-user"
daemons=""
clean() {
  for pid in $daemons; do kill "$pid" 2>/dev/null || true; done
  for pid in $daemons; do wait "$pid" 2>/dev/null || true; done
  for space in $spaces; do ip netns del "$space" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap clean EXIT
trap 'exit 1' INT TERM

# ---------------------------------------------------------------- the network
for space in $spaces; do
  ip netns add "$space" || { say "no network namespaces may be made here (CAP_SYS_ADMIN, CAP_NET_ADMIN); make demo needs none"; exit 2; }
  ip -n "$space" link set lo up
done
ip -n "$name-net" link add br0 type bridge
ip -n "$name-net" link set br0 up
plug() { # party, address
  ip -n "$name-$1" link add eth0 type veth peer name "$1" netns "$name-net"
  ip -n "$name-net" link set "$1" master br0 up
  ip -n "$name-$1" address add "$2/24" dev eth0
  ip -n "$name-$1" link set eth0 up
}
plug developer 10.0.0.1
plug server 10.0.0.2
plug user 10.0.0.3

# ---------------------------------------------------------------- the parties
mkdir "$dir/bin"
cat >"$dir/bin/scp" <<SCP
#!/bin/sh
exec cp "\$1" "$dir/\${2%%:*}/\${2#*:}"
SCP
chmod 755 "$dir/bin/scp"
for party in developer server user; do mkdir -p -m 700 "$dir/$party/stip"; done
PATH=$dir/bin:$PATH

run() { # party, command; in the foreground
  (cd "$dir/$1/stip" && ip netns exec "$name-$1" sh -c "$2")
}

# Until the log of a party has this word.
await() {
  tries=0
  until grep -q "$2" "$dir/$1.log"; do
    [ $((tries += 1)) -le 300 ] || { say "$1 has not said '$2'"; cat "$dir/$1.log"; exit 1; }
    sleep 0.2
  done
}

# The lines of that section, in order.
awk '/^## /{ here = $0 == "## From nothing to the first answer" } here' docs/OPERATIONS.md |
  sed -n 's/^ *\(developer\|server\|user\)\$ \{1,\}\(.*\)$/\1 \2/p' >"$dir/steps"
[ "$(wc -l <"$dir/steps")" -ge 15 ] || { say "docs/OPERATIONS.md has no steps any more"; exit 1; }

while read -r party command <&3; do
  echo "$party\$ $command"
  case $command in
  *" serve "*)
    # exec: what is waited for and ended is the daemon itself
    (cd "$dir/$party/stip" && exec ip netns exec "$name-$party" sh -c "exec $command") >/dev/null 2>"$dir/$party.log" &
    daemons="$daemons $!"
    ;;
  *"stip-user join"*)
    await server "serving "
    run "$party" "$command"
    ;;
  *) run "$party" "$command" ;;
  esac
done 3<"$dir/steps"

# Nobody can reach what is not opened: the server's address answers in the parties' network only.
! ip netns exec "$name-net" "$build/bin/stip-user" doctor --config "$dir/user/stip/user.json" >"$dir/outside" 2>&1 ||
  { say "the server can be reached from outside its network"; exit 1; }
grep -q "^fail  server tcp" "$dir/outside" || { cat "$dir/outside"; exit 1; }
for pid in $daemons; do kill "$pid"; wait "$pid" || { say "a daemon ended badly"; cat "$dir"/*.log; exit 1; }; done
daemons=""
say "ok"
