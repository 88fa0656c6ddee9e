import fc from 'fast-check'
import t from 'tap'
import { allowance, clientAllowance, concurrencyAllowance } from '../../src/limits/allowance.js'
import { BucketState, type ClientState } from '../../src/limits/bucket.js'
import { parseObservation } from '../../src/limits/headers.js'
import { LimitDesk } from '../../src/limits/desk.js'
import { MemoryStore } from '../../src/limits/memory.js'
import type { RelayAnswer, RelayStep } from '../../src/limits/relay-wire.js'
import { RELAY_TIMEOUT_MS, RelayedStore } from '../../src/limits/relayed.js'
import type { LimitStore } from '../../src/limits/store.js'
import { WaitingStore } from '../../src/limits/waiting.js'
import { SlidingWindow } from '../../src/limits/window.js'
import { storeContract } from './store-contract.js'
import { call, Clock, plan, SILENT, START, ticketOf } from './world.js'

t.test('the store in memory keeps the contract', async t => {
  storeContract(t, clock => new MemoryStore(clock.later))
})

/** A worker's store and the primary's desk for it, with all that passes between them as text. */
function relay (store: LimitStore, clock: Clock, workerClock = (): number => clock.now): { worker: RelayedStore, desk: LimitDesk, line: { cut: boolean, said: RelayStep[] } } {
  const line = { cut: false, said: [] as RelayStep[] }
  const desk = new LimitDesk(store, () => clock.now, answer => { if (!line.cut) worker.hear(JSON.parse(JSON.stringify(answer)) as RelayAnswer) })
  const worker: RelayedStore = new RelayedStore({
    push: step => { line.said.push(step); if (!line.cut) desk.take(JSON.parse(JSON.stringify(step)) as RelayStep) },
    later: clock.later,
    clock: workerClock
  })
  return { worker, desk, line }
}

t.test('a worker\'s store, with the budgets in the primary, keeps the contract', async t => {
  storeContract(t, clock => relay(new MemoryStore(clock.later), clock).worker)
})

t.test('two workers share every budget; clocks of their own do not matter', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const one = relay(store, clock, () => clock.now + 5_000_000).worker
  const two = relay(store, clock, () => clock.now - 7_000_000).worker
  const of = call(plan({ configuredOrg: 20 }))
  let made = 0
  for (let i = 0; i < 30; i++) {
    const at = i % 2 === 0 ? one : two
    const now = clock.now + (i % 2 === 0 ? 5_000_000 : -7_000_000)
    const admission = await at.reserve(of, now)
    if (admission.kind === 'refused') { t.match(admission, { by: 'bucket', wait: { untilMs: now + 60_500, limit: 10 } }); continue }
    made++
    at.settle(admission.ticket, SILENT, now)
    at.release(admission.ticket)
  }
  t.equal(made, 10)
})

t.test('a worker that dies gives back its place in flight, and what it may have sent stays counted', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const dead = relay(store, clock)
  const alive = relay(store, clock).worker
  const of = call(plan({ configuredOrg: 12, concurrency: 6 }))
  const first = ticketOf(await dead.worker.reserve(of, clock.now))
  dead.worker.settle(first, SILENT, clock.now)
  for (let i = 0; i < 2; i++) ticketOf(await dead.worker.reserve(of, clock.now))
  t.match(await alive.reserve(of, clock.now), { by: 'concurrency' })
  clock.advance(10_000)
  dead.line.cut = true
  dead.desk.leave()
  t.match(store.snapshot(clock.now), [{ inFlight: 0, buckets: [{ used: 3, inFlight: 0 }] }])
  clock.advance(60_499)
  t.match(store.snapshot(clock.now), [{ buckets: [{ used: 2 }] }], 'from its death on, not from before')
  clock.advance(1)
  t.match(store.snapshot(clock.now), [{ buckets: [{ used: 0 }] }])
})

t.test('a dead worker\'s waiting calls take nothing', async t => {
  const clock = new Clock()
  const store = new WaitingStore(new MemoryStore(clock.later), clock.later)
  const dead = relay(store, clock)
  const of = call(plan({ configuredOrg: 2 }), { waitMs: 70_000 })
  const first = ticketOf(await dead.worker.reserve(of, clock.now))
  dead.worker.release(first)
  const waits = dead.worker.reserve(of, clock.now)
  clock.advance(1000)
  t.match(await store.snapshot(clock.now), [{ buckets: [{ waiting: 1 }] }])
  dead.desk.leave()
  for (let i = 0; i < 130; i++) { clock.advance(500); await new Promise(resolve => { setImmediate(resolve) }) }
  t.match(await store.snapshot(clock.now), [{ inFlight: 0, buckets: [{ waiting: 0, used: 0 }] }])
  t.match(await waits, { kind: 'refused' })
})

