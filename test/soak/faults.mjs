// node test/soak/faults.mjs [--only NAME,NAME] [--json FILE]: the faults of docs/faults.md at full size, against the built gate over loopback. A row
// each: the bound that is promised, what was measured, PASS or FAIL; exit 1 on a FAIL. What this machine lacks is said as NOT RUN. Needs `npm run build`.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fairness } from './faults/fairness.mjs'
import { endlessBodies, gzipBomb, halfOpen, manySlowReaders, slowReaders } from './faults/memory.mjs'
import { clockJump, descriptors, drain, reloads, stderr } from './faults/process.mjs'
import { keepAliveRace, slowClients, storm } from './faults/wire.mjs'

const faults = {
  'keep-alive': keepAliveRace,
  storm,
  'gzip-bomb': gzipBomb,
  'slow-clients': slowClients,
  'slow-readers': slowReaders,
  'slow-readers-10000': manySlowReaders,
  'half-open-10000': halfOpen,
  'endless-bodies': endlessBodies,
  sigterm: drain,
  reloads,
  descriptors,
  stderr,
  'clock-jump': clockJump,
  fairness
}

const { values } = parseArgs({ options: { only: { type: 'string' }, json: { type: 'string' } } })
const names = values.only?.split(',') ?? Object.keys(faults)
const unknown = names.find(name => faults[name] === undefined)
if (unknown !== undefined) {
  console.error(`there is no fault ${unknown}; known: ${Object.keys(faults).join(', ')}`)
  process.exit(2)
}

const rows = []
for (const name of names) {
  const begun = performance.now()
  let row
  try {
    row = await faults[name]()
  } catch (error) {
    row = { bound: '', measured: `broke off: ${error.stack}`, good: false }
  }
  const verdict = row.good === undefined ? 'NOT RUN' : row.good ? 'PASS' : 'FAIL'
  rows.push({ name, verdict, ...row })
  console.log(`${verdict}  ${name} (${Math.round((performance.now() - begun) / 1000)} s)\n  bound: ${row.bound}\n  measured: ${row.measured}`)
}
console.log(`${process.version}: ${rows.filter(({ verdict }) => verdict === 'PASS').length} pass, ${rows.filter(({ verdict }) => verdict === 'FAIL').length} fail, ${rows.filter(({ verdict }) => verdict === 'NOT RUN').length} not run`)
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ node: process.version, rows }, null, 1))
process.exit(rows.some(({ verdict }) => verdict === 'FAIL') ? 1 : 0)
