// Starts what is measured and what measures, each held to one core, and reads the operating system's accounting.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { freePort, root } from '../support/gate-process.mjs'

export const here = path.join(root, 'test/bench')
const started = new Set()

/** What is measured runs on the first core; the load and the upstream on the second. */
export const MEASURED = 0
export const BESIDE = availableParallelism() > 1 ? 1 : 0

/** Notes a process that has to end with this one. */
export function track (child) {
  started.add(child)
  child.once('exit', () => started.delete(child))
  return child
}

// Whatever ends the bench ends what it has started: a fault, ^C, or a time limit around it.
process.on('exit', () => { for (const child of started) child.kill('SIGKILL') })
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143], ['SIGHUP', 129]]) process.once(signal, () => { process.exit(code) })

export function run (command, args, { core, env = {}, cwd } = {}) {
  const child = track(spawn('taskset', ['-c', String(core), command, ...args], { env: { ...process.env, ...env }, cwd, stdio: ['ignore', 'pipe', 'pipe'] }))
  child.complaints = ''
  child.stderr.on('data', chunk => { child.complaints += chunk })
  child.once('error', error => { child.complaints += error.message; started.delete(child) })
  return child
}

/** A script of this folder that prints `{"url"}` when it listens. */
export async function startScript (script, core, env = {}) {
  const child = run(process.execPath, [path.join(here, script)], { core, env })
  const first = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), once(child, 'exit')])
  if (typeof first[0] !== 'string') throw new Error(`${script}: ${child.complaints}`)
  return { pid: child.pid, child, ...JSON.parse(first[0]) }
}

export async function load (options) {
  const child = run(process.execPath, [path.join(here, 'load.mjs'), JSON.stringify(options)], { core: BESIDE })
  let text = ''
  child.stdout.on('data', chunk => { text += chunk })
  await once(child, 'close')
  if (text === '') throw new Error(`the load failed: ${child.complaints}`)
  return JSON.parse(text)
}

/** Holds the limits that several gates share; on the second core. */
export async function startRedis (folder) {
  const port = await freePort()
  const child = run('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder], { core: BESIDE })
  let text = ''
  await new Promise((resolve, reject) => {
    child.once('exit', () => { reject(new Error('no redis-server (apt-get install redis-server)')) })
    child.stdout.on('data', chunk => { if ((text += chunk).includes('Ready to accept')) resolve() })
  })
  return { port, child }
}

/** A process and its descendants. */
function tree (pid) {
  let children = ''
  try { for (const task of readdirSync(`/proc/${pid}/task`)) children += readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8') } catch { return [] }
  return [pid, ...children.trim().split(/\s+/).filter(Boolean).flatMap(child => tree(Number(child)))]
}

/** CPU microseconds of a process and its descendants so far, all threads. */
export function cpuUs (pid) {
  let ns = 0
  for (const one of tree(pid)) for (const task of readdirSync(`/proc/${one}/task`)) ns += Number(readFileSync(`/proc/${one}/task/${task}/schedstat`, 'utf8').split(' ')[0])
  return ns / 1000
}

const memory = (pid, field) => tree(pid).reduce((sum, one) => sum + Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${one}/status`, 'utf8'))?.[1] ?? 0), 0) / 1024
export const peakMb = pid => Math.round(memory(pid, 'VmHWM'))
export const residentMb = pid => Math.round(memory(pid, 'VmRSS'))

/** Asks a process to end, and ends it when it does not within three seconds. */
export async function stop (child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill()
  const timer = setTimeout(() => { child.kill('SIGKILL') }, 3000)
  await gone
  clearTimeout(timer)
}

export async function stopAll () {
  await Promise.all([...started].map(stop))
}

export const median = list => quantile(list, 0.5)
export function quantile (list, share) {
  const sorted = [...list].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}
export const round = (number, digits = 3) => Math.round(number * 10 ** digits) / 10 ** digits
