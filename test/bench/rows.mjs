// The rows of docs/design/performance.md's table.
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { startGate } from '../support/gate-process.mjs'
import { writeGate } from './config.mjs'
import { refused, targets } from './mix.mjs'
import { startCaddy, startHaproxy, startNginx } from './peers/others.mjs'
import { BESIDE, cpuUs, here, load, MEASURED, median, peakMb, quantile, residentMb, round, startRedis, startScript } from './processes.mjs'

const TOKEN = { OKTA_API_TOKEN: 'upstream-token' }
const mixed = { targets: [...targets.slice(0, 24), refused[0], ...targets.slice(24), refused[1]] }

async function gate (bench, name, options, env = {}) {
  const folder = path.join(bench.work, name)
  const started = await startGate(await writeGate(folder, { key: bench.key, spare: bench.spare, ...options }), { env: { ...TOKEN, ...env }, core: MEASURED })
  return { pid: started.pid, url: started.url, enforces: true, folder, stop: started.stop, started }
}

/** CPU per request of each subject in interleaved rounds; the first is warmed up as long as the others. */
async function interleaved (bench, subjects, mix, { rounds = bench.rounds, requests = bench.requests, connections = 64 } = {}) {
  const names = Object.keys(subjects)
  const samples = Object.fromEntries(names.map(name => [name, []]))
  const one = async (name, count) => {
    const { url, pid, enforces } = subjects[name]
    const list = enforces ? mix.targets : mix.targets.map(target => ({ ...target, status: 200 }))
    const before = cpuUs(pid)
    const result = await load({ url, authorization: `SSWS ${bench.key.key}`, connections, requests: count, targets: list })
    if (result.wrong > 0 || result.done < count) throw new Error(`${name} answered ${JSON.stringify(result.statuses)}; ${result.wrong} otherwise than they should`)
    return { cpuUs: (cpuUs(pid) - before) / count, perSecond: count / result.seconds, ...result }
  }
  for (const name of names) await one(name, bench.rounds === 1 ? 500 : bench.quick ? 12_000 : 40_000) // Node 24 gives wrong answers before it is warm
  for (let i = 0; i < rounds; i++) for (const name of i % 2 === 0 ? names : [...names].reverse()) samples[name].push(await one(name, requests))
  return samples
}

function ratio (samples, name, base, row, goal) {
  const list = samples[name].map((sample, i) => sample.cpuUs / samples[base][i].cpuUs)
  const measured = round(median(list))
  return { row, measured, lower: round(quantile(list, 0.25)), upper: round(quantile(list, 0.75)), goal: goal === undefined ? '' : `≤ ${goal}`, met: goal === undefined ? undefined : measured <= goal }
}

const node24 = Number(process.versions.node.split('.')[0]) >= 24

/** The gate beside its peers, and what single features add. */
export async function ratioRows (bench) {
  const { work, key } = bench
  const upstream = await startScript('upstream.mjs', BESIDE)
  const org = upstream.url
  const missing = []
  const subjects = {
    relay: await startScript('peers/relay.mjs', MEASURED, { UPSTREAM: org }),
    bare: await startScript('peers/bare.mjs', MEASURED, { UPSTREAM: org }),
    gate: await gate(bench, 'gate', { org })
  }
  const optional = async (name, start) => {
    try {
      const found = await start()
      if (found === undefined) missing.push(name)
      else subjects[name] = found
    } catch (error) { missing.push(`${name} (${String(error.message).trim().split('\n')[0]})`) }
  }
  await optional('nginx', async () => enforcing(await startNginx(work, org, key.key)))
  await optional('haproxy', async () => enforcing(await startHaproxy(work, org, key.key)))
  await optional('caddy', async () => enforcing(await startCaddy(work, org, key.key)))
  if (existsSync(path.join(here, 'node_modules'))) {
    await optional('node-http-proxy', () => startScript('peers/node-http-proxy.mjs', MEASURED, { UPSTREAM: org }))
    await optional('http-proxy-middleware', () => startScript('peers/http-proxy-middleware.mjs', MEASURED, { UPSTREAM: org }))
  } else missing.push('node-http-proxy, http-proxy-middleware (npm ci in test/bench)')
  await optional('redis', async () => {
    const port = await startRedis(work)
    return await gate(bench, 'redis', { org, store: '{ redis: { url: { env: REDIS_URL }, replicas: 1 } }' }, { REDIS_URL: `redis://127.0.0.1:${port}` })
  })
  subjects.durable = await gate(bench, 'durable', { org, audit: ', delivery: required' })
  subjects.bodies = await gate(bench, 'bodies', { org, more: '    body: { only: [profile.firstName, profile.lastName, profile.mobilePhone, profile.city], require: { profile.firstName: any } }\n' })
  subjects.rules50 = await gate(bench, 'rules50', { org, rules: 50 })

  const samples = await interleaved(bench, subjects, mixed)
  const writes = { targets: [{ method: 'POST', path: '/api/v1/users/00u00000000000000001', body: JSON.stringify({ profile: { firstName: 'Ada', lastName: 'Lovelace', city: 'x'.repeat(1900) } }), status: 200 }] }
  const bodies = await interleaved({ ...bench, quick: true }, { gate: subjects.gate, bodies: subjects.bodies }, writes)
  const fixed = {}
  for (const [name, { url, enforces }] of Object.entries(subjects)) {
    fixed[name] = await load({ url, authorization: `SSWS ${key.key}`, connections: 64, requests: bench.quick ? 1500 : 5000, rate: 1000, targets: enforces ? mixed.targets : mixed.targets.map(target => ({ ...target, status: 200 })) })
  }
  const described = Object.entries(samples).map(([name, list]) => ({
    name,
    cpuUsPerRequest: round(median(list.map(sample => sample.cpuUs)), 1),
    leastCpuUs: round(Math.min(...list.map(sample => sample.cpuUs)), 1),
    requestsPerSecond: Math.round(median(list.map(sample => sample.perSecond))),
    p50AtRate: fixed[name].p50,
    p99AtRate: fixed[name].p99,
    peakRssMb: peakMb(subjects[name].pid)
  }))
  const rows = [
    ratio(samples, 'gate', 'relay', 'gate ÷ relay', node24 ? 1.05 : 1.15),
    ratio(samples, 'gate', 'bare', 'gate ÷ Fastify + http-proxy', 0.65),
    ...['caddy', 'nginx', 'haproxy', 'node-http-proxy', 'http-proxy-middleware'].filter(name => name in samples).map(name => ratio(samples, 'gate', name, `gate ÷ ${name}`, name === 'caddy' ? 0.5 : undefined)),
    ratio(bodies, 'bodies', 'gate', 'body conditions on 2 kB ÷ none', 1.2),
    ...'redis' in samples ? [ratio(samples, 'redis', 'gate', 'Redis store ÷ memory store', 1.25)] : [],
    ratio(samples, 'durable', 'gate', 'durable intents ÷ plain audit lines', 1.25),
    ratio(samples, 'gate', 'rules50', '100 rules ÷ 50 rules', undefined)
  ]
  await stopGates(subjects)
  return { rows, targets: described, missing }
}

