#!/bin/sh
# The privacy claim, first half: nothing that the server is made of includes the secret (permute/), the user's or the
# developer's side, neither in its own lines nor through other headers.
. "$(dirname "$0")/common/run.sh"

secret='permute|user|model_dev'

check() {
  folders=$(present server engine transport model base)
  # shellcheck disable=SC2086
  {
    grep -rnE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[\"<]([^\">]*/)?($secret)/" --include='*.[ch]' $folders || true
    # What the preprocessor really reads, macros and detours included.
    find $folders -name '*.c' | while read -r file; do
      ${CC:-cc} -D_GNU_SOURCE -I. -MM -MG "$file" 2>/dev/null | tr ' \\' '\n\n' | grep -E "(^|/)($secret)/" | sed "s|^|$file: reads |" || true
    done
  }
}

bad server/direct.c '#include "permute/perm.h"\n'
bad engine/spaced.h '  #  include "user/seal.h"\n'
bad transport/detour.c '#include "../permute/gather.h"\n'
bad model/angle.c '#include <model_dev/rules.h>\n'
bad base/macro.c '#define SECRET "permute/keyset.h"\n#include SECRET\n'
run_lint "$1"
