import fc from 'fast-check'
import t from 'tap'
import { allowance, clientAllowance, concurrencyAllowance } from '../../src/limits/allowance.js'
import { BucketState, type ClientState } from '../../src/limits/bucket.js'
import { parseObservation } from '../../src/limits/headers.js'
import { LimitDesk } from '../../src/limits/desk.js'
import { LeaseBook } from '../../src/limits/lease-book.js'
import { MemoryStore } from '../../src/limits/memory.js'
import type { RelayAnswer, RelayStep } from '../../src/limits/relay-wire.js'
import { RELAY_TIMEOUT_MS, RelayedStore } from '../../src/limits/relayed.js'
import type { Admission, LimitCall, LimitStore } from '../../src/limits/store.js'
import { WaitingStore } from '../../src/limits/waiting.js'
import { SlidingWindow } from '../../src/limits/window.js'
import { storeContract } from './store-contract.js'
import { mulberry } from './model.js'
import { answer, call, Clock, plan, SILENT, START, ticketOf } from './world.js'

t.test('the store in memory keeps the contract', async t => {
  storeContract(t, clock => new MemoryStore(clock.later))
})

/** A worker's store and the primary's desk for it, with all that passes between them as text. */
function relay (store: LimitStore, clock: Clock, workerClock = (): number => clock.now, book?: LeaseBook): { worker: RelayedStore, desk: LimitDesk, line: { cut: boolean, said: RelayStep[] } } {
  const line = { cut: false, said: [] as RelayStep[] }
  const desk = new LimitDesk(store, () => clock.now, answer => { if (!line.cut) worker.hear(JSON.parse(JSON.stringify(answer)) as RelayAnswer) }, book)
  const worker: RelayedStore = new RelayedStore({
    push: step => { line.said.push(step); if (!line.cut) desk.take(JSON.parse(JSON.stringify(step)) as RelayStep) },
    // What nobody waits for is told within some milliseconds, which pass here without being counted.
    later: (ms, run) => { if (ms < 10) queueMicrotask(() => { run(clock.now) }); else clock.later(ms, run) },
    clock: workerClock,
    lazy: book !== undefined
  })
  return { worker, desk, line }
}

t.test('a worker\'s store, with the budgets in the primary, keeps the contract', async t => {
  storeContract(t, clock => relay(new MemoryStore(clock.later), clock).worker)
})

t.test('the same worker\'s store with leases keeps the contract', async t => {
  storeContract(t, clock => relay(new MemoryStore(clock.later), clock, undefined, new LeaseBook(clock.later)).worker)
})

/** Workers that lease, with lines to the primary that take their time, each way in order. */
class Leasing {
  readonly clock = new Clock()
  readonly book = new LeaseBook(this.clock.later)
  readonly sent: number[] = []
  steps: RelayStep[] = []
  readonly workers: RelayedStore[]

  constructor (readonly store: LimitStore, count: number, random: () => number) {
    this.workers = Array.from({ length: count }, () => {
      const line = { down: 0, up: 0 }
      const arrival = (way: 'down' | 'up'): number => {
        line[way] = Math.max(line[way], this.clock.now + random() * 3)
        return line[way] - this.clock.now
      }
      const desk = new LimitDesk(store, () => this.clock.now, answer => { this.clock.later(arrival('down'), () => { worker.hear(JSON.parse(JSON.stringify(answer)) as RelayAnswer) }) }, this.book)
      const worker: RelayedStore = new RelayedStore({
        push: step => { this.steps.push(step); const text = JSON.stringify(step); this.clock.later(arrival('up'), () => { desk.take(JSON.parse(text) as RelayStep) }) },
        later: this.clock.later,
        clock: () => this.clock.now,
        lazy: true
      })
      return worker
    })
  }

