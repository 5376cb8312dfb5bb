// scripts/template_oracle.mjs - compares our chat templates with the original (Python's Jinja2) and with @huggingface/jinja.
//
//   npm install @huggingface/jinja     (anywhere; then run from there)      apt-get install python3-jinja2
//   node template_oracle.mjs CLI [TEMPLATES] [--write]
//
// CLI is tests/support/template_cli.c built as docs/TEMPLATES.md says; TEMPLATES a folder of *.jinja, each rendered with
// every conversation of tests/vectors/templates/conversations.json. --write stores what the original says: the texts of
// snippets.json, and in real.json only digests, because the templates belong to others. Exit status 0 only if ours is the
// original's everywhere but in snippets with "refused": those we do not implement and say so.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const require = createRequire(join(process.cwd(), 'x.js'))
const { Template } = require('@huggingface/jinja')

const write = process.argv.includes('--write')
const [cli, folder] = process.argv.slice(2).filter(a => a !== '--write')
const here = dirname(fileURLToPath(import.meta.url))
const vectors = join(here, '..', 'tests', 'vectors', 'templates')
const read = name => JSON.parse(readFileSync(join(vectors, name), 'utf8'))
const now = 1763712000 // 2025-11-21 08:00 UTC
process.env.TZ = 'UTC'

const snippets = read('snippets.json')
const conversations = read('conversations.json')
const cases = snippets.map((s, i) => ({ name: `snippet ${i}`, template: s.template, vars: s.vars ?? {}, now }))
const real = []
for (const file of folder ? readdirSync(folder).filter(f => f.endsWith('.jinja')).sort() : []) {
  for (const c of conversations) {
    real.push({ template: file, conversation: c.name })
    cases.push({ name: `${file} / ${c.name}`, template: readFileSync(join(folder, file), 'utf8'), vars: c.vars, now })
  }
}

function lines(command, args) {
  const run = spawnSync(command, args, { input: cases.map(c => JSON.stringify(c)).join('\n') + '\n', maxBuffer: 1 << 30 })
  if (run.status !== 0) {
    console.error(`${command}: ${run.error ?? ''}${run.stderr}`)
    process.exit(2)
  }
  return run.stdout.toString().trimEnd().split('\n').map(l => JSON.parse(l))
}

// Its strftime_now cannot be replaced, so the clock is.
const RealDate = Date
globalThis.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length === 0 ? [now * 1000] : args))
  }
}

function huggingface(c) {
  try {
    return { text: new Template(c.template).render(c.vars) }
  } catch (e) {
    return { error: String(e) }
  }
}

const ours = lines(cli, [])
const python = lines(process.env.PYTHON ?? '/usr/bin/python3', [join(here, 'template_oracle.py')])
const shown = c => c.template.length < 300 ? JSON.stringify(c.template) : ''
const count = { texts: 0, same: 0, refused: 0, different: 0, deviating: 0, deviatingReal: 0 }
cases.forEach((c, i) => {
  const snippet = i < snippets.length, original = python[i].text, mine = ours[i].text, other = huggingface(c)
  count.texts += original !== undefined
  if (mine === original) {
    count.same++
  } else if (snippet && snippets[i].refused && mine === undefined) {
    count.refused++
  } else {
    count.different++
    console.log(`DIFFERENT ${c.name} ${shown(c)}\n  original ${JSON.stringify(python[i])}\n  ours     ${JSON.stringify(ours[i])}`)
  }
  if (other.text !== original) {
    count[snippet ? 'deviating' : 'deviatingReal']++
    if (!snippet || process.env.VERBOSE) {
      console.log(`@huggingface/jinja deviates: ${c.name} ${shown(c)}\n  original ${JSON.stringify(python[i]).slice(0, 400)}\n  it       ${JSON.stringify(other).slice(0, 400)}`)
    }
  }
})
console.log(`${cases.length} cases (${real.length} with real templates), ${count.texts} of which the original renders: ${count.same} the same, ` +
  `${count.refused} refused on purpose, ${count.different} different; @huggingface/jinja deviates from the original in ` +
  `${count.deviatingReal} with real templates and ${count.deviating} snippets`)

if (write) {
  snippets.forEach((s, i) => { delete s.text; s.text = python[i].text ?? null })
  writeFileSync(join(vectors, 'snippets.json'), '[\n' + snippets.map(s => JSON.stringify(s)).join(',\n') + '\n]\n')
  real.forEach((r, i) => {
    const text = python[snippets.length + i].text
    r.sha256 = text === undefined ? null : createHash('sha256').update(text).digest('hex')
  })
  if (folder) writeFileSync(join(vectors, 'real.json'), '[\n' + real.map(r => JSON.stringify(r)).join(',\n') + '\n]\n')
}
process.exit(count.different === 0 ? 0 : 1)
