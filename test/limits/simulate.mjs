// node test/limits/simulate.mjs [--quick]: many gates and many clients in virtual time, the real limiter and a real Redis;
// prints the table of docs/limits.md.
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'

const LOADER = '@tapjs/typescript/import'
if (!process.execArgv.some(one => one.includes(LOADER))) {
  process.exit(spawnSync(process.execPath, ['--import', LOADER, ...process.argv.slice(1)], { stdio: 'inherit' }).status ?? 1)
}
const { values } = parseArgs({ options: { quick: { type: 'boolean' } } })
const { createLine } = await import('../../src/limits/redis.js')
const { RedisServer } = await import('./redis-server.js')
const { simulate } = await import('./model.js')

const redis = await RedisServer.start()
const line = createLine({ url: redis.url, commandTimeoutMs: 10_000, prefix: '' }, () => {})
for (let i = 0; i < 100; i++) { try { await line.time(); break } catch { await new Promise(resolve => setTimeout(resolve, 20)) } }

const out = [{ atMs: 90_000, road: 'gone' }, { atMs: 120_000, road: 'good' }]
const long = [{ atMs: 90_000, road: 'gone' }, { atMs: 210_000, road: 'good' }]
const emptied = [{ atMs: 90_000, road: 'gone' }, { atMs: 92_000, road: 'good', empty: true }]
const deaf = [{ atMs: 90_000, road: 'deaf' }, { atMs: 100_000, road: 'good' }]
const some = [{ atMs: 90_000, road: 'gone', gates: [0, 1, 2, 3, 4] }, { atMs: 120_000, road: 'good' }]
const killed = [{ atMs: 90_000, restart: 0 }, { atMs: 100_000, restart: 1 }, { atMs: 110_000, restart: 2 }]
const big = { gates: values.quick ? 8 : 50, clients: values.quick ? 400 : 10_000, limit: 12_000, everyMs: values.quick ? 2000 : 40_000 }
const runs = [
  ['nothing happens', []], ['gone for 30 s', out], ['gone for 2 min', long], ['comes back empty', emptied],
  ['answers are lost for 10 s', deaf], ['gone for five gates', some], ['three gates are killed', killed]
]
const rows = []
for (const [name, faults] of runs) {
  const began = Date.now()
  const outcome = await simulate({ seed: 6, seconds: 305, latencyMs: 800, roundTripMs: 2, settledAfter: 63, ...big, faults }, line, `${name}.`)
  rows.push({ name, gates: big.gates, clients: big.clients, allowance: big.limit / 2, worst: outcome.worst, 'used %': Math.round(1000 * outcome.use) / 10, "Okta's 429s": outcome.refusedByOkta, "Jain's index": Math.round(1000 * outcome.jain) / 1000, calls: outcome.calls, attempts: outcome.attempts, 'took s': Math.round((Date.now() - began) / 1000) })
  console.error(JSON.stringify(rows.at(-1)))
}
console.table(rows)
await line.close()
await redis.stop()
process.exit(rows.some(row => row.worst > row.allowance || row["Okta's 429s"] > 0) ? 1 : 0)
