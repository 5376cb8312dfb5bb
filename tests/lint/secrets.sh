#!/bin/sh
# Secrets are compared in constant time (secret_equal of base/secret.h): how long a comparison takes must not tell where it ended.
. "$(dirname "$0")/common/run.sh"

compare='(memcmp|bcmp|strcmp|strncmp|strcasecmp|strncasecmp) *\('
# What secrets are called, wherever they are compared.
names='(seed|curve_key|sign_key|api_key|end_key|sub_?key|opts\.key|->key->|secret|password|bearer)'
# Files that handle key material and its digests, and what in them is public.
files='base/secret.c permute/keyset.c permute/perm.c transport/identity.c transport/seal.c transport/http.c model_dev/context_key.c user/grant.c'
public='(MAGIC|magic|PREFIX|_pub|context_id|->header|profile|head|peer_key)'

check() {
  folders=$(present base model permute transport engine model_dev server user)
  # shellcheck disable=SC2086
  grep -rnE "$compare[^;]*$names" --include='*.[ch]' $folders | sed 's/$/ (a secret: secret_equal)/' || true
  for file in $files; do
    if [ -f "$file" ]; then
      grep -nE "(memcmp|bcmp) *\(" "$file" | grep -vE "$public" | sed "s|^|$file:|; s|\$| (handles keys: secret_equal, or say what is public)|" || true
    fi
  done
}

bad model_dev/a.c 'if (memcmp(key.seed, other, 32) == 0)\n'
bad transport/identity.c 'return memcmp(sum, data + BODY_BYTES, sizeof sum) == 0;\n'
bad user/grant.c 'if (memcmp(digest, want, sizeof digest) != 0)\n'
bad user/serve.c 'return strcmp(given, s->api_key) == 0;\n'
bad transport/b.c 'ok = bcmp(id->sign_key, x, 32) == 0;\n'
run_lint "$1"
