#!/bin/sh
# Each header compiles alone, has the include guard of its path, and opens with a block that says what it is and never
# leaves out Errors, Memory and Secrets.
. "$(dirname "$0")/common/run.sh"

check() {
  folders=$(present base model permute transport engine model_dev server user bench tests)
  # shellcheck disable=SC2086
  find $folders -name '*.h' | sort | while read -r header; do
    printf '#include "%s"\nextern int nothing_else;\n' "$header" |
      ${CC:-cc} -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -I. $cflags -fsyntax-only -x c - >/dev/null 2>&1 ||
      echo "$header: does not compile alone"
    case $(head -n 1 "$header") in
    "/* $header - "*) ;;
    *) echo "$header: does not begin with '/* $header - what it is'" ;;
    esac
    block=$(sed '/\*\//q' "$header")
    for word in Errors Memory Secrets; do
      printf '%s\n' "$block" | grep -qE "(^ \* |  )$word +[^ ]" || echo "$header: its first comment has no '$word'"
    done
    guard=STIP_$(printf '%s' "$header" | tr 'a-z/.' 'A-Z__')
    grep -q "^#ifndef $guard\$" "$header" || echo "$header: its include guard is not $guard"
  done
}

cflags=$(pkg-config --cflags libcjson libcrypto libzmq openblas libpcre2-8 libutf8proc criterion 2>/dev/null || true)
good_top='what.\\n *\\n * Errors      none.\\n * Memory      none.\\n * Secrets     none.\\n */\\n'
bad base/alone.h "/* base/alone.h - $(printf '%b' "$good_top")#ifndef STIP_BASE_ALONE_H\\n#define STIP_BASE_ALONE_H\\nuint8_t x(void);\\n#endif\\n"
bad base/bare.h '#ifndef STIP_BASE_BARE_H\n#define STIP_BASE_BARE_H\n#endif\n'
bad base/secrets.h '/* base/secrets.h - what.\n *\n * Errors      none.\n * Memory      none.\n */\n#ifndef STIP_BASE_SECRETS_H\n#define STIP_BASE_SECRETS_H\n#endif\n'
bad base/guard.h "/* base/guard.h - $(printf '%b' "$good_top")#ifndef GUARD_H\\n#define GUARD_H\\n#endif\\n"
run_lint "$1"
