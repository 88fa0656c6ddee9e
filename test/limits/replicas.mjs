// node test/limits/replicas.mjs [--seconds 300] [--limit 600] [--pauseMs 40] [--json FILE]: four gate processes (dist/), one Redis, one
// emulated org and saturating clients, while Redis is killed, paused, emptied, slowed and made read-only and a gate is
// killed and started again. In real time. Exits with 1 when the bound is broken.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { Redis } from 'ioredis'
import { freePort, root, startGate } from '../support/gate-process.mjs'

const { values } = parseArgs({ options: { seconds: { type: 'string' }, limit: { type: 'string' }, json: { type: 'string' }, plain: { type: 'boolean' }, pauseMs: { type: 'string' } } })
const seconds = Number(values.seconds ?? 420)
const limit = Number(values.limit ?? 600)
const allowance = limit / 2
const pauseMs = Number(values.pauseMs ?? 40)
const { startEmulator } = await import(path.join(root, 'dist/emulator/server.js'))
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-replicas-'))
const later = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Redis, and a road to it that can be slow. */
const redisPort = await freePort()
let redis
async function startRedis () {
  redis = spawn('redis-server', ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', work], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  await new Promise((resolve, reject) => {
    redis.once('error', error => { reject(new Error(`this needs a redis-server (apt-get install redis-server): ${error.message}`)) })
    redis.stdout.on('data', chunk => { if ((text += chunk).includes('Ready to accept')) resolve() })
  })
}
async function killRedis () {
  redis.kill('SIGKILL')
  await once(redis, 'exit')
}
let delayMs = 0
const road = createServer(client => {
  const server = createConnection(redisPort, '127.0.0.1')
  for (const [from, to] of [[client, server], [server, client]]) {
    from.on('data', chunk => { if (delayMs === 0) to.write(chunk); else setTimeout(() => to.write(chunk), delayMs / 2) })
    from.on('error', () => {}).on('close', () => to.destroy())
  }
}).listen(0, '127.0.0.1')
await once(road, 'listening')

const emulator = await startEmulator({ apiTokens: [{ token: 'upstream-token' }], rateLimits: { '/api/v1/users': limit }, latencyMs: 40, receivedSize: 1_000_000 })
const clients = Array.from({ length: 8 }, (_, i) => ({ name: `client-${i}`, ...newKey(randomBytes), calls: 0 }))

function writeGate (name, port) {
  const folder = path.join(work, name)
  mkdirSync(path.join(folder, 'policies'), { recursive: true })
  for (const { name: client, sha256 } of clients) {
    writeFileSync(path.join(folder, `policies/${client}.yaml`), `version: 1\nclient: ${client}\nauthenticate: [{ apiKey: { sha256: ${sha256} } }]\nallow: [{ operation: listUsers }]\n`)
  }
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
upstreams:
  default:
    org: ${emulator.url}
    credential: { apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: T-1, approvedBy: test, expires: 2099-01-01 } } }
limits: { store: { redis: { url: { env: REDIS_URL }, replicas: 4 } }, concurrency: 75 }
audit: { sinks: [{ file: { path: ./audit.jsonl } }] }
`)
  return file
}
const gates = []
async function startOne (i) {
  gates[i] ??= { port: await freePort() }
  const { port } = gates[i]
  const gate = await startGate(writeGate(`gate-${i}`, port), { env: { OKTA_API_TOKEN: 'upstream-token', REDIS_URL: `redis://127.0.0.1:${road.address().port}` }, nodeArguments: [] })
  Object.assign(gates[i], { gate, url: gate.url, up: true })
}

await startRedis()
for (let i = 0; i < 4; i++) await startOne(i)

const agent = new http.Agent({ keepAlive: true, maxSockets: 200 })
const samples = []
let phase = 'shared'
const state = { running: true }
const ask = (gate, client) => new Promise(resolve => {
  const began = performance.now()
  const request = http.request(`${gate.url}/api/v1/users`, { agent, headers: { authorization: `SSWS ${client.key}` } }, response => {
    response.resume()
    response.on('end', () => { resolve({ status: response.statusCode, ms: performance.now() - began, phase }) })
  })
  request.on('error', () => { resolve({ status: 0, ms: performance.now() - began, phase }) })
  request.end()
})
async function saturate (client) {
  while (state.running) {
    const gate = gates[Math.floor(Math.random() * gates.length)]
    if (gate.up) {
      const sample = await ask(gate, client)
      if (sample.status === 200) client.calls++
      if (sample.status !== 0 || gate.up) samples.push(sample)
    }
    await later(pauseMs * (0.5 + Math.random()))
  }
}

