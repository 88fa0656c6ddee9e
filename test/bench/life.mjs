// Memory, the time from start to ready, and many clients with many rules.
import { readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { targets } from './mix.mjs'
import { BESIDE, here, load, median, peakMb, quantile, residentMb, round, startScript, stop } from './processes.mjs'
import { askOf, gate, interleaved, mixed, ratio, stopSubjects } from './subjects.mjs'

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const WATCH = ['--expose-gc', '--import', path.join(here, 'process-watch.mjs')]

/** Megabytes that are alive in a gate that was started with WATCH. */
export async function liveMb ({ child, folder }) {
  const file = path.join(folder, 'watch.json')
  rmSync(file, { force: true })
  child.kill('SIGIO')
  for (let i = 0; i < 100; i++) {
    await sleep(100)
    try { return JSON.parse(readFileSync(file, 'utf8')).liveMb } catch { /* not written yet */ }
  }
  throw new Error('the gate did not say what is alive in it')
}

const watched = (bench, name, options) => gate(bench, name, { ...options, nodeArguments: [...WATCH, ...options.nodeArguments ?? []] }, { WATCH_FILE: path.join(bench.work, name, 'watch.json') })

/** Memory and the time from start to ready. */
export async function lifeRows (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const times = []
  let idle = 0
  let loaded = 0
  for (let i = 0; i < (bench.quick ? 3 : 9); i++) {
    let began = 0
    const started = await gate(bench, `life${i}`, { org, clients: 100, rules: 50, onWritten: () => { began = performance.now() } })
    times.push((performance.now() - began) / 1000)
    if (i === 0) {
      await sleep(1500)
      idle = residentMb(started.pid)
      await load(askOf(bench, started, { targets }, { requests: bench.quick ? 10_000 : 60_000 }))
      loaded = peakMb(started.pid)
    }
    await stop(started.child)
  }
  const start = round(median(times), 2)
  const clients = bench.quick ? 1000 : 10_000
  const few = await watched(bench, 'few', { org, clients: 1, rules: 50 })
  const fewMb = await liveMb(few)
  await stop(few.child)
  const many = await watched(bench, 'many-live', { org, clients, rules: 50 })
  const more = round((await liveMb(many) - fewMb) * 10_000 / clients, 1)
  await stop(many.child)
  return {
    rows: [
      { row: 'idle, MB', measured: idle, goal: '≤ 80', met: idle <= 80 },
      { row: 'loaded, peak MB', measured: loaded, goal: '≤ 130', met: loaded <= 130 },
      { row: `alive per 10,000 clients × 50 rules, MB (from ${clients})`, measured: more, goal: '≤ 20', met: more <= 20 },
      { row: 'start to ready with 100 clients, s', measured: start, lower: round(quantile(times, 0.25), 2), upper: round(quantile(times, 0.75), 2), goal: '≤ 0.45', met: start <= 0.45 }
    ]
  }
}

/** Many clients with many rules, each with lists of its own. */
export async function bigRows (bench) {
  const [clients, rules] = bench.quick ? [200, 100] : bench.size
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const one = await gate(bench, 'one', { org, rules: 50, own: true })
  let began = 0
  const many = await watched(bench, 'many', { org, rules, clients, own: true, nodeArguments: ['--max-old-space-size=16000'], onWritten: () => { began = performance.now() } })
  const seconds = round((performance.now() - began) / 1000, 1)
  const subjects = { one, many }
  const { samples, failures } = await interleaved(bench, subjects, mixed)
  const live = await liveMb(many)
  const size = `${clients} clients × ${rules} rules`
  const rows = [
    ratio(samples, 'many', 'one', `${size} with lists of their own ÷ 1 × 50`, 1.05),
    { row: `${size}: MB alive`, measured: live, goal: '' },
    { row: `${size}: s from written files to ready`, measured: seconds, goal: '' }
  ]
  await stopSubjects(subjects)
  rmSync(many.folder, { recursive: true, force: true })
  return { rows, missing: failures }
}