const enforcing = found => found === undefined ? undefined : { ...found, enforces: true }

async function stopGates (subjects) {
  for (const { stop, pid } of Object.values(subjects)) {
    if (stop !== undefined) await stop()
    else try { process.kill(pid) } catch { /* it has ended */ }
  }
}

/** Many clients with many rules, each with lists of its own; and a gate that signs proofs. */
export async function bigRows (bench) {
  const clients = bench.quick ? 200 : 1000
  const rules = bench.quick ? 100 : 200
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const subjects = { one: await gate(bench, 'one', { org, rules: 50 }), many: await gate(bench, 'many', { org, rules, clients }) }
  const before = residentMb(subjects.one.pid)
  const after = residentMb(subjects.many.pid)
  const samples = await interleaved(bench, subjects, mixed)
  await stopGates(subjects)
  return { rows: [ratio(samples, 'many', 'one', `${clients} clients × ${rules} rules ÷ 1 × 50 (${after - before} MB more)`, 1.05)] }
}

/** Latency at 1,000 calls a second, in turns with nginx. */
export async function latencyRow (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const subjects = { gate: await gate(bench, 'latency', { org }) }
  const nginx = await startNginx(bench.work, org, bench.key.key).catch(() => undefined)
  if (nginx !== undefined) subjects.nginx = nginx
  const times = Object.fromEntries(Object.keys(subjects).map(name => [name, []]))
  const ask = (name, requests) => load({ url: subjects[name].url, authorization: `SSWS ${bench.key.key}`, connections: 64, requests, rate: 1000, targets: mixed.targets })
  await ask('gate', 10_000)
  for (let i = 0; i < (bench.quick ? 3 : 6); i++) for (const name of Object.keys(subjects)) times[name].push(await ask(name, 3000))
  await stopGates(subjects)
  const rows = [['p50', 0.3], ['p99', 1.5]].map(([at, goal]) => {
    const own = median(times.gate.map(one => one[at]))
    if (nginx === undefined) return { row: `latency at 1,000/s, ${at}, ms`, measured: round(own, 2), goal: `nginx's + ${goal}` }
    const more = times.gate.map((one, i) => one[at] - times.nginx[i][at])
    return { row: `latency at 1,000/s, ${at}, ms above nginx's ${round(median(times.nginx.map(one => one[at])), 2)}`, measured: round(median(more), 2), lower: round(quantile(more, 0.25), 2), upper: round(quantile(more, 0.75), 2), goal: `≤ ${goal}`, met: median(more) <= goal }
  })
  return { rows, missing: nginx === undefined ? ['nginx'] : [] }
}

/** An Okta that takes 200 ms, at 1,000 calls a second. */
export async function slowRow (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE, { LATENCY_MS: '200' })
  const subjects = { gate: await gate(bench, 'slow', { org }) }
  const ask = requests => load({ url: subjects.gate.url, authorization: `SSWS ${bench.key.key}`, connections: 400, requests, rate: 1000, targets })
  await ask(3000)
  const { p50, p99 } = await ask(bench.quick ? 4000 : 10_000)
  await stopGates(subjects)
  return { rows: [{ row: 'upstream of 200 ms at 1,000/s, p50 ms', measured: p50, goal: '≤ 215', met: p50 <= 215 }, { row: 'the same, p99 ms', measured: p99, goal: '' }] }
}