t.test('a primary that says nothing is a refusal, and what it admits too late is given back', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const { worker, desk, line } = relay(store, clock)
  const of = call(plan({ configuredOrg: 20 }))
  worker.release(ticketOf(await worker.reserve(of, clock.now)))
  line.cut = true
  const asked = worker.reserve(of, clock.now)
  const held = line.said.at(-1)!
  clock.advance(RELAY_TIMEOUT_MS + 500)
  t.match(await asked, { kind: 'refused', by: 'store' })
  t.match(worker.reserve(of, clock.now), { kind: 'refused', by: 'store' }, 'and it is not asked again at once')
  line.cut = false
  desk.take(held)
  t.match(store.snapshot(clock.now), [{ inFlight: 0, buckets: [{ used: 1 }] }])
  t.equal((await worker.reserve(of, clock.now)).kind, 'admitted', 'it is there again')
})

t.test('a call that waits in the primary leaves with its client', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const waiting = new WaitingStore(store, clock.later)
  const { worker, line } = relay(waiting, clock)
  const of = call(plan({ configuredOrg: 2 }), { waitMs: 70_000 })
  worker.release(ticketOf(await worker.reserve(of, clock.now)))
  const signal = { aborted: false }
  const asked = worker.reserve({ ...of, signal }, clock.now)
  for (let i = 0; i < 5; i++) { clock.advance(200); await new Promise(resolve => { setImmediate(resolve) }) }
  t.match(await waiting.snapshot(clock.now), [{ buckets: [{ waiting: 1 }] }])
  signal.aborted = true
  for (let i = 0; i < 5; i++) { clock.advance(200); await new Promise(resolve => { setImmediate(resolve) }) }
  t.match(await waiting.snapshot(clock.now), [{ buckets: [{ waiting: 0 }] }])
  t.match(await asked, { kind: 'refused' })
  t.match(line.said.filter(([kind]) => kind === 'left').length, 1)
})

t.test('what was told of calls before is told anew when there was too much of it', async t => {
  const clock = new Clock()
  const { worker, line } = relay(new MemoryStore(clock.later), clock)
  for (let i = 0; i < 20_010; i++) worker.release(ticketOf(await worker.reserve(call(plan({ configuredOrg: 1_000_000 }), { client: `c${i}` }), clock.now)))
  t.equal(line.said.filter(([kind]) => kind === 'forget').length, 1)
})

t.test('a ticket of another store is a fault', async t => {
  t.throws(() => new MemoryStore(new Clock().later).settle({ kind: 'admitted' }, undefined, START), /another store/)
})

t.test('a store in memory answers at once', async t => {
  const store = new MemoryStore(new Clock().later)
  const first = store.reserve(call(plan()), START)
  if (first instanceof Promise) return t.fail('a promise')
  store.settle(ticketOf(first), SILENT, START)
  t.notOk(store.reserve(call(plan()), START) instanceof Promise)
})

t.test('clients that come and go do not pile up, without anybody looking', async t => {
  const bucket = new BucketState(plan())
  const made: ClientState[] = []
  for (let i = 0; i < 5000; i++) {
    const now = START + i * 100
    const state = bucket.client(`c${i}`, now)
    state.window.take()
    state.window.settle(now)
    made.push(state)
  }
  // 605 of them hold a slot.
  const kept = made.filter(one => bucket.holds(one)).length
  t.ok(kept >= 605 && kept < 1300, `${kept} are kept`)
})

