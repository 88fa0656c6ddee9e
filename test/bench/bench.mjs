// npm run bench [-- --quick] [-- --json FILE] [-- --only ratios,latency,…] [-- --rounds N] [-- --requests N]
// The gate with everything on beside peers that do less, in interleaved rounds of one run; then the rows of
// docs/design/performance.md. Ratios are what counts: the machine is shared.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { randomBytes } from 'node:crypto'
import { root } from '../support/gate-process.mjs'
import { stopAll } from './processes.mjs'
import { bigRows, latencyRow, lifeRows, listRow, ratioRows, reloadRow, slowRow } from './rows.mjs'

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' }, only: { type: 'string' }, rounds: { type: 'string' }, requests: { type: 'string' } } })
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-bench-'))
const bench = {
  work,
  quick: values.quick === true,
  rounds: Number(values.rounds ?? (values.quick ? 4 : 10)),
  requests: Number(values.requests ?? (values.quick ? 3000 : 8000)),
  key: newKey(randomBytes),
  spare: () => newKey(randomBytes).sha256
}

const parts = { ratios: ratioRows, big: bigRows, latency: latencyRow, slow: slowRow, lists: listRow, reload: reloadRow, life: lifeRows }
const chosen = values.only?.split(',') ?? Object.keys(parts)
const rows = []
const targets = []
const missing = []
try {
  for (const name of chosen) {
    const found = await parts[name](bench)
    rows.push(...found.rows)
    targets.push(...found.targets ?? [])
    missing.push(...found.missing ?? [])
    process.stderr.write(`${name} done\n`)
  }
} finally {
  await stopAll()
  rmSync(work, { recursive: true, force: true })
}
if (targets.length > 0) console.table(targets)
console.table(rows.map(({ row, measured, lower, upper, goal, met }) => ({ row, measured, quartiles: lower === undefined ? '' : `${lower}…${upper}`, goal, met: met === undefined ? '' : met ? 'yes' : 'NO' })))
if (missing.length > 0) console.log(`not here, left out: ${missing.join(', ')}`)
const short = rows.filter(({ met }) => met === false)
console.log(short.length === 0 ? 'every goal with a figure here is met' : `falls short: ${short.map(({ row, measured, goal }) => `${row} (${measured}, goal ${goal})`).join('; ')}`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ node: process.version, quick: bench.quick, rounds: bench.rounds, requests: bench.requests, targets, rows, missing }, null, 1)}\n`)
