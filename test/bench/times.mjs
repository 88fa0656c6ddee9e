// Rows that are times and bytes: latency at a fixed rate, a slow Okta, long lists, a reload under load.
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { targets } from './mix.mjs'
import { startNginx } from './peers/others.mjs'
import { BESIDE, cpuUs, load, median, peakMb, quantile, residentMb, round, startScript, stop } from './processes.mjs'
import { askOf, gate, mixed, stopSubjects } from './subjects.mjs'

const plain = { targets }
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

/** Latency at 1,000 calls a second, in turns with nginx. */
export async function latencyRow (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const subjects = { gate: await gate(bench, 'latency', { org }) }
  const nginx = await startNginx(bench.work, org, bench.key.key).catch(() => undefined)
  if (nginx !== undefined) subjects.nginx = { ...nginx, enforces: true }
  const times = Object.fromEntries(Object.keys(subjects).map(name => [name, []]))
  const ask = (name, requests) => load(askOf(bench, subjects[name], mixed, { requests, rate: 1000 }))
  await ask('gate', bench.quick ? 2000 : 10_000)
  for (let i = 0; i < (bench.quick ? 3 : 6); i++) for (const name of Object.keys(subjects)) times[name].push(await ask(name, bench.quick ? 1000 : 3000))
  await stopSubjects(subjects)
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
  const ask = requests => load(askOf(bench, subjects.gate, plain, { connections: 400, requests, rate: 1000 }))
  await ask(bench.quick ? 1500 : 5000)
  const { p50, p99 } = await ask(bench.quick ? 2500 : 10_000)
  await stopSubjects(subjects)
  return { rows: [{ row: 'upstream of 200 ms at 1,000/s, p50 ms', measured: p50, goal: '≤ 215', met: p50 <= 215 }, { row: 'the same, p99 ms', measured: p99, goal: '' }] }
}

/** Lists of 5 MB, and clients that stop reading in their middle. */
export async function listRow (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE, { BODY_BYTES: String(5 * 1024 * 1024) })
  const subjects = { gate: await gate(bench, 'lists', { org }) }
  const { pid, url } = subjects.gate
  const list = { targets: [{ method: 'GET', path: '/api/v1/users/00u00000000000000001', status: 200 }] }
  const ask = requests => load(askOf(bench, subjects.gate, list, { connections: 8, requests }))
  await ask(bench.quick ? 20 : 50)
  const before = cpuUs(pid)
  const { bytes, seconds } = await ask(bench.quick ? 80 : 400)
  const busy = (cpuUs(pid) - before) / 1e6
  const peak = peakMb(pid)
  const idle = residentMb(pid)
  const readers = await Promise.all(Array.from({ length: 40 }, () => stall(url, bench.key.key)))
  await sleep(1500)
  const perReader = (residentMb(pid) - idle) / readers.length
  for (const socket of readers) socket.destroy()
  await stopSubjects(subjects)
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
  socket.on('error', () => {})
  socket.pause()
  await once(socket, 'connect')
  socket.write(`GET /api/v1/users/00u00000000000000001 HTTP/1.1\r\nHost: x\r\nAuthorization: SSWS ${key}\r\n\r\n`)
  return socket
}

/**
 * Reloads of 1,000 clients × 100 rules while calls go on: the slowest call with them, beside the slowest without. One file
 * has changed, as when a key is revoked; then every file, as when a folder is deployed anew.
 */
export async function reloadRow (bench) {
  const clients = bench.quick ? 200 : 1000
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const subject = await gate(bench, 'reload', { org, clients })
  const ask = requests => load(askOf(bench, subject, plain, { connections: 32, requests, rate: 500 }))
  await ask(bench.quick ? 1000 : 3000)
  const calm = await ask(bench.quick ? 1000 : 4000)
  const loads = () => subject.started.output().split('"msg":"loaded"').length
  const change = i => {
    const file = path.join(subject.folder, 'policies', i === 0 ? 'bench.yaml' : `c${i}.yaml`)
    writeFileSync(file, readFileSync(file, 'utf8').replace('a client of the benchmark', 'a client of the benchmark, changed'))
  }
  const during = async (requests, files) => {
    const before = loads()
    const calls = ask(requests)
    await sleep(500)
    const began = performance.now()
    for (let i = 0; i < files; i++) change(i)
    while (loads() === before && performance.now() - began < 60_000) await sleep(20)
    const took = performance.now() - began
    return { found: await calls, took: Math.round(took), reloaded: loads() > before }
  }
  const one = await during(bench.quick ? 1500 : 4000, 1)
  const all = await during(bench.quick ? 3000 : 8000, clients)
  await stop(subject.child)
  const size = `${clients} × 100 rules`
  return {
    rows: [
      { row: `reload of ${size} under load, one file new: slowest call, ms (without: ${calm.max})`, measured: one.found.max, goal: '≤ 50', met: one.reloaded && one.found.max <= 50 },
      { row: 'the same, p99 ms', measured: one.found.p99, goal: '' },
      { row: 'the same, ms from the change to the new snapshot', measured: one.took, goal: '≤ 1000', met: one.reloaded && one.took <= 1000 },
      { row: `reload of ${size} under load, every file new: slowest call, ms`, measured: all.found.max, goal: '≤ 50', met: all.reloaded && all.found.max <= 50 },
      { row: 'the same, ms from the change to the new snapshot', measured: all.took, goal: '' }
    ]
  }
}
