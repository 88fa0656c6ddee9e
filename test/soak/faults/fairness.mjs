// A client in trouble beside one that behaves: what the second gets, compared with what it gets alone, in one run.
import { fork } from 'node:child_process'
import path from 'node:path'
import { createCaller, later, quantile, startWorld, warm } from './world.mjs'

const TROUBLES = ['slow reads', 'flood of calls', 'flood of refused calls', 'flood of wrong keys', 'flood over 200 connections', 'pipelined flood', 'a connection for each call', 'endless bodies', 'calls that hang', 'half-open connections']
const SECONDS = 8
const PER_SECOND = 50
/** A client that waits longer than a second has been slowed by another: shedding would have to have begun long before. */
const MOST_MS = 1000

/** As an open loop: a call that is late counts from when it should have gone out. */
async function behave (world) {
  const caller = createCaller(world.port, world.keys.good, { localAddress: '127.0.0.2' })
  const begun = performance.now()
  const calls = []
  for (let n = 0; n < SECONDS * PER_SECOND; n++) {
    const due = begun + n * 1000 / PER_SECOND
    if (due > performance.now()) await later(due - performance.now())
    calls.push(caller.call(`/api/v1/users/00u${n}`).then(({ status }) => ({ status, ms: performance.now() - due })))
  }
  const answers = await Promise.all(calls)
  caller.close()
  const times = answers.map(({ ms }) => ms)
  return { share: answers.filter(({ status }) => status === 200).length / answers.length, p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}

export async function fairness () {
  const world = await startWorld({ clients: ['good', 'bad'], limits: ', concurrency: 100' })
  try {
    await warm(world, 'good')
    const alone = await behave(world)
    const rows = [['alone', alone]]
    for (const kind of TROUBLES) {
      const trouble = fork(path.join(import.meta.dirname, 'trouble.mjs'), [kind, String(world.port), world.keys.bad.key])
      await later(1500)
      rows.push([kind, await behave(world)])
      trouble.kill()
      await later(1000)
    }
    const again = await behave(world)
    rows.push(['alone, afterwards', again])
    const text = rows.map(([kind, { share, p50, p99 }]) => `${kind}: ${(share * 100).toFixed(1)}%, ${p50.toFixed(1)} / ${p99.toFixed(1)} ms`).join('; ')
    return {
      bound: `${PER_SECOND} calls a second beside each trouble: all answered 200, p99 below ${MOST_MS} ms`,
      measured: `share of 200, p50 / p99: ${text}`,
      good: rows.every(([, { share, p99 }]) => share === 1 && p99 < MOST_MS) && world.troubles === 0
    }
  } finally { await world.close() }
}
