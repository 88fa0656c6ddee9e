// node test/limits/simulate.mjs [--gates 50] [--clients 10000] [--limit 12000] [--everyMs 40000] [--seconds 305] [--seed 6] [--only NAME]
//
// Many gates and many clients in virtual time: the real limiter, a real Redis, a model of Okta (nested counters whose
// windows are started by traffic), network delay, and whatever happens to the store. Prints the table of docs/limits.md
// and PASS or FAIL for each row; exits 1 on a FAIL. `--only hour` runs an hour of nothing, for the fairness.
import { spawnSync } from 'node:child_process'
import { parseArgs } from 'node:util'

const LOADER = '@tapjs/typescript/import'
if (!process.execArgv.some(one => one.includes(LOADER))) {
  process.exit(spawnSync(process.execPath, ['--import', LOADER, ...process.argv.slice(1)], { stdio: 'inherit' }).status ?? 1)
}
const number = value => ({ type: 'string', default: String(value) })
const { values } = parseArgs({ options: { gates: number(50), clients: number(10_000), limit: number(12_000), everyMs: number(40_000), seconds: number(305), seed: number(6), only: { type: 'string' } } })
const [gates, clients, limit, everyMs, seconds, seed] = ['gates', 'clients', 'limit', 'everyMs', 'seconds', 'seed'].map(name => Number(values[name]))
const { createLine } = await import('../../src/limits/redis.js')
const { RedisServer } = await import('./redis-server.js')
const { simulate } = await import('./model.js')

const RUNS = {
  'nothing happens': [],
  'gone for 30 s': [{ atMs: 90_000, road: 'gone' }, { atMs: 120_000, road: 'good' }],
  'gone for 2 min': [{ atMs: 90_000, road: 'gone' }, { atMs: 210_000, road: 'good' }],
  'comes back empty': [{ atMs: 90_000, road: 'gone' }, { atMs: 92_000, road: 'good', empty: true }],
  'its answers are lost for 10 s': [{ atMs: 90_000, road: 'deaf' }, { atMs: 100_000, road: 'good' }],
  'gone for a tenth of the gates': [{ atMs: 90_000, road: 'gone', gates: Array.from({ length: Math.ceil(gates / 10) }, (_, i) => i) }, { atMs: 120_000, road: 'good' }],
  'gates are killed': [{ atMs: 90_000, restart: 0 }, { atMs: 100_000, restart: 1 % gates }, { atMs: 110_000, restart: 2 % gates }],
  hour: []
}
/** With fewer calls a client, Jain's index tells of chance more than of the limiter. */
const CALLS_FOR_JAIN = 30

const names = values.only === undefined ? Object.keys(RUNS).filter(name => name !== 'hour') : [values.only]
if (names.some(name => RUNS[name] === undefined)) throw new Error(`no such run; there are: ${Object.keys(RUNS).join(', ')}`)
const redis = await RedisServer.start()
const line = createLine({ url: redis.url, commandTimeoutMs: 10_000, prefix: '' }, () => {})
for (let i = 0; i < 100; i++) { try { await line.time(); break } catch { await new Promise(resolve => setTimeout(resolve, 20)) } }

const rows = []
for (const name of names) {
  const began = Date.now()
  const faults = RUNS[name]
  const length = name === 'hour' ? 3665 : seconds
  const outcome = await simulate({ seed, gates, clients, limit, everyMs, seconds: length, latencyMs: 800, roundTripMs: 2, settledAfter: Math.min(63, length / 2), faults }, line, `${name}.`)
  const enough = outcome.calls / clients >= CALLS_FOR_JAIN
  const broken = [
    outcome.worst > limit / 2 && 'bound',
    outcome.refusedByOkta > 0 && '429',
    faults.length === 0 && outcome.use < 0.95 && 'use',
    faults.length === 0 && enough && outcome.jain < 0.98 && 'Jain'
  ].filter(Boolean)
  rows.push({
    name,
    gates,
    clients,
    allowance: limit / 2,
    'fullest 60 s': outcome.worst,
    'used %': Math.round(1000 * outcome.use) / 10,
    "Okta's 429s": outcome.refusedByOkta,
    "Jain's index": Math.round(1000 * outcome.jain) / 1000,
    'calls a client': Math.round(10 * outcome.calls / clients) / 10,
    attempts: outcome.attempts,
    'took s': Math.round((Date.now() - began) / 1000),
    verdict: broken.length === 0 ? 'PASS' : `FAIL: ${broken.join(', ')}`
  })
  console.error(JSON.stringify(rows.at(-1)))
}
console.table(rows)
await line.close()
await redis.stop()
process.exit(rows.some(row => row.verdict !== 'PASS') ? 1 : 0)