const started = Date.now()
const loops = clients.flatMap(client => [saturate(client), saturate(client)])
const at = async (share, name, run) => {
  await later(Math.max(0, started + share * seconds * 1000 - Date.now()))
  phase = name
  console.error(`${((Date.now() - started) / 1000).toFixed(0)} s: ${name}`)
  await run()
}
if (values.plain !== true) {
  const admin = () => new Redis({ port: redisPort, lazyConnect: true, retryStrategy: () => null })
  await at(0.30, 'slow', async () => { delayMs = 500 })
  await at(0.36, 'shared', async () => { delayMs = 0 })
  await at(0.42, 'paused', async () => { redis.kill('SIGSTOP') })
  await at(0.48, 'shared', async () => { redis.kill('SIGCONT') })
  await at(0.54, 'killed', killRedis)
  await at(0.58, 'emptied', startRedis)
  await at(0.60, 'shared', async () => {})
  await at(0.66, 'read-only', async () => { const one = admin(); await one.connect(); await one.config('SET', 'min-replicas-to-write', '1'); one.disconnect() })
  await at(0.72, 'shared', async () => { const one = admin(); await one.connect(); await one.config('SET', 'min-replicas-to-write', '0'); one.disconnect() })
  await at(0.78, 'gate killed', async () => {
    gates[1].up = false
    gates[1].gate.child.kill('SIGKILL')
    await once(gates[1].gate.child, 'exit')
    await later(3000)
    await startOne(1)
  })
  await at(0.80, 'shared', async () => {})
}
await at(1, 'end', async () => { state.running = false })
await Promise.all(loops)

const arrivals = emulator.received.all.filter(one => one.target === '/api/v1/users').map(one => one.time - started)
const worst = span(arrivals)
const settledFrom = 61_000
const minutes = Math.floor((seconds * 1000 - settledFrom) / 60_500)
const used = arrivals.filter(time => time >= settledFrom && time < settledFrom + minutes * 60_500).length / (minutes * allowance)
const sum = clients.reduce((all, one) => all + one.calls, 0)
const jain = sum * sum / (clients.length * clients.reduce((all, one) => all + one.calls ** 2, 0))
const bucket = emulator.counts().find(one => one.bucket === '/api/v1/users')
const phases = [...new Set(samples.map(one => one.phase))].map(name => {
  const of = samples.filter(one => one.phase === name)
  const refusals = of.filter(one => one.status === 429).map(one => one.ms).sort((a, b) => a - b)
  const rank = share => Math.round(10 * (refusals[Math.floor(refusals.length * share)] ?? 0)) / 10
  return { phase: name, calls: of.length, 200: of.filter(one => one.status === 200).length, 429: refusals.length, other: of.filter(one => one.status !== 200 && one.status !== 429).length, 'refusal p50 ms': rank(0.5), 'p99 ms': rank(0.99) }
})
console.table(phases)
const refusedAt = emulator.received.all.filter(one => one.status === 429).map(one => Math.round((one.time - started) / 100) / 10)
if (refusedAt.length > 0) console.error(`429 of the emulator at ${refusedAt.join(', ')} s`)
const result = { seconds, allowance, worst, used: Math.round(1000 * used) / 1000, refusedByOkta: bucket.refused, jain: Math.round(1000 * jain) / 1000, forwarded: arrivals.length }
console.table([result])
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ node: process.version, ...result, phases }, null, 1))
for (const { gate } of gates) await gate.stop()
redis.kill('SIGKILL')
road.close()
agent.destroy()
await emulator.close()
rmSync(work, { recursive: true, force: true })
process.exit(worst > allowance || bucket.refused > 0 ? 1 : 0)

function span (times) {
  let most = 0
  let from = 0
  const sorted = times.toSorted((a, b) => a - b)
  for (let first = 0, last = 0; last < sorted.length; last++) {
    while (sorted[last] - sorted[first] >= 60_000) first++
    if (last - first + 1 > most) { most = last - first + 1; from = sorted[first] }
  }
  console.error(`the fullest 60 seconds begin at ${Math.round(from / 100) / 10} s`)
  return most
}
