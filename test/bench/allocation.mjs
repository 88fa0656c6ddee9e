// node test/bench/allocation.mjs [--json] [--careless] [--where]: bytes that the gate allocates for a request, which say what its
// hot path costs without a clock and so without the noise of a busy machine. Ends with 1 above the bound. The gate
// runs in this process over a young generation so large that nothing is collected while it is counted; load and
// upstream are other processes. --careless serialises and parses each event once more: that has to break the bound.
// --where names the functions that allocate most.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { Session } from 'node:inspector/promises'
import { PerformanceObserver } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import pino from 'pino'
import { root } from '../support/gate-process.mjs'
import { writeGate } from './config.mjs'
import { targets } from './mix.mjs'
import { load, startScript, stopAll, BESIDE } from './processes.mjs'

const { values } = parseArgs({ options: { json: { type: 'boolean' }, careless: { type: 'boolean' }, where: { type: 'boolean' }, inner: { type: 'boolean' } } })
const FLAGS = ['--expose-gc', '--min-semi-space-size=512', '--max-semi-space-size=512', '--single-threaded-gc']
/** Bytes a request: what was measured on that release line (docs/performance.md) and some 3% more. */
const BOUNDS = { 20: 32_000, 24: 32_000 }
const [WARM, REQUESTS, ROUNDS] = [16_000, 2000, 6]

if (!values.inner) {
  const { status } = spawnSync(process.execPath, [...FLAGS, fileURLToPath(import.meta.url), '--inner', ...process.argv.slice(2)], { stdio: 'inherit' })
  process.exit(status ?? 2)
}

const dist = name => import(path.join(root, 'dist', name))
const { startGate } = await dist('server/start.js')
const { newKey } = await dist('clients/api-key.js')
if (values.careless) {
  const { Metrics } = await dist('server/metrics.js')
  const { toEvent } = await dist('server/record.js')
  const { count } = Metrics.prototype
  Metrics.prototype.count = function (exchange) { JSON.parse(JSON.stringify(toEvent(exchange, 0))); count.call(this, exchange) }
}

const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-allocation-'))
const key = newKey(randomBytes)
const upstream = await startScript('upstream.mjs', BESIDE)
const gate = await startGate({ configFile: await writeGate(folder, { org: upstream.url, key }), environment: { OKTA_API_TOKEN: 'upstream-token' }, log: pino({ level: 'silent' }) })
const ask = async requests => {
  const { wrong } = await load({ url: gate.url, authorization: `SSWS ${key.key}`, connections: 16, requests, targets })
  if (wrong > 0) throw new Error(`${wrong} calls were not answered as they should be`)
}
let collected = 0
new PerformanceObserver(list => { collected += list.getEntries().length }).observe({ entryTypes: ['gc'] })

await ask(WARM)
const samples = []
for (let round = 0; round < ROUNDS; round++) {
  globalThis.gc()
  await new Promise(resolve => setTimeout(resolve, 50))
  collected = 0
  const before = process.memoryUsage()
  await ask(REQUESTS)
  const after = process.memoryUsage()
  if (collected === 0) samples.push((after.heapUsed - before.heapUsed) / REQUESTS)
}
if (values.where) await where()
await gate.drain(500)
await stopAll()
rmSync(folder, { recursive: true, force: true })
if (samples.length === 0) throw new Error('the young generation was collected in every round')
const bytes = Math.round(Math.min(...samples))
const bound = BOUNDS[process.versions.node.split('.')[0]]
const good = bound === undefined || bytes <= bound
if (values.json) console.log(JSON.stringify({ node: process.version, bytes, bound, samples: samples.map(Math.round) }))
else console.log(`${bytes} bytes a request on Node ${process.version}${bound === undefined ? '; no bound is known for it' : `, at most ${bound}: ${good ? 'fine' : 'TOO MUCH. What has been added to the road of every request?'}`}`)
process.exit(good ? 0 : 1)

/** The functions that allocate most, in bytes a request: a sample each 8 kB. */
async function where () {
  const session = new Session()
  session.connect()
  globalThis.gc()
  await session.post('HeapProfiler.startSampling', { samplingInterval: 8192, includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true })
  await ask(REQUESTS)
  const { profile } = await session.post('HeapProfiler.stopSampling')
  const found = new Map()
  const look = ({ callFrame: { functionName, url, lineNumber }, selfSize, children }) => {
    const name = `${functionName || '(anonymous)'} ${url.replace(/^.*\/(?=dist\/|node_modules\/)/, '')}:${lineNumber + 1}`
    found.set(name, (found.get(name) ?? 0) + selfSize)
    children.forEach(look)
  }
  look(profile.head)
  for (const [name, size] of [...found].sort((a, b) => b[1] - a[1]).slice(0, 60)) console.log(String(Math.round(size / REQUESTS)).padStart(6), name)
}
