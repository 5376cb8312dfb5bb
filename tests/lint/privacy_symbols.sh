#!/bin/sh
# The privacy claim, second half: the built stip-server holds nothing of permute/, user/ or model_dev/: no symbol that only
# they define, no name that belongs to keys, tokens or embeddings, no line of debug information, and no archive on its
# link line.
set -eu

source=$1
build=$2
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

secret='permute user model_dev'
names='^(perm|gather|keyset|scatter|walk|gauge|embed|seal_rows|unseal|context_key|tokenizer|bpe|wordpiece|unigram|sampler|sample)(_|$)'

# Names that an object, archive or program defines, static functions too, without what the compiler adds to them.
symbols() {
  nm --defined-only --format=posix "$@" 2>/dev/null | awk 'NF >= 2 && $2 ~ /[TtDdBbRrVvWw]/ { sub(/\..*/, "", $1); print $1 }' | sort -u
}

# check BINARY BUILD SOURCE: prints offenders.
check() {
  symbols "$1" >"$temp/program"
  if ! grep -qx main "$temp/program"; then
    echo "$1: has no symbols to look at; build it, and do not strip it"
    return
  fi
  grep -E "$names" "$temp/program" | sed "s|^|$1: name |" || true

  : >"$temp/secret"
  : >"$temp/open"
  for lib in "$2"/libstip_*.a; do
    [ -f "$lib" ] || continue
    folder=$(basename "$lib" .a | sed 's/^libstip_//')
    case " $secret " in
    *" $folder "*) symbols "$lib" >>"$temp/secret" ;;
    *) case $folder in base | model | transport | engine | server) symbols "$lib" >>"$temp/open" ;; esac ;;
    esac
  done
  sort -u "$temp/open" >"$temp/open.sorted"
  sort -u "$temp/secret" | comm -23 - "$temp/open.sorted" | comm -12 - "$temp/program" | sed "s|^|$1: symbol of permute, user or model_dev: |"

  # Folders of the line table: they tell of functions that were inlined, too.
  readelf --debug-dump=rawline "$1" 2>/dev/null | sed -n 's/.*[ \t]\([^ \t]*\)$/\1/p' | grep -E "^($3/)?(permute|user|model_dev)(/.*)?$" |
    sort -u | sed "s|^|$1: debug information of |" || true

  if [ -f "$2/build.ninja" ]; then
    awk '/^build bin\/stip-server:/ { on = 1 } on && NF == 0 { on = 0 } on' "$2/build.ninja"
  elif [ -f "$2/CMakeFiles/stip-server.dir/link.txt" ]; then
    cat "$2/CMakeFiles/stip-server.dir/link.txt"
  fi | grep -oE '(libstip_(permute|user|model_dev)|CMakeFiles/stip_(permute|user|model_dev)\.dir)[^ ]*' | sort -u | sed 's|^|link line of stip-server: |' || true
}

# Self-test: programs that hold one secret thing each, by its name, by an archive, or inlined.
mkdir -p "$temp/src/permute" "$temp/lib"
cd "$temp/src"
echo 'int shuffle_it(int x); int shuffle_it(int x) { return x * 3; }' >permute/shuffle.c
echo 'static inline int twice(int x) { return 2 * x; }' >permute/inline.h
echo 'static int perm_invert(int x) { return x + 1; } int main(int c, char **v) { (void)v; return perm_invert(c); }' >by_name.c
echo 'int shuffle_it(int x); int main(int c, char **v) { (void)v; return shuffle_it(c); }' >by_archive.c
printf '#include "permute/inline.h"\nint main(int c, char **v)\n{\n    (void)v;\n    return twice(c);\n}\n' >by_inline.c
echo 'int main(void) { return 0; }' >clean.c
${CC:-cc} -O0 -c permute/shuffle.c -o shuffle.o
ar rc "$temp/lib/libstip_permute.a" shuffle.o
for case in by_name by_archive by_inline clean; do
  ${CC:-cc} -O1 -g1 -fno-inline-functions-called-once -I. "$case.c" "$temp/lib/libstip_permute.a" -o "$case"
  found=$(check "./$case" "$temp/lib" "$temp/src")
  if [ "$case" = clean ] && [ -n "$found" ]; then
    echo "$0: self-test: a clean program is reported: $found"
    exit 1
  elif [ "$case" != clean ] && [ -z "$found" ]; then
    echo "$0: self-test: $case.c passes"
    exit 1
  fi
done
cd /

offenders=$(check "$build/bin/stip-server" "$build" "$source")
if [ -n "$offenders" ]; then
  printf '%s\n' "$offenders"
  exit 1
fi
