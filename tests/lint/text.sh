#!/bin/sh
# What must not stand in the sources: notes to self, paths of one machine, tabs, trailing blanks, files too long to read,
# and sealed rows made anywhere but in user/seal.c.
. "$(dirname "$0")/common/run.sh"

# Split, so that this file does not report itself.
notes='TO''DO|FIX''ME|XX''X|HA''CK'
paths='/wo''rk/|/ho''me/[a-z]|/ro''ot/'

sources() {
  find . \( -name .git -o -name 'build*' -o -name node_modules -o -name __pycache__ -o -path ./tests/vectors -o -path ./tests/fuzz/corpus \) \
    -prune -o -type f \( "$@" \) -print | sed 's|^\./||' | sort
}

check() {
  sources -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.mjs' -o -name '*.md' -o -name CMakeLists.txt -o -name Makefile \
    -o -name 'CMakePresets.json' -o -path './configs/*' | while read -r file; do
    grep -nwE "$notes" "$file" /dev/null | sed 's/$/ (note to self)/' || true
    grep -nE "(^|[^A-Za-z0-9_.}])($paths)" "$file" /dev/null | sed 's/$/ (path of one machine)/' || true
  done
  sources -name '*.[ch]' | while read -r file; do
    grep -n "$(printf '\t')" "$file" /dev/null | sed 's/$/ (tab)/' || true
    grep -nE ' +$' "$file" /dev/null | sed 's/$/ (trailing blank)/' || true
    lines=$(wc -l <"$file")
    if [ "$lines" -gt 800 ]; then echo "$file: $lines lines, split it"; fi
    case $file in
    tests/* | user/seal.c | transport/sealed.h) ;;
    *) grep -nE 'struct sealed_rows\)? *\{|struct sealed_rows +[a-z_]+(\[[^]]*\])? *(;|= *\{)' "$file" /dev/null |
        sed 's/$/ (sealed rows are made in user\/seal.c only)/' || true ;;
    esac
  done
}

bad docs/note.md "see TO""DO below\\n"
bad base/note.c "/* FIX""ME: later */\\n"
bad scripts/path.sh "cd /wo""rk/main\\n"
bad base/tab.c 'int\tx;\n'
bad base/blank.h 'int x; \n'
bad user/plain.c 'struct sealed_rows r = {.data = x};\n'
bad server/cast.c 'send(&(struct sealed_rows){.data = x});\n'
bad bench/fields.c 'struct sealed_rows r;\nr.data = x;\n'
bad base/long.c "$(yes '\n' | head -n 801 | tr -d '\n')"
run_lint "$1"
