#!/bin/sh
# Each command and each flag of --help stands in the man page; a page that lacks one is noticed.
# man_pages.sh SOURCE BUILD; 77: no scdoc, no pages.
set -eu
build=$2
[ -f "$build/man/stip-user.1" ] || exit 77

# A page as plain text: font changes and escapes of roff taken out.
plain() { sed -e 's/\\f[A-Z]//g' -e 's/\\&//g' -e 's/\\-/-/g' -e 's/\\(aq/'"'"'/g' "$1"; }

# "command" and "command --flag", as --help has them.
help_of() {
  "$1" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p' | while read -r command; do
    echo "$command"
    [ "$command" = completion ] || "$1" "$command" --help | sed -n "s/^  \\(--[a-z-]*\\).*/$command \\1/p"
  done
}

# Those of stdin that the page has no section, or no line in its section, for.
missing() {
  plain "$1" >"$page"
  while read -r command flag; do
    awk -v command="$command" -v flag="$flag" '
      /^\.SS / { here = $2 == command; found = found || (here && flag == "") }
      here && flag != "" && $1 == flag { found = 1 }
      END { exit !found }' "$page" || echo "$command $flag"
  done
}

page=$(mktemp)
trap 'rm -f "$page"' EXIT
for program in stip-user stip-server stip-model-dev stip-bench; do
  help_of "$build/bin/$program" >"$page.list"
  [ "$(wc -l <"$page.list")" -gt 8 ] || { echo "$program: --help lists next to nothing"; exit 1; }
  lacks=$(missing "$build/man/$program.1" <"$page.list")
  rm -f "$page.list"
  [ -z "$lacks" ] || { echo "$program.1 lacks:"; echo "$lacks"; exit 1; }
  [ -n "$(echo 'serve --no-such-flag' | missing "$build/man/$program.1")" ] || { echo "this test finds everything"; exit 1; }
done
