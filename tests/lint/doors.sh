#!/bin/sh
# One door per library: its header is included in one place, so that its rules are kept in one place. Tests may go round.
. "$(dirname "$0")/common/run.sh"

# What is included, and which files may (a basic regular expression each).
table='
<zmq transport/zmq_door\.h
"transport/zmq_door\.h" transport/[a-z_]*\.c
<cblas engine/kernels/blas\.c
<openblas engine/kernels/blas\.c
<f77blas engine/kernels/blas\.c
<lapacke engine/kernels/blas\.c
<cjson base/json\.c
<cJSON base/json\.c
<openssl/ base/crypto\.c
<sodium base/crypto\.c
<pcre2 user/regex\.c
<utf8proc user/unicode\.c
<unicode/ user/unicode\.c
<microhttpd transport/http\.c
<seccomp server/sandbox\.c
<curl/ user/backend\.c
<png user/image_png\.c
<jpeglib user/image_jpeg\.c
<jerror user/image_jpeg\.c
<zlib user/torch_file\.c
<histedit user/line\.c
<editline/ user/line\.c
<readline/ user/line\.c
'

check() {
  folders=$(present base model permute transport engine model_dev server user bench)
  printf '%s' "$table" | while read -r what where; do
    [ -n "$what" ] || continue
    quoted=$(printf '%s' "$what" | sed 's/^</["<]/')
    # shellcheck disable=SC2086
    grep -rn "^[[:space:]]*#[[:space:]]*include[[:space:]]*$quoted" --include='*.[ch]' $folders | grep -v "^$where:" | sed 's/$/ (not the door)/' || true
  done
}

bad server/a.c '#include <zmq.h>\n'
bad server/b.c '#include "transport/zmq_door.h"\n'
bad engine/head.c '#include <cblas.h>\n'
bad model/config.c '# include <cjson/cJSON.h>\n'
bad transport/a.c '#include <openssl/evp.h>\n'
bad user/bpe.c '#include <pcre2.h>\n'
bad user/c.h '#include "utf8proc.h"\n'
bad user/serve.c '#include <microhttpd.h>\n'
bad user/setup.c '#include <curl/curl.h>\n'
bad user/image.c '#include <png.h>\n'
bad user/pixels.c '#include <jpeglib.h>\n'
bad user/cmd_chat.c '#include <histedit.h>\n'
run_lint "$1"
