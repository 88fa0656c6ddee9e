// npm run mutation -- ROOM [--files src/a.ts,src/b.ts] [--concurrency 2] [--nice 19] [--resume] [--report]: changes the code of a room in one place after another
// (Stryker) and looks whether a test notices. Prints the score of each file and every survivor that survivors.md does not justify; exit 1
// when there is one. Runs at the lowest priority unless told otherwise. --resume: what an earlier run has
// killed stays killed. --report: reads what is known anew, also of a run that is not over. See test/README.md.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { forgetResults, readResults, sourceOf } from './results.mjs'
import { rooms } from './rooms.mjs'

const root = path.resolve(import.meta.dirname, '../..')
const { values, positionals: [room] } = parseArgs({ allowPositionals: true, options: { files: { type: 'string' }, concurrency: { type: 'string', default: '2' }, nice: { type: 'string', default: '19' }, resume: { type: 'boolean', default: false }, report: { type: 'boolean', default: false } } })
if (rooms[room] === undefined) {
  console.error(`usage: npm run mutation -- ${Object.keys(rooms).join('|')} [--files A,B] [--concurrency N] [--nice N] [--resume] [--report]`)
  process.exit(2)
}

if (!values.report) {
  if (!values.resume) forgetResults(room)
  // A session of its own, so that the kernel weighs it as one group (sched(7), autogroup), and lets everything else go first.
  const stryker = [process.execPath, path.join(root, 'node_modules/@stryker-mutator/core/bin/stryker.js'), 'run', path.join(import.meta.dirname, 'stryker.config.mjs')]
  const { status } = spawnSync('setsid', ['--wait', 'sh', '-c', `echo ${Number(values.nice)} 2>/dev/null >/proc/self/autogroup; exec nice -n ${Number(values.nice)} "$@"`, 'mutation', ...stryker], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, MUTATION_RUNS: '60', MUTATION_ROOT: root, MUTATION_ROOM: room, MUTATION_CONCURRENCY: values.concurrency, ...values.files === undefined ? {} : { MUTATION_FILES: values.files } }
  })
  if (status !== 0) process.exit(2)
}

const files = new Map()
for (const mutant of readResults(room).values()) files.set(mutant.file, [...files.get(mutant.file) ?? [], mutant])
const justified = new Set(readFileSync(path.join(import.meta.dirname, 'survivors.md'), 'utf8').split('\n').filter(line => line.startsWith('    src/')).map(line => line.trim()))
const short = text => { const one = text.replaceAll(/\s+/g, ' ').trim(); return one.length <= 90 ? one : `${one.slice(0, 60)} … ${one.slice(-25)}` }

/** What stands in the source at a mutant's place, and what it became: a name that lines which move do not change. */
function nameOf (file, source, { location: { start, end }, replacement }) {
  const lines = source.split('\n').slice(start.line - 1, end.line)
  lines[lines.length - 1] = lines.at(-1).slice(0, lines.length === 1 ? end.column - 1 : end.column - 1)
  lines[0] = lines[0].slice(start.column - 1)
  return `${file} | ${short(lines.join('\n'))} | ${short(replacement ?? '')}`
}

const totals = { killed: 0, timedOut: 0, survived: 0, justified: 0 }
const rows = []
const open = []
for (const [file, mutants] of [...files].sort()) {
  const counts = { killed: 0, timedOut: 0, survived: 0, justified: 0 }
  for (const mutant of mutants) {
    if (mutant.status === 'Killed' || mutant.status === 'Timeout') counts.killed++
    if (mutant.status === 'Timeout') counts.timedOut++
    else if (mutant.status === 'Survived' || mutant.status === 'NoCoverage') {
      const name = nameOf(file, sourceOf(file), mutant)
      counts.survived++
      if (justified.has(name)) counts.justified++
      else open.push({ name, line: mutant.location.start.line, status: mutant.status, of: mutant.mutatorName })
    }
  }
  for (const key of Object.keys(totals)) totals[key] += counts[key]
  rows.push({ file, ...counts, score: score(counts) })
}

function score ({ killed, survived }) { return killed + survived === 0 ? '' : `${(100 * killed / (killed + survived)).toFixed(1)}%` }

console.table([...rows, { file: `${room}, all`, ...totals, score: score(totals) }])
writeFileSync(path.join(root, `release/survivors-${room}.txt`), open.map(({ name, line, status, of }) => `    ${name}\n# line ${line} ${of} ${status}\n`).join(''))
console.log(open.length === 0 ? 'every survivor is justified' : `${open.length} survivors that test/mutation/survivors.md does not justify: release/survivors-${room}.txt`)
process.exit(open.length === 0 ? 0 : 1)