/** Lists of 5 MB, and clients that stop reading in their middle. */
export async function listRow (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE, { BODY_BYTES: String(5 * 1024 * 1024) })
  const subjects = { gate: await gate(bench, 'lists', { org }) }
  const list = [{ method: 'GET', path: '/api/v1/users/00u00000000000000001', status: 200 }]
  const ask = requests => load({ url: subjects.gate.url, authorization: `SSWS ${bench.key.key}`, connections: 8, requests, targets: list })
  await ask(50)
  const before = cpuUs(subjects.gate.pid)
  const { bytes, seconds } = await ask(bench.quick ? 150 : 400)
  const busy = (cpuUs(subjects.gate.pid) - before) / 1e6
  const peak = peakMb(subjects.gate.pid)
  const idle = residentMb(subjects.gate.pid)
  const readers = await Promise.all(Array.from({ length: 40 }, () => stall(subjects.gate.url, bench.key.key)))
  await new Promise(resolve => setTimeout(resolve, 1500))
  const perReader = (residentMb(subjects.gate.pid) - idle) / readers.length
  for (const socket of readers) socket.destroy()
  await stopGates(subjects)
  const wall = round(bytes / 1e6 / seconds, 0)
  return {
    rows: [
      { row: '5 MB lists, MB/s (load and upstream share a core)', measured: wall, goal: '≥ 500', met: wall >= 500 },
      { row: '5 MB lists, MB per second of the gate\'s CPU', measured: round(bytes / 1e6 / busy, 0), goal: '' },
      { row: '5 MB lists, peak MB', measured: peak, goal: '≤ 130', met: peak <= 130 },
      { row: 'MB per stalled reader of 40', measured: round(perReader, 2), goal: '≤ 0.5', met: perReader <= 0.5 }
    ]
  }
}

/** A client that asks for a list and reads nothing of it. */
async function stall (url, key) {
  const { hostname, port } = new URL(url)
  const socket = net.connect(Number(port), hostname)
  socket.pause()
  await once(socket, 'connect')
  socket.write(`GET /api/v1/users/00u00000000000000001 HTTP/1.1\r\nHost: x\r\nAuthorization: SSWS ${key}\r\n\r\n`)
  return socket
}

/** A reload of 1,000 clients × 100 rules while calls go on: the slowest call with one, beside the slowest without. */
export async function reloadRow (bench) {
  const clients = bench.quick ? 200 : 1000
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const subject = await gate(bench, 'reload', { org, clients })
  const ask = requests => load({ url: subject.url, authorization: `SSWS ${bench.key.key}`, connections: 32, requests, rate: 500, targets })
  await ask(3000)
  const calm = await ask(4000)
  const loads = () => subject.started.output().split('"msg":"loaded"').length
  const before = loads()
  const during = ask(bench.quick ? 4000 : 8000)
  await new Promise(resolve => setTimeout(resolve, 1000))
  const file = path.join(subject.folder, 'policies/bench.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('a client of the benchmark', 'a client of the benchmark, changed'))
  const found = await during
  for (let i = 0; i < 100 && loads() === before; i++) await new Promise(resolve => setTimeout(resolve, 100))
  const reloaded = loads() - before
  await subject.stop()
  return { rows: [{ row: `reload of ${clients} × 100 rules under load: slowest call, ms (without: ${calm.max}; reloads: ${reloaded})`, measured: found.max, goal: '≤ 50', met: reloaded > 0 && found.max <= 50 }, { row: 'the same, p99 ms', measured: found.p99, goal: '' }] }
}

/** Memory and the time from start to ready. */
export async function lifeRows (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const times = []
  let idle = 0
  let loaded = 0
  for (let i = 0; i < (bench.quick ? 3 : 7); i++) {
    const config = await writeGate(path.join(bench.work, `life${i}`), { org, key: bench.key, spare: bench.spare, clients: 100, rules: 50 })
    const began = performance.now()
    const started = await startGate(config, { env: TOKEN, core: MEASURED })
    times.push((performance.now() - began) / 1000)
    if (i === 0) {
      await new Promise(resolve => setTimeout(resolve, 1500))
      idle = residentMb(started.pid)
      await load({ url: started.url, authorization: `SSWS ${bench.key.key}`, connections: 64, requests: bench.quick ? 15_000 : 60_000, targets })
      loaded = peakMb(started.pid)
    }
    await started.stop()
  }
  const start = round(median(times), 2)
  return {
    rows: [
      { row: 'idle, MB', measured: idle, goal: '≤ 80', met: idle <= 80 },
      { row: 'loaded, peak MB', measured: loaded, goal: '≤ 130', met: loaded <= 130 },
      { row: 'start to ready with 100 clients, s', measured: start, lower: round(quantile(times, 0.25), 2), upper: round(quantile(times, 0.75), 2), goal: '≤ 0.45', met: start <= 0.45 }
    ]
  }
}
