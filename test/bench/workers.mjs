// What workers cost: one process, one gate of N workers, and N gates that know nothing of each other, on one core each time.
import { BESIDE, cpuUs, load, MEASURED, startScript } from './processes.mjs'
import { askOf, gate, mixed, ratio, stopSubjects } from './subjects.mjs'

/** CPU per request of groups of gates, each group loaded as one: the connections are shared out. */
export async function groupSamples (bench, groups, { rounds = bench.rounds, requests = bench.requests, warm = bench.warm } = {}) {
  const samples = Object.fromEntries(Object.keys(groups).map(name => [name, []]))
  const run = async (list, count) => {
    const before = list.map(({ pid }) => cpuUs(pid))
    const results = await Promise.all(list.map(subject => load(askOf(bench, subject, mixed, { requests: Math.ceil(count / list.length), connections: Math.ceil(64 / list.length) }))))
    const wrong = results.reduce((sum, one) => sum + one.wrong, 0)
    if (wrong > 0) throw new Error(`${wrong} calls were not answered as they should be`)
    return { cpuUs: list.reduce((sum, { pid }, i) => sum + cpuUs(pid) - before[i], 0) / count }
  }
  // Each process as long as any other.
  for (const list of Object.values(groups)) await run(list, warm * list.reduce((sum, { processes = 1 }) => sum + processes, 0))
  for (let i = 0; i < rounds; i++) for (const [name, list] of Object.entries(groups)) samples[name].push(await run(list, requests))
  return samples
}

export async function workerRows (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const make = async (name, workers) => ({ ...await gate(bench, name, { org, rules: 50, workers, core: MEASURED }), processes: workers })
  const groups = { one: [await make('w-one')], workers: [await make('w-two', 2)], apart: [await make('w-apart1'), await make('w-apart2')] }
  const samples = await groupSamples(bench, groups)
  await stopSubjects(Object.values(groups).flat())
  return {
    rows: [
      ratio(samples, 'workers', 'apart', 'two workers ÷ two gates apart, on one core', 1.1),
      ratio(samples, 'workers', 'one', 'two workers ÷ one process, on one core'),
      ratio(samples, 'apart', 'one', 'two gates apart ÷ one process, on one core')
    ]
  }
}
