// scripts/tokenizer_oracle.mjs - compares our tokenizer with the original (npm package "tokenizers", Rust) on random text.
//
//   npm install tokenizers            (anywhere; then run from there, or set NODE_PATH)
//   node tokenizer_oracle.mjs CLI FOLDER [COUNT] [SEED]
//
// CLI is tests/support/tokenizer_cli.c built as docs/TOKENIZERS.md says, FOLDER holds tokenizer.json. Texts are made from a
// seed, so a difference can be seen again. Exit status 0 only without differences.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const require = createRequire(join(process.cwd(), 'x.js'))
const { Tokenizer } = require('tokenizers')

const [cli, folder, count = '20000', seed = '1'] = process.argv.slice(2)
const file = join(folder, 'tokenizer.json')
const parsed = JSON.parse(readFileSync(file, 'utf8'))
const added = (parsed.added_tokens ?? []).map(t => t.content)

let state = BigInt(seed) * 2654435761n + 88172645463325252n // xorshift64
function random(n) {
  state ^= (state << 13n) & 0xffffffffffffffffn
  state ^= state >> 7n
  state ^= (state << 17n) & 0xffffffffffffffffn
  return Number((state >> 11n) % BigInt(n))
}
const pick = list => list[random(list.length)]

const words = ['the', 'Hello', 'world', "don't", "I'll", "WE'VE", 'naïve', 'Straße', 'İstanbul', 'ΑΣ', 'привет', 'こんにちは', '世界',
  '한국어', 'مرحبا', 'שלום', 'हिन्दी', 'ไทย', 'x1', '3.14159', '2024', '1234567', 'foo_bar', 'a-b', 'C++', '👍', '👩‍👩‍👧', '🇺🇸', '❤️',
  'e\u0301', 'a\u0323\u0301', '\uFB01', '½', '№', 'Ⅷ', '²', '...', '?!', '--', '$', '"', "'", "''", '<', '>', '##', '##ing', '▁',
  '<0x41>', 'Ġ', 'Ċ', '\u200d', '\u200b', '\ufeff', '\u00ad', '\u0000', '\ufffd', "'s", "'S", "'\u017f", 'K', 'Å', 'ffi']
const spaces = [' ', ' ', ' ', '  ', '   ', '\n', '\n\n', '\r\n', '\t', '\u00a0', '\u2003', '\u3000', '\u0085', '\u2028', '\u180e', '']
const ranges = [[0x20, 0x7f], [0x20, 0x7f], [0xa0, 0x250], [0x300, 0x370], [0x370, 0x600], [0x600, 0xe00], [0xe00, 0x2000],
  [0x2000, 0x2c00], [0x2e80, 0x3400], [0x3400, 0xa000], [0xa000, 0xd7ff], [0xe000, 0xffff], [0x10000, 0x11fff], [0x1d000, 0x1ffff],
  [0x20000, 0x323af], [0, 0x20]]

function text() {
  let out = ''
  for (let n = random(12); n >= 0; n--) {
    const kind = random(10)
    if (kind < 5) out += pick(words)
    else if (kind < 6 && added.length > 0) out += pick(added)
    else for (let m = random(4); m >= 0; m--) {
      const [from, to] = pick(ranges)
      out += String.fromCodePoint(from + random(to - from))
    }
    out += pick(spaces)
  }
  return out
}

const cases = Array.from({ length: Number(count) }, () => [text(), random(8) === 0 ? text() : null])
const input = Buffer.concat(cases.flatMap(([a, b]) => {
  const [x, y] = [Buffer.from(a), b === null ? null : Buffer.from(b)]
  const head = Buffer.alloc(8)
  head.writeUInt32LE(x.length, 0)
  head.writeUInt32LE(y === null ? 0xffffffff : y.length, 4)
  return y === null ? [head, x] : [head, x, y]
}))
const run = spawnSync(cli, [folder], { input, maxBuffer: 1 << 30 })
if (run.status !== 0) {
  console.error(String(run.stderr))
  process.exit(2)
}
const ours = run.stdout.toString().trimEnd().split('\n')

const tokenizer = Tokenizer.fromFile(file)
// Since 0.23 the original decodes an added token with "normalized": true to its normalised text ("▁<s>"), and then no
// longer knows that it is special. We decode to the token's own text, as all versions before did.
const decoder = Tokenizer.fromString(JSON.stringify({
  ...parsed, added_tokens: (parsed.added_tokens ?? []).map(t => ({ ...t, normalized: false })),
}))
let differences = 0
for (let i = 0; i < cases.length; i++) {
  const [a, b] = cases[i]
  const encoding = await tokenizer.encode(a, b, { addSpecialTokens: true })
  const ids = encoding.getIds()
  const theirs = JSON.stringify({
    ids, types: encoding.getTypeIds(), text: await decoder.decode(ids, false), skip: await decoder.decode(ids, true),
  })
  if (theirs !== JSON.stringify(JSON.parse(ours[i]))) {
    if (differences++ < 10) console.log(`text   ${JSON.stringify(a)}${b === null ? '' : ' + ' + JSON.stringify(b)}\ntheirs ${theirs}\nours   ${ours[i]}\n`)
  }
}
console.log(`${folder}: ${cases.length} texts, ${differences} differences`)
process.exit(differences === 0 ? 0 : 1)
