# Sourced by the lints. A lint defines check (run inside a source tree, prints one offender per line, path first) and gives
# bad samples with: bad PATH TEXT. run_lint SOURCE first sees that check reports every bad sample, then checks the tree.
set -eu

bad_root=$(mktemp -d)
bad_files=""
trap 'rm -rf "$bad_root"' EXIT

bad() {
  mkdir -p "$bad_root/$(dirname "$1")"
  printf '%b' "$2" >"$bad_root/$1"
  bad_files="$bad_files $1"
}

run_lint() {
  offenders=$(cd "$bad_root" && check)
  for file in $bad_files; do
    if ! printf '%s\n' "$offenders" | grep -q "^\(\./\)\{0,1\}$file"; then
      echo "$0: self-test: $file breaks the rule, but is not reported"
      exit 1
    fi
  done
  offenders=$(cd "$1" && check)
  if [ -n "$offenders" ]; then
    printf '%s\n' "$offenders"
    exit 1
  fi
}

# The folders that are there, of those named.
present() {
  for folder in "$@"; do
    if [ -d "$folder" ]; then echo "$folder"; fi
  done
}