t.test('X-Rate-Limit headers: strict integers, a Reset within a minute, or nonsense', async t => {
  const reset = String(START / 1000 + 60)
  const rows: [string, [number, string?, string?, string?], object][] = [
    ['as recorded', [200, '300', '299', reset], { kind: 'window', tooMany: false, limit: 300, remaining: 299, resetMs: START + 60_000 }],
    ['an error answer', [404, '300', '0', reset], { kind: 'window', tooMany: false, remaining: 0 }],
    ['429', [429, '300', '0', reset], { kind: 'window', tooMany: true, limit: 300, remaining: 0 }],
    ['429 of concurrency', [429, '0', '0', reset], { kind: 'concurrency', tooMany: true, resetMs: START + 60_000 }],
    ['none', [405], { kind: 'silent', tooMany: false }],
    ['429 with none', [429], { kind: 'silent', tooMany: true }],
    ['the furthest Reset', [200, '9', '9', String(START / 1000 + 61)], { kind: 'window' }],
    ['one second more', [200, '9', '9', String(START / 1000 + 62)], { kind: 'nonsense' }],
    ['Reset is now', [200, '9', '9', String(START / 1000)], { kind: 'nonsense' }],
    ['milliseconds', [200, '9', '9', String(START + 30_000)], { kind: 'nonsense' }],
    ['a part is missing', [200, '9', undefined, reset], { kind: 'nonsense' }],
    ['limit is missing', [429, undefined, '0', reset], { kind: 'nonsense', tooMany: true }],
    ['twice', [200, '9, 9', '8, 8', `${reset}, ${reset}`], { kind: 'nonsense' }],
    ['negative', [200, '9', '-1', reset], { kind: 'nonsense' }],
    ['a fraction', [200, '9.0', '8', reset], { kind: 'nonsense' }],
    ['an exponent', [200, '1e3', '8', reset], { kind: 'nonsense' }],
    ['hexadecimal', [200, '0x9', '8', reset], { kind: 'nonsense' }],
    ['empty', [200, '', '', ''], { kind: 'nonsense' }],
    ['a space', [200, ' 9', '8', reset], { kind: 'nonsense' }],
    ['more remains than there was', [200, '9', '10', reset], { kind: 'nonsense' }],
    ['zero without a 429', [200, '0', '0', reset], { kind: 'nonsense' }],
    ['a limit beyond belief', [200, '9999999999', '1', reset], { kind: 'nonsense' }]
  ]
  for (const [name, [status, limit, remaining, at], expected] of rows) {
    t.match(parseObservation(status, limit, remaining, at, START), expected, name)
  }
  t.match(parseObservation(200, '9', '8', reset, 5000, START), { kind: 'window', resetMs: 65_000 }, 'a monotonic clock of its own')
})

t.test('allowances are whole calls, never above the percentage', async t => {
  t.equal(allowance(plan({ configuredOrg: 100, ceiling: 0.29 }), undefined, Infinity), 29)
  t.equal(allowance(plan({ configuredOrg: 25 }), undefined, Infinity), 12)
  t.equal(allowance(plan({ configuredOrg: 1 }), undefined, Infinity), 0)
  t.equal(allowance(plan({ catalogueOrg: 600 }), 1000, 300), 300)
  t.equal(concurrencyAllowance(plan({ concurrency: 75 })), 37)
  t.equal(concurrencyAllowance(plan({ concurrency: 1 })), 1)
  t.strictSame([[0.5, 11], [0.01, 11], [1, 11], [0, 11], [0.5, 0], [0.29, 100]].map(([share, of]) => clientAllowance(share!, of!)), [5, 1, 11, 0, 0, 29])
})

t.test('the window is a list of expiries, for any sequence of steps', async () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.constantFrom('take', 'settle', 'back', 'wait', 'many'), fc.nat(40_000)), { maxLength: 300 }), steps => {
    const window = new SlidingWindow()
    let inFlight = 0
    let expiries: number[] = []
    let now = START
    for (const [step, size] of steps) {
      if (step === 'wait') now += size
      if (step === 'take') { window.take(); inFlight++ }
      if (step === 'many') { window.charge(size % 50, now); expiries.push(...Array<number>(size % 50).fill(now + 60_500)) }
      if (step === 'settle' && inFlight > 0) { window.settle(now); inFlight--; expiries.push(now + 60_500) }
      if (step === 'back' && inFlight > 0) { window.giveBack(); inFlight-- }
      expiries = expiries.filter(one => one > now)
      if (window.used(now) !== inFlight + expiries.length || window.inFlight !== inFlight) return false
      const limit = size % 20 + 1
      const needed = Math.max(1, inFlight + expiries.length - limit + 1)
      if (window.freeAt(limit) !== (needed > expiries.length ? undefined : expiries[needed - 1])) return false
    }
    return true
  }), { seed: 20261122, numRuns: 300 })
})
