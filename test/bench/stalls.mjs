// npm run build && node test/bench/stalls.mjs [--seconds 30] [--clients 1000] [--json FILE]: how late the event loop of a
// gate under load is, at first with nothing else going on, then with each second a reload of the whole policy folder,
// a scrape of /metrics, a look at the console and a rotated audit file. The machine's own lateness is in both.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { root, startGate } from '../support/gate-process.mjs'
import { writeGate } from './config.mjs'
import { targets } from './mix.mjs'
import { BESIDE, here, load, MEASURED, startScript, stopAll } from './processes.mjs'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' }, clients: { type: 'string', default: '1000' }, rules: { type: 'string', default: '60' }, json: { type: 'string' } } })
const seconds = Number(values.seconds)
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-stalls-'))
const key = newKey(randomBytes)
const { url: org } = await startScript('upstream.mjs', BESIDE)
const config = await writeGate(folder, { org, key, clients: Number(values.clients), rules: Number(values.rules), spare: () => newKey(randomBytes).sha256 })
const file = path.join(folder, 'loop.json')
const gate = await startGate(config, { env: { OKTA_API_TOKEN: 'upstream-token', LOOP_FILE: file }, nodeArguments: ['--import', path.join(here, 'loop-watch.mjs')], core: MEASURED })
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const ask = () => load({ url: gate.url, authorization: `SSWS ${key.key}`, connections: 32, requests: 300 * seconds, rate: 300, targets })
const delay = async () => { gate.child.kill('SIGIO'); await sleep(200); return JSON.parse(readFileSync(file, 'utf8')) }

await ask()
await delay()
const calmCalls = await ask()
const calm = await delay()
const policy = path.join(folder, 'policies/bench.yaml')
const text = readFileSync(policy, 'utf8')
const loads = () => gate.output().split('"msg":"loaded"').length - 1
const before = loads()
const until = { over: false }
let scrapes = 0
const upset = (async () => {
  for (let i = 0; !until.over; i++) {
    writeFileSync(policy, text.replace('a client of the benchmark', `a client of the benchmark, ${i}`))
    try { renameSync(path.join(folder, 'log/audit.jsonl'), path.join(folder, `log/audit.${i}`)) } catch { /* not there at the moment */ }
    for (const page of ['/metrics', '/', '/readyz']) await fetch(gate.adminUrl + page).then(answer => answer.text()).then(() => { scrapes++ }, () => {})
    await sleep(1000)
  }
})()
const busyCalls = await ask()
until.over = true
await upset
const busy = await delay()
const result = { node: process.version, clients: Number(values.clients), seconds, reloads: loads() - before, scrapes, delayMs: { calm, busy }, callsMs: { calm: { p50: calmCalls.p50, p99: calmCalls.p99, max: calmCalls.max }, busy: { p50: busyCalls.p50, p99: busyCalls.p99, max: busyCalls.max } } }
console.table(result.delayMs)
console.table(result.callsMs)
console.log(`${result.reloads} reloads, ${scrapes} pages in ${seconds} s, ${busyCalls.wrong + calmCalls.wrong} wrong answers; goal: p99.9 of the busy event loop below 10 ms`)
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`)
await gate.stop()
await stopAll()
rmSync(folder, { recursive: true, force: true })
