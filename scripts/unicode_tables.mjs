// scripts/unicode_tables.mjs - writes user/unicode_tables.c: the character classes as the original tokenizers see them.
//
//   npm install tokenizers && node unicode_tables.mjs > user/unicode_tables.c        (a folder where npm works)
//
// The original takes each class from another Rust crate with its own Unicode version, so the only exact source is to ask
// it about every code point.
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(join(process.cwd(), 'x.js'))
const T = require('tokenizers')

const nothing = { cleanText: false, handleChineseChars: false, stripAccents: false, lowercase: false }
const clean = T.bertNormalizer({ ...nothing, cleanText: true })
const accents = T.bertNormalizer({ ...nothing, stripAccents: true })
const marks = T.stripAccentsNormalizer()
const punctuation = T.punctuationPreTokenizer()
const digits = T.digitsPreTokenizer(true)

const removed = (n, s) => n.normalizeString(`a${s}b`) === 'ab'
const split = (p, s) => p.preTokenizeString(`a${s}b`).length === 3
const tables = {
  other: ['removed by clean_text of BertNormalizer (Cc, Cf, Co)', (s, c) => c > 0 && c !== 0xfffd && removed(clean, s)],
  nonspacing: ['removed by strip_accents of BertNormalizer (Mn that has no decomposition)',
    s => s.normalize('NFD') === s && removed(accents, s)],
  mark: ['removed by StripAccents (M)', s => removed(marks, s)],
  punct: ['split off by Punctuation and BertPreTokenizer (P, and ASCII symbols)', s => split(punctuation, s)],
  numeric: ['split off by Digits (N)', s => split(digits, s)],
}

console.log('/* Written by scripts/unicode_tables.mjs; do not edit. Inclusive ranges of code points, ascending. */')
console.log('#include "user/unicode_tables.h"')
for (const [name, [what, member]] of Object.entries(tables)) {
  const ranges = []
  for (let c = 0; c < 0x110000; c++) {
    if ((c >= 0xd800 && c < 0xe000) || !member(String.fromCodePoint(c), c)) continue
    const last = ranges.at(-1)
    if (last && last[1] === c - 1) last[1] = c
    else ranges.push([c, c])
  }
  console.log(`\n/* ${what} */\nstatic const struct unicode_range ${name}[] = {`)
  const cells = ranges.map(([a, b]) => `{0x${a.toString(16).toUpperCase()}, 0x${b.toString(16).toUpperCase()}}`)
  let line = '   '
  for (const cell of cells) {
    if (line.length + cell.length + 2 > 120) {
      console.log(line)
      line = '   '
    }
    line += ` ${cell},`
  }
  console.log(`${line}\n};\nconst struct unicode_table unicode_table_${name} = {${name}, sizeof ${name} / sizeof *${name}};`)
}
