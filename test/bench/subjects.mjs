// What is measured, loaded in turns: CPU per request of each, and the ratios of the same round.
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { startGate } from '../support/gate-process.mjs'
import { shippedEnvironment } from '../support/shipped.mjs'
import { writeGate } from './config.mjs'
import { refused, targets } from './mix.mjs'
import { cpuUs, load, MEASURED, median, quantile, round, stop, track } from './processes.mjs'

export const mixed = { targets: [...targets.slice(0, 24), refused[0], ...targets.slice(24), refused[1]] }

/** The built gate on a core of its own; `options` are writeGate's, and `nodeArguments`, `core`, `onWritten` (called when the files stand). */
export async function gate (bench, name, { nodeArguments, core = MEASURED, onWritten, ...options }, env = {}) {
  const folder = path.join(bench.work, name)
  const config = await writeGate(folder, { key: bench.key, spare: bench.spare, ...options })
  onWritten?.()
  const started = await startGate(config, { env: { ...shippedEnvironment, OKTA_API_TOKEN: 'upstream-token', ...env }, core, nodeArguments, onStart: track })
  return { pid: started.pid, child: started.child, url: started.url, adminUrl: started.adminUrl, enforces: true, folder, started }
}

/** A certificate of 127.0.0.1, made once a run. */
export function certificate ({ work }) {
  const [cert, key] = ['cert.pem', 'key.pem'].map(name => path.join(work, name))
  if (!existsSync(cert)) execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=bench', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  return { cert, key }
}

export async function stopSubjects (subjects) {
  await Promise.all(Object.values(subjects).map(({ child }) => stop(child)))
}

/** What one target is asked: refusals only of those that refuse. */
export function askOf (bench, { url, enforces, ca }, mix, options) {
  return { url, ca, authorization: `SSWS ${bench.key.key}`, connections: 64, ...options, targets: enforces ? mix.targets : mix.targets.map(target => ({ ...target, status: 200 })) }
}

/**
 * CPU per request of each subject in interleaved rounds; each is warmed up as long as the others. One that answers
 * otherwise than it should drops out and is named in `failures`; the others go on.
 */
export async function interleaved (bench, subjects, mix, { rounds = bench.rounds, requests = bench.requests, warm = bench.warm, connections = 64 } = {}) {
  const samples = Object.fromEntries(Object.keys(subjects).map(name => [name, []]))
  const failures = []
  const one = async (name, count) => {
    const { pid } = subjects[name]
    const before = cpuUs(pid)
    const result = await load(askOf(bench, subjects[name], mix, { connections, requests: count }))
    if (result.wrong > 0 || result.done < count) throw new Error(`answered ${JSON.stringify(result.statuses)}, ${result.wrong} otherwise than they should`)
    return { cpuUs: (cpuUs(pid) - before) / count, perSecond: count / result.seconds, ...result }
  }
  const attempt = async (name, count, keep) => {
    if (!(name in samples)) return
    try {
      const sample = await one(name, count)
      if (keep) samples[name].push(sample)
    } catch (error) {
      failures.push(`${name}: ${error.message}`)
      delete samples[name]
    }
  }
  const names = Object.keys(subjects)
  for (const name of names) await attempt(name, warm, false) // Node 24 gives wrong answers before it is warm
  for (let i = 0; i < rounds; i++) for (const name of i % 2 === 0 ? names : [...names].reverse()) await attempt(name, requests, true)
  return { samples, failures }
}

/** A row of the table: quotients within each round, their median and quartiles. */
export function ratio (samples, name, base, row, goal) {
  if (samples[name] === undefined || samples[base] === undefined) return { row, measured: 'not measured', goal: goal === undefined ? '' : `≤ ${goal}`, met: goal === undefined ? undefined : false }
  const list = samples[name].map((sample, i) => sample.cpuUs / samples[base][i].cpuUs)
  const measured = round(median(list))
  return { row, measured, lower: round(quantile(list, 0.25)), upper: round(quantile(list, 0.75)), goal: goal === undefined ? '' : `≤ ${goal}`, met: goal === undefined ? undefined : measured <= goal }
}
