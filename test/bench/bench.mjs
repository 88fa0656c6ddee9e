// npm run bench [-- --quick] [-- --json FILE] [-- --only peers,latency,…] [-- --rounds N] [-- --requests N] [-- --size 10000x500]
// The gate with everything on beside peers that do less, in interleaved rounds of one run; then the rows of
// docs/design/performance.md. Ratios are what counts: the machine is shared. Ends with 1 when a part could not be measured.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { randomBytes } from 'node:crypto'
import { root } from '../support/gate-process.mjs'
import { bigRows, lifeRows } from './life.mjs'
import { stopAll } from './processes.mjs'
import { featureRows, peerRows } from './ratios.mjs'
import { stallRows } from './stalls.mjs'
import { latencyRow, listRow, reloadRow, slowRow } from './times.mjs'
import { workerRows } from './workers.mjs'

const parts = { peers: peerRows, features: featureRows, workers: workerRows, latency: latencyRow, slow: slowRow, lists: listRow, reload: reloadRow, stalls: stallRows, life: lifeRows, big: bigRows }
const { values } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' }, only: { type: 'string' }, rounds: { type: 'string' }, requests: { type: 'string' }, size: { type: 'string', default: '10000x500' } } })
const chosen = values.only?.split(',') ?? Object.keys(parts)
const unknown = chosen.filter(name => !(name in parts))
if (unknown.length > 0) { console.error(`no part ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`); process.exit(2) }

const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-bench-'))
process.on('exit', () => { rmSync(work, { recursive: true, force: true }) })
const quick = values.quick === true
const bench = {
  work,
  quick,
  rounds: Number(values.rounds ?? (quick ? 3 : 10)),
  requests: Number(values.requests ?? (quick ? 1200 : 6000)),
  warm: quick ? 3000 : 30_000,
  size: values.size.split('x').map(Number),
  key: newKey(randomBytes),
  spare: () => newKey(randomBytes).sha256
}

const rows = []
const targets = []
const missing = []
const failed = []
for (const name of chosen) {
  const began = performance.now()
  try {
    const found = await parts[name](bench)
    rows.push(...found.rows)
    targets.push(...found.targets ?? [])
    missing.push(...found.missing ?? [])
    process.stderr.write(`${name}: ${Math.round((performance.now() - began) / 1000)} s\n`)
  } catch (error) {
    failed.push(`${name}: ${String(error.message).trim().split('\n')[0]}`)
    process.stderr.write(`${name} failed: ${error.stack}\n`)
  }
  await stopAll()
}
if (targets.length > 0) console.table(targets)
console.table(rows.map(({ row, measured, lower, upper, goal, met }) => ({ row, measured, quartiles: lower === undefined ? '' : `${lower}…${upper}`, goal, met: met === undefined ? '' : met ? 'yes' : 'NO' })))
if (missing.length > 0) console.log(`not here, or left out: ${missing.join('; ')}`)
if (failed.length > 0) console.log(`not measured: ${failed.join('; ')}`)
const short = rows.filter(({ met }) => met === false)
console.log(short.length > 0 ? `falls short: ${short.map(({ row, measured, goal }) => `${row} (${measured}, goal ${goal})`).join('; ')}` : failed.length === 0 ? 'every goal with a figure here is met' : '')
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ node: process.version, quick, rounds: bench.rounds, requests: bench.requests, targets, rows, missing, failed }, null, 1)}\n`)
process.exitCode = failed.length > 0 ? 1 : 0