  /** One call of a client: what becomes of it. */
  async call (of: LimitCall, worker: RelayedStore, tookMs: number): Promise<Admission> {
    const admission = await worker.reserve(of, this.clock.now)
    if (admission.kind === 'refused') return admission
    this.sent.push(this.clock.now)
    this.clock.later(tookMs, now => {
      worker.settle(admission.ticket, SILENT, now)
      worker.release(admission.ticket)
    })
    return admission
  }

  async pass (ms: number): Promise<void> {
    for (let left = ms; left > 0; left--) {
      this.clock.advance(1)
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }
}

t.test('leases: no span has more than is allowed, and what is allowed is used', async t => {
  for (const [seed, of, most] of [
    [1, call(plan({ configuredOrg: 2000 })), 1000],
    [2, call(plan({ configuredOrg: 2000 }), { share: 0.3 }), 300],
    [3, call(plan({ configuredOrg: 2000 }), { rule: { id: 'r', perMinute: 150 } }), 150],
    [4, call(plan({ configuredOrg: 90 })), 45]
  ] as const) {
    const random = mulberry(seed)
    const world = new Leasing(new MemoryStore(new Clock().later), 3, random)
    let refused = 0
    for (let i = 0; i < 900; i++) {
      const worker = world.workers[Math.floor(random() * 3)]!
      for (let n = Math.floor(random() * 5); n > 0; n--) world.call(of, worker, random() * 40).then(admission => { if (admission.kind === 'refused') refused++ }, () => {})
      await world.pass(1)
    }
    await world.pass(200)
    t.equal(world.sent.length, most, `${most} are admitted within a span, not one less`)
    t.ok(refused > 0)
    const asked = world.steps.filter(([kind]) => kind === 'reserve').length - refused
    if (most > 500) t.ok(asked < most / 3, `${asked} of ${most} calls were asked for one by one`)
    await world.pass(61_000 / 100)
    world.clock.advance(61_000)
    t.match(await world.store.snapshot(world.clock.now), [{ inFlight: 0, buckets: [{ used: 0 }] }], 'nothing is left over')
  }
})

t.test('leases: places in flight are never more than there are, and none is lost', async t => {
  const random = mulberry(7)
  const world = new Leasing(new MemoryStore(new Clock().later), 3, random)
  const of = call(plan({ configuredOrg: 1_000_000, concurrency: 80 }))
  const flights = { now: 0, most: 0 }
  for (let i = 0; i < 600; i++) {
    for (const worker of world.workers) {
      world.call(of, worker, 30).then(admission => {
        if (admission.kind === 'refused') return
        flights.most = Math.max(flights.most, ++flights.now)
        world.clock.later(30, () => { flights.now-- })
      }, () => {})
    }
    await world.pass(1)
  }
  t.ok(flights.most <= 40, `${flights.most} of 40`)
  t.ok(world.sent.length > 600, `${world.sent.length} calls of at most 800`)
  await world.pass(200)
  t.match(await world.store.snapshot(world.clock.now), [{ inFlight: 0 }])
})

t.test('leases: a worker that dies with some gives back its places; a 429 of Okta ends them', async t => {
  const world = new Leasing(new MemoryStore(new Clock().later), 2, () => 0)
  const of = call(plan({ configuredOrg: 1_000_000 }))
  const [one, two] = world.workers as [RelayedStore, RelayedStore]
  const use = async (worker: RelayedStore): Promise<void> => { for (let i = 0; i < 40; i++) { world.call(of, worker, 1).catch(() => {}); await world.pass(1) } }
  await use(one)
  await use(two)
  t.ok(world.steps.some(([kind]) => kind === 'lease'))
  const admission = await one.reserve(of, world.clock.now)
  one.settle(ticketOf(admission), answer(world.clock.now, 429, 600, 0, world.clock.now + 30_000), world.clock.now)
  await world.pass(1)
  const other = call(plan({ configuredOrg: 1_000_000 }), { client: 'b' })
  const late = two.reserve(other, world.clock.now)
  await world.pass(5)
  t.match(await late, { kind: 'refused', by: 'closed' })
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
