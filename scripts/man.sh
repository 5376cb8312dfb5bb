#!/bin/sh
# man.sh PROGRAM PAGE.scd OUT - puts the list of commands, as the program itself has it, into the page's prose.
set -eu

commands=$(mktemp)
trap 'rm -f "$commands"' EXIT
"$1" --man >"$commands"
sed -e "/^@COMMANDS@\$/{r $commands
d}" "$2" | scdoc >"$3.part"
mv "$3.part" "$3"
