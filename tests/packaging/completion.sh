#!/bin/sh
# The shells propose each command, each flag of a command, and files where a file is wanted.
# completion.sh SOURCE BUILD
set -eu
build=$2
cd "$1"

# What bash proposes for these words, the last of them being completed.
proposed() {
  bash -c 'source <("$0" completion bash); compopt() { :; }
    program=$(basename "$0"); COMP_WORDS=("$program" "$@"); COMP_CWORD=$#
    "_${program//-/_}"; printf "%s\n" "${COMPREPLY[@]}"' "$@"
}

fail() { echo "$1"; exit 1; }

for program in stip-user stip-server stip-model-dev stip-bench; do
  p=$build/bin/$program
  "$p" completion bash | bash -n
  if command -v zsh >/dev/null; then "$p" completion zsh | zsh -n; fi
  "$p" completion zsh | grep -q "^#compdef $program\$" || fail "$program: zsh"
  commands=$("$p" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p')
  [ "$(proposed "$p" '' | grep -v '^--' | sort)" = "$(echo "$commands" | sort)" ] || fail "$program: commands of bash: $(proposed "$p" '')"
  for command in $commands; do
    [ "$command" != completion ] || continue
    flags=$("$p" "$command" --help | sed -n 's/^  \(--[a-z-]*\).*/\1/p' | sort)
    [ "$(proposed "$p" "$command" -- | grep -v -- '^--help$' | sort)" = "$flags" ] || fail "$program $command: flags of bash"
    for flag in $flags; do
      "$p" completion zsh | sed -n "/^  $command)/,/;;/p" | grep -q -- "'$flag\\[" || fail "$program $command $flag: zsh"
    done
  done
done
[ "$(proposed "$build/bin/stip-user" gen)" = generate ] || fail "a part of a command"
[ "$(proposed "$build/bin/stip-user" generate --config READ)" = README.md ] || fail "a file"
[ "$(proposed "$build/bin/stip-user" keygen --out exa)" = examples ] || fail "a folder"
[ -z "$(proposed "$build/bin/stip-user" generate --max-tokens '')" ] || fail "a number is not proposed"
[ "$(proposed "$build/bin/stip-user" completion '' | tr '\n' ' ')" = "bash zsh " ] || fail "shells"
! "$build/bin/stip-user" completion fish 2>/dev/null || fail "a shell that is not known"
