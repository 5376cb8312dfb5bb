#!/bin/sh
# The include graph: each folder includes itself and the folders of this table, by paths from the root of the repository.
. "$(dirname "$0")/common/run.sh"

table='
base:
model:base
permute:base
transport:base
engine:base model
model_dev:base model permute transport engine
user:base model permute transport engine
server:base model transport engine
bench:base model permute transport engine model_dev server user tests
'

check() {
  printf '%s' "$table" | while IFS=: read -r folder allowed; do
    [ -d "$folder" ] || continue
    grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.[ch]' "$folder" | awk -v own="$folder" -v allowed="$allowed" '
      BEGIN { n = split(allowed, list, " "); ok[own] = 1; for (i = 1; i <= n; i++) ok[list[i]] = 1 }
      {
        split($0, part, "\""); path = part[2]; split(path, step, "/")
        if (!(step[1] in ok) || path !~ /\// || path ~ /\.\./ || path !~ /\.h$/)
          print $0 " (folder " own " may include: " own " " allowed ")"
      }' || true
  done
}

bad base/up.c '#include "model/config.h"\n'
bad model/side.c '#include "transport/wire.h"\n'
bad permute/side.h '#include "model/config.h"\n'
bad engine/up.c '#include "server/core.h"\n'
bad server/secret.c '#include "permute/perm.h"\n'
bad user/other_role.c '#include "model_dev/rules.h"\n'
bad model_dev/other_role.c '#include "server/core.h"\n'
bad server/tests.c '#include "tests/ref/ref.h"\n'
bad user/relative.c '#include "../user/seal.h"\n'
bad user/no_folder.c '#include "seal.h"\n'
bad user/source.c '#include "user/seal.c"\n'
run_lint "$1"
