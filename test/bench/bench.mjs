// npm run bench [-- --quick] [-- --redis] [-- --json FILE]: CPU per request of the gate with everything on, beside peers that do less,
// in interleaved rounds of one run. Ratios are what counts: the machine is shared.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { freePort, root, startGate } from '../support/gate-process.mjs'
import { targets } from './mix.mjs'

const { values } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' }, redis: { type: 'boolean' }, rounds: { type: 'string' }, requests: { type: 'string' } } })
const rounds = Number(values.rounds ?? (values.quick ? 5 : 12))
const requests = Number(values.requests ?? (values.quick ? 8000 : 20_000))
const here = path.join(root, 'test/bench')
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const CLOCK_TICKS = 100
const started = []

/** Processes are held to one core each: what is measured on the first, the load and the upstream on the second. */
async function startScript (script, core, env = {}) {
  const child = spawn('taskset', ['-c', String(core), process.execPath, path.join(here, script)], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] })
  started.push(child)
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return { pid: child.pid, url: JSON.parse(line).url }
}

/** Holds the limits that several gates share; on the second core. */
async function startRedis (folder) {
  const port = await freePort()
  const child = spawn('taskset', ['-c', '1', 'redis-server', '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  started.push(child)
  let text = ''
  await new Promise((resolve, reject) => {
    child.once('exit', () => { reject(new Error('this needs a redis-server (apt-get install redis-server)')) })
    child.stdout.on('data', chunk => { if ((text += chunk).includes('Ready to accept')) resolve() })
  })
  return port
}

async function load (options) {
  const child = spawn('taskset', ['-c', '1', process.execPath, path.join(here, 'load.mjs'), JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', chunk => { text += chunk })
  await once(child, 'close')
  return JSON.parse(text)
}

/** CPU seconds of a process so far, all threads, from the operating system's accounting. */
function cpuSeconds (pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
}

const rssMb = pid => Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024)

function writeGate (folder, upstream, port, key, store = 'memory') {
  mkdirSync(path.join(folder, 'policies'), { recursive: true })
  const rules = targets.map(({ method, template, where }) => `  - request: ${method} ${template}${where === undefined ? '' : `\n    where: ${where}`}`)
  const filler = Array.from({ length: Math.max(0, 100 - rules.length) }, (_, i) => `  - operation: getGroup\n    where: { groupId: ['00g${String(i).padStart(17, '0')}'] }`)
  writeFileSync(path.join(folder, 'policies/bench.yaml'), `version: 1
client: bench
owner: bench@example.com
description: the benchmark's client, ${rules.length + filler.length} rules
authenticate: [{ apiKey: { sha256: ${key.sha256} } }]
allow:
${[...rules, ...filler].join('\n')}
`)
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${upstream}
    credential: { apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: B-1, approvedBy: bench, expires: 2099-01-01 } } }
limits: { org: { '*': 1000000 }, concurrency: 1000, store: ${store} }
audit: { sinks: [{ file: { path: ./audit.jsonl } }] }
`)
  return file
}

const median = list => quantile(list, 0.5)
function quantile (list, share) {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

async function main () {
  const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-bench-'))
  const upstream = await startScript('upstream.mjs', 1)
  const key = newKey(randomBytes)
  const gate = await startGate(writeGate(work, upstream.url, await freePort(), key), { env: { OKTA_API_TOKEN: 'upstream-token' }, core: 0 })
  const subjects = {
    relay: await startScript('peers/relay.mjs', 0, { UPSTREAM: upstream.url }),
    bare: await startScript('peers/bare.mjs', 0, { UPSTREAM: upstream.url }),
    gate: { pid: gate.pid, url: gate.url }
  }
  let shared
  if (values.redis) {
    const port = await startRedis(work)
    shared = await startGate(writeGate(path.join(work, 'shared'), upstream.url, await freePort(), key, '{ redis: { url: { env: REDIS_URL } } }'), { env: { OKTA_API_TOKEN: 'upstream-token', REDIS_URL: `redis://127.0.0.1:${port}` }, core: 0 })
    subjects.redis = { pid: shared.pid, url: shared.url }
  }
  const samples = Object.fromEntries(Object.keys(subjects).map(name => [name, []]))
  const one = async (name, count) => {
    const { url, pid } = subjects[name]
    const before = cpuSeconds(pid)
    const result = await load({ url, authorization: `SSWS ${key.key}`, connections: 64, requests: count, targets })
    const wrong = Object.entries(result.statuses).filter(([status]) => status !== '200')
    if (wrong.length > 0) throw new Error(`${name} answered ${JSON.stringify(result.statuses)}`)
    return { cpuUs: (cpuSeconds(pid) - before) * 1e6 / count, perSecond: count / result.seconds, ...result }
  }
  try {
    for (const name of Object.keys(subjects)) await one(name, requests * 2) // Node 24 gives wrong answers before it is warm
    for (let round = 0; round < rounds; round++) {
      for (const name of Object.keys(subjects)) samples[name].push(await one(name, requests))
    }
    const fixed = {}
    for (const [name, { url }] of Object.entries(subjects)) {
      fixed[name] = await load({ url, authorization: `SSWS ${key.key}`, connections: 64, requests: values.quick ? 5000 : 10_000, rate: 1000, targets })
    }
    report(samples, fixed, subjects)
  } finally {
    await gate.stop()
    await shared?.stop()
    for (const child of started) child.kill()
    rmSync(work, { recursive: true, force: true })
  }
}

function report (samples, fixed, subjects) {
  const ratios = (name, base) => samples[name].map((sample, round) => sample.cpuUs / samples[base][round].cpuUs)
  const rows = Object.entries(samples).map(([name, list]) => ({
    name,
    cpuUsPerRequest: Math.round(median(list.map(sample => sample.cpuUs)) * 10) / 10,
    requestsPerSecond: Math.round(median(list.map(sample => sample.perSecond))),
    p50AtRate: fixed[name].p50,
    p99AtRate: fixed[name].p99,
    peakRssMb: rssMb(subjects[name].pid)
  }))
  console.table(rows)
  const goals = [['gate', 'relay', 1.15], ['gate', 'bare', 0.65], ...samples.redis === undefined ? [] : [['redis', 'gate', 1.25]]]
  const result = goals.map(([name, base, goal]) => {
    const list = ratios(name, base)
    return { ratio: `${name} ÷ ${base}`, median: round(median(list)), lower: round(quantile(list, 0.25)), upper: round(quantile(list, 0.75)), goal, met: median(list) <= goal }
  })
  console.table(result)
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ node: process.version, rounds, requests, rows, ratios: result }, null, 1))
}

const round = number => Math.round(number * 1000) / 1000

await main()
