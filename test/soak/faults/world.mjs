// A gate process as an operator starts it, a stub of Okta beside it, and clients: what every fault run stands on.
import { execFileSync, fork, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as later } from 'node:timers/promises'
import { freePort, root } from '../../support/gate-process.mjs'
import { shippedEnvironment } from '../../support/shipped.mjs'
import { sample } from '../proc.mjs'

export { later }
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const HEAP = [shippedEnvironment.NODE_OPTIONS]
const ALLOW = '[{ operation: getUser }, { operation: listUsers }, { operation: updateUser }, { operation: listGroups }]'

export function policyText (client, key, allow = ALLOW) {
  return `version: 1\nclient: ${client}\nowner: faults@example.com\ndescription: a client of the fault runs\nauthenticate: [{ apiKey: { sha256: ${key.sha256} } }]\nallow: ${allow}\n`
}

/**
 * Gate, stub and folder; `close()` ends them.
 *
 * @param {{ listen?: string, limits?: string, clients?: string[], wrap?: string[], env?: Record<string, string>, tls?: boolean }} [options]
 *   `listen`, `limits`: more keys of narrowgate.yaml's sections; `tls`: the client listener speaks it (needs openssl); `wrap`: a command that starts the gate
 */
export async function startWorld ({ listen = '', limits = '', clients = ['app'], wrap = [], env = {}, tls = false } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-faults-'))
  const stub = fork(path.join(import.meta.dirname, 'upstream.mjs'))
  const [{ port: stubPort }] = await once(stub, 'message')
  const port = await freePort()
  const keys = Object.fromEntries(clients.map(name => [name, newKey(randomBytes)]))
  mkdirSync(path.join(folder, 'policies'))
  /** Whole or not at all: what a reader sees is one version. */
  const write = (name, text) => {
    writeFileSync(path.join(folder, `${name}.new`), text)
    renameSync(path.join(folder, `${name}.new`), path.join(folder, name))
  }
  for (const name of clients) write(`policies/${name}.yaml`, policyText(name, keys[name]))
  if (tls) execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=127.0.0.1', '-keyout', path.join(folder, 'key.pem'), '-out', path.join(folder, 'cert.pem')], { stdio: 'ignore' })
  write('narrowgate.yaml', `listen: { host: 127.0.0.1, port: ${port}${tls ? ', tls: { cert: { file: cert.pem }, key: { file: key.pem } }' : ''}${listen} }
publicUrl: ${tls ? 'https' : 'http'}://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams: { default: { org: 'http://127.0.0.1:${stubPort}', credential: { apiToken: { value: { env: TOKEN }, exception: { ticket: T-1, approvedBy: faults, expires: 2099-01-01 } } } } }
limits: { org: { '*': 1000000 }, ceiling: 100%${limits} }
audit: { sinks: [{ stdout: { format: plain } }] }
`)
  const program = [...wrap, process.execPath, ...HEAP, path.join(root, 'dist/main.js'), 'serve', '-c', path.join(folder, 'narrowgate.yaml')]
  const child = spawn(program[0], program.slice(1), { env: { ...process.env, TOKEN: '00upstreamtoken', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const world = { port, keys, folder, write, child, pid: child.pid, events: [], log: [], troubles: 0, exit: undefined }
  child.once('exit', (code, signal) => { world.exit = { code: signal ?? code, at: performance.now() } })
  eachLine(child.stdout, line => { world.events.push(JSON.parse(line)) })
  await new Promise((resolve, reject) => {
    child.once('exit', () => { reject(new Error(`the gate did not start:\n${world.log.join('\n')}`)) })
    eachLine(child.stderr, line => {
      world.log.push(line)
      if (Number(/"level":(\d+)/.exec(line)?.[1] ?? 60) >= 50) world.troubles++
      if (line.includes('"msg":"listening"')) { world.adminUrl = JSON.parse(line).adminUrl; resolve() }
    })
  }).catch(async error => { await close(); throw error })

  async function close () {
    if (world.exit === undefined) { child.kill('SIGTERM'); await Promise.race([once(child, 'exit'), later(40_000)]) }
    if (world.exit === undefined) child.kill('SIGKILL')
    stub.disconnect()
    rmSync(folder, { recursive: true, force: true })
  }
  return Object.assign(world, {
    close,
    /** What has arrived since the last question: `total`, `seen` as [request line, times]. */
    arrived: async () => { stub.send('figures'); return (await once(stub, 'message'))[0] },
    memory: () => sample(world.pid, 0)
  })
}

function eachLine (stream, take) {
  let rest = ''
  stream.on('data', chunk => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop()
    for (const line of lines) take(line)
  })
}

/** A well-behaved client: one call; `status` undefined when no answer came. */
export function createCaller (port, key, { sockets = 16, localAddress } = {}) {
  const agent = new Agent({ keepAlive: true, maxSockets: sockets, localAddress })
  const call = (target, { method = 'GET', body } = {}) => new Promise(resolve => {
    const begun = performance.now()
    const done = (status, bytes = 0, headers = {}) => { resolve({ status, bytes, headers, ms: performance.now() - begun }) }
    const headers = { Authorization: `SSWS ${key.key}`, ...body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': body.length } }
    const asked = request({ host: '127.0.0.1', port, agent, method, path: target, headers, timeout: 75_000 }, answer => {
      let bytes = 0
      answer.on('data', chunk => { bytes += chunk.length }).once('end', () => { done(answer.statusCode, bytes, answer.headers) }).once('error', () => { done(undefined) })
    })
    asked.once('timeout', () => { asked.destroy() }).once('error', () => { done(undefined) })
    asked.end(body)
  })
  return { call, close: () => { agent.destroy() } }
}

/** `count` connections, some at a time; each is what `arm` makes of its socket once it is open. Those that are refused are left out. */
export async function openMany (port, count, arm, localAddress = '127.0.0.1', atOnce = 200) {
  const open = []
  for (let done = 0; done < count; done += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, count - done) }, (_, n) => new Promise(resolve => {
      const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true })
      socket.on('error', () => { resolve() })
      socket.once('connect', () => { open.push(socket); arm(socket, done + n); resolve() })
    })))
  }
  return open
}

export function requestText (line, key, headers = [], body = '') {
  return [`${line} HTTP/1.1`, 'Host: gate', `Authorization: SSWS ${key.key}`, ...headers, '', body].join('\r\n')
}

/** From here on, the peak of a process's resident memory is that of what follows (proc(5), clear_refs). */
export function forgetPeak (pid) { writeFileSync(`/proc/${pid}/clear_refs`, '5') }

/** Peak since, MB. */
export function peakMb (pid) { return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024 }

/** Waits until `read()` is true, at most `ms`; how long that took, or undefined. */
export async function until (read, ms) {
  const begun = performance.now()
  while (performance.now() - begun < ms) {
    if (await read()) return performance.now() - begun
    await later(50)
  }
  return undefined
}

/** Compiles and fills what an idle gate has not yet: memory is counted from here. Answers MB. */
export async function warm (world, client = 'app') {
  const caller = createCaller(world.port, world.keys[client])
  for (let round = 0; round < 40; round++) await Promise.all(Array.from({ length: 16 }, (_, n) => caller.call(`/api/v1/users/00u${n}`)))
  caller.close()
  await later(300)
  forgetPeak(world.pid)
  return world.memory().rssKb / 1024
}

export function tally (answers) {
  const counts = {}
  for (const { status } of answers) counts[status ?? 'none'] = (counts[status ?? 'none'] ?? 0) + 1
  return counts
}

export function quantile (values, part) {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN
}
