import fc from 'fast-check'
import t from 'tap'
import { allowance, clientAllowance, concurrencyAllowance } from '../../src/limits/allowance.js'
import { BucketState, refuse, type ClientState } from '../../src/limits/bucket.js'
import { floorOf, Floors, Turns } from '../../src/limits/claims.js'
import { Concurrency } from '../../src/limits/concurrency.js'
import { parseObservation, type Observation } from '../../src/limits/headers.js'
import { MemoryStore } from '../../src/limits/memory.js'
import type { Loss, Seen } from '../../src/limits/narrow.js'
import { Remaining } from '../../src/limits/remaining.js'
import type { Admission, BucketView, Level, LimitCall, RefusedBy } from '../../src/limits/store.js'
import { Users } from '../../src/limits/users.js'
import { SlidingWindow } from '../../src/limits/window.js'
import { storeContract } from './store-contract.js'
import { answer, call, Clock, plan, SILENT, START, ticketOf } from './world.js'

/** MUTATION_RUNS: a mutation run has every mutant go through all of it, and is content with less. */
const RUNS = Number(process.env['MUTATION_RUNS'] ?? 300)

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
    ['limit alone', [200, '9'], { kind: 'nonsense', tooMany: false }],
    ['what remains alone', [200, undefined, '8'], { kind: 'nonsense' }],
    ['Reset alone', [429, undefined, undefined, reset], { kind: 'nonsense', tooMany: true }],
    ['Reset is missing', [200, '9', '8'], { kind: 'nonsense' }],
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
    ['the largest limit', [200, '10000000', '1', reset], { kind: 'window' }],
    ['a limit beyond belief', [200, '10000001', '1', reset], { kind: 'nonsense' }]
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
  }), { seed: 20261122, numRuns: RUNS })
})

t.test('a window tells when each of its slots expires, in order, wherever they lie', async t => {
  const window = new SlidingWindow()
  const take = (now: number): void => { window.take(); window.settle(now) }
  for (let i = 0; i < 7; i++) take(START + i * 10_000)
  t.equal(window.used(START + 60_500 + 30_000), 3)
  for (let i = 0; i < 4; i++) take(START + 91_000 + i)
  t.strictSame(window.expiries(START + 91_004).map(at => at - START - 60_500), [40_000, 50_000, 60_000, 91_000, 91_001, 91_002, 91_003])
  t.strictSame(window.expiries(START + 60_500 + 60_000).map(at => at - START - 60_500), [91_000, 91_001, 91_002, 91_003])
})

/** A store that has lost the one that it shared, of two gates, at START; `seen` of the one bucket that was looked at. */
function lost (seen: Partial<Seen> | undefined, more: Partial<Loss> = {}): { store: MemoryStore, clock: Clock, drain: (of: LimitCall) => number } {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const views: ReadonlyMap<string, Seen> = new Map(seen === undefined ? [] : [['/api/v1/users', { used: 0, othersInFlight: 0, allowance: 40, ...seen }]])
  store.narrow('default', { at: START, replicas: 2, longestCallMs: 60_000, ...more }, views, START)
  const drain = (of: LimitCall): number => {
    for (let made = 0; made < 200; made++) {
      const admission = store.reserve(of, clock.now)
      if (admission instanceof Promise) throw new Error('it waits')
      if (admission.kind === 'refused') return made
      store.settle(admission.ticket, SILENT, clock.now)
      store.release(admission.ticket, clock.now)
    }
    throw new Error('200 calls, and none was refused')
  }
  return { store, clock, drain }
}

t.test('a gate alone spends half of its share of what it last saw unused, then its share less what others may still have in flight', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const rows: [string, Partial<Seen> | undefined, Partial<Loss>, { first: number, then: number, last: number }][] = [
    ['as seen', { used: 8, othersInFlight: 6 }, {}, { first: 8, then: 17, last: 20 }],
    ['whole calls', { used: 9, othersInFlight: 5 }, {}, { first: 7, then: 17, last: 20 }],
    ['what the store allowed was less', { used: 8, allowance: 20 }, {}, { first: 3, then: 20, last: 20 }],
    ['what the store allowed was more', { used: 8, allowance: 60 }, {}, { first: 8, then: 20, last: 20 }],
    ['more was used than is allowed', { used: 44, othersInFlight: 44 }, {}, { first: 0, then: 0, last: 20 }],
    ['three gates', { used: 0, othersInFlight: 1 }, { replicas: 3 }, { first: 6, then: 13, last: 13 }],
    ['calls that take no time', { used: 8, othersInFlight: 6 }, { longestCallMs: 0 }, { first: 8, then: 20, last: 20 }]
  ]
  for (const [name, seen, more, expected] of rows) {
    const { store, clock, drain } = lost(seen, more)
    t.equal(drain(of), expected.first, name)
    t.match(store.reserve(of, START), { by: 'bucket', wait: { untilMs: START + 60_500 } }, name)
    clock.advanceTo(START + 60_499)
    t.equal(drain(of), 0, name)
    clock.advanceTo(START + 60_500)
    t.equal(drain(of), expected.then, name)
    clock.advanceTo(START + 120_499)
    t.equal(drain(of), 0, `${name}: others' calls may still count`)
    clock.advanceTo(START + 121_000)
    t.equal(drain(of), expected.last, name)
  }
})

t.test('a gate alone: what it has never seen', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const first = (store: MemoryStore, now: number): void => {
    const ticket = ticketOf(store.reserve(of, now) as Admission)
    store.settle(ticket, SILENT, now)
    store.release(ticket, now)
  }
  const bucket = lost(undefined)
  first(bucket.store, START)
  t.equal(bucket.drain(of), 9, 'a bucket: half of its share of it, and the first answer is awaited')
  const store = lost(undefined, { unseen: true })
  first(store.store, START)
  t.equal(store.drain(of), 19, 'the store: its share, from the start')
})

t.test('a gate alone: every other budget is divided, too, and nothing is lent', async t => {
  const of = plan({ configuredOrg: 1000, concurrency: 10 })
  const { store, clock, drain } = lost({ allowance: 500 })
  t.equal(drain(call(of, { rule: { id: 'r', perMinute: 5 } })), 2, 'a rule, rounded down')
  t.equal(drain(call(of, { client: 'b', rule: { id: 'r', perMinute: 1 } })), 0)
  const user = call(of, { user: 'hash' })
  const one = ticketOf(store.reserve(user, START) as Admission)
  t.match(store.reserve(user, START), { by: 'user', wait: { limit: 1 } })
  const two = ticketOf(store.reserve(call(of), START) as Admission)
  t.match(store.reserve(call(of), START), { by: 'concurrency', wait: { limit: 2 } }, 'of 5 in flight')
  store.release(one, START)
  store.release(two, START)
  t.strictSame(store.lease(call(of), 100, START), [])
  store.narrow('default', { at: START, replicas: 9, longestCallMs: 0 }, new Map([['/api/v1/users', { used: 0, othersInFlight: 0, allowance: 500 }]]), START)
  const three = ticketOf(store.reserve(user, clock.now + 5000) as Admission)
  t.match(store.reserve(call(of), clock.now), { by: 'concurrency', wait: { limit: 1 } }, 'at least one')
  store.release(three, clock.now)
  store.narrow('default', undefined, new Map(), clock.now)
  t.equal(drain(call(of, { client: 'c', rule: { id: 'r', perMinute: 5 } })), 5, 'it is there again')
})

t.test('a gate alone: a call that was never made is given back, unless it was made before', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  store.release(ticketOf(store.reserve(of, START - 2000) as Admission), START - 2000)
  store.settle(ticketOf(store.reserve(of, START - 2000) as Admission), SILENT, START - 2000)
  const before = ticketOf(store.reserve(of, START - 1000) as Admission)
  store.narrow('default', { at: START, replicas: 2, longestCallMs: 0 }, new Map([['/api/v1/users', { used: 30, othersInFlight: 0, allowance: 40 }]]), START)
  const tickets = [store.reserve(of, START), store.reserve(of, START)].map(one => ticketOf(one as Admission))
  t.match(store.reserve(of, START), { by: 'bucket' })
  store.cancel(before, START)
  t.match(store.reserve(of, START), { by: 'bucket' })
  store.cancel(tickets[0]!, START)
  t.match(store.reserve(of, START), { kind: 'admitted' })
  t.match(store.reserve(of, START), { by: 'bucket' })
})

t.test('a gate that was told what others have learned goes by it', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const of = call(plan())
  store.learn('default', '/api/v1/users', 60, 0, 0)
  const first = ticketOf(store.reserve(of, START) as Admission)
  store.settle(first, SILENT, START)
  t.match(store.snapshot(START), [{ buckets: [{ org: 20, source: 'catalogue' }] }], 'not of a bucket that it does not call')
  store.learn('default', '/api/v1/users', 60, 0, 0)
  t.match(store.snapshot(START), [{ buckets: [{ org: 60, source: 'header', allowance: 30, closedUntilMs: undefined }] }])
  store.learn('default', '/api/v1/users', 0, START + 5000, START + 3000)
  store.learn('default', '/api/v1/users', 0, START + 4000, START + 2000)
  t.match(store.snapshot(START), [{ buckets: [{ org: 60, closedUntilMs: START + 5000 }] }])
  t.match(store.reserve({ ...of, credential: 'none' }, START + 2999), { by: 'closed', wait: { untilMs: START + 3000 } })
  t.match(store.reserve({ ...of, credential: 'none' }, START + 3000), { kind: 'admitted' })
  t.match(store.reserve(of, START + 4999), { by: 'closed', wait: { untilMs: START + 5000 } })
  t.match(store.inside('default').buckets.get('/api/v1/users')!.taught, { learnedOrg: 60, closedUntilMs: START + 5000, closedAnonymousUntilMs: START + 3000 })
})

t.test('slots are lent to workers: an eighth of what the tightest budget has left, and none where it matters whose turn it is', async t => {
  const of = plan({ configuredOrg: 2000, concurrency: 10_000 })
  const store = (observed: Observation = SILENT): MemoryStore => {
    const made = new MemoryStore(new Clock().later)
    for (const one of [SILENT, observed]) {
      const ticket = ticketOf(made.reserve(call(of), START) as Admission)
      made.settle(ticket, one, START)
      made.release(ticket, START)
    }
    return made
  }
  const count = (made: MemoryStore, more: Partial<LimitCall> = {}, most = 1000, now = START): number => made.lease(call(of, more), most, now).length
  // 998 are left.
  t.equal(count(store()), 124)
  t.equal(count(store(), {}, 5), 5)
  t.equal(count(store(), {}, 0), 0)
  t.equal(count(store(), { share: 0.5 }), 62, 'a share')
  t.equal(count(store(), { share: 0.5, client: 'b' }), 62, 'another\'s share, and nothing of it was used')
  t.equal(count(store(), { share: 0.002 }), 0)
  t.equal(count(store(), { rule: { id: 'r', perMinute: 80 } }), 10, 'a rule')
  t.equal(count(store(), { user: 'hash' }), 0, 'a sign-in')
  t.equal(count(store(), { floor: 0.1 }), 0, 'a floor of its own')
  t.equal(count(store(), { credential: 'none' }), 0, 'no answer yet')
  t.equal(count(store(answer(START, 200, 1000, 300, START + 60_000))), 37, 'what Okta says is left')
  t.equal(count(store(answer(START, 200, 1000, 100, START + 60_000))), 12)
  t.equal(count(store(answer(START, 200, 1000, 99, START + 60_000))), 0, 'too little for others not to use it up')
  t.equal(count(store(answer(START, 429, 1000, 0, START + 30_000)), {}, 1000, START + 30_999), 0, 'closed')
  t.equal(count(store(answer(START, 429, 1000, 0, START + 30_000)), {}, 1000, START + 31_000), 124)
  t.equal(count(store(answer(START, 429, 0, 0, START + 2000)), {}, 1000, START + 1999), 0)
  const busy = store()
  const limited = call(plan({ configuredOrg: 2000, concurrency: 100 }))
  const flying = Array.from({ length: 10 }, () => busy.reserve(limited, START))
  t.equal(busy.lease(limited, 1000, START).length, 5, '40 places in flight')
  t.match(busy.snapshot(START), [{ inFlight: 15, buckets: [{ used: 17 }] }])
  for (let i = 0; i < 40; i++) busy.reserve(limited, START)
  t.strictSame(busy.lease(limited, 1000, START), [])
  flying.forEach(one => { busy.release(ticketOf(one as Admission), START) })
  const floors = store()
  floors.reserve(call(of, { client: 'r', floor: 0.1 }), START)
  t.equal(count(floors), 0, 'another\'s floor')
  const turns = store()
  const dry = call(plan({ configuredOrg: 2 }), { level: 0 })
  turns.reserve(dry, START)
  t.equal(count(turns), 0, 'somebody is expected back')
})

/** A call that is answered at once. */
function make (store: MemoryStore, of: LimitCall, now = START, observation = SILENT): void {
  const ticket = ticketOf(store.reserve(of, now) as Admission)
  store.settle(ticket, observation, now)
  store.release(ticket, now)
}

t.test('slots are lent by what each budget has left, and by whom Okta has answered', async t => {
  const of = plan({ configuredOrg: 2000, concurrency: 10_000 })
  const used = (client: string, rule?: LimitCall['rule'], count = 96): MemoryStore => {
    const store = new MemoryStore(new Clock().later)
    for (let i = 0; i < count; i++) make(store, call(of, { client, rule }))
    return store
  }
  const count = (store: MemoryStore, more: Partial<LimitCall> = {}, now = START): number => store.lease(call(of, more), 1000, now).length
  t.equal(count(used('a'), { share: 0.5 }), 50, 'what is left of its share: 404')
  t.equal(count(used('b')), 113, 'what is left of the bucket: 904')
  const r = { id: 'r', perMinute: 80 }
  t.equal(count(used('a', r, 16), { rule: r }), 8, 'what is left of the rule: 64')
  t.equal(count(used('a', r, 16), { rule: { id: 's', perMinute: 80 } }), 10, 'another rule of the client')
  t.equal(count(used('a', undefined, 1), { rule: r, client: 'b' }), 10, 'a client that has not called')
  t.equal(count(used('a', undefined, 1), { rule: r }), 10, 'a rule that was not used')
  const shut = used('a', undefined, 1)
  make(shut, call(of), START, { kind: 'silent', tooMany: true })
  t.strictSame([count(shut, {}, START + 999), count(shut, {}, START + 1000)], [0, 124])
  const anonymous = used('a', undefined, 1)
  make(anonymous, call(of, { credential: 'none' }))
  make(anonymous, call(of), START, { kind: 'silent', tooMany: true })
  t.strictSame([count(anonymous, {}, START + 500), count(anonymous, { credential: 'none' }, START + 500)], [0, 124], 'a 429 of a credential leaves anonymous calls')
  make(anonymous, call(of, { credential: 'none' }), START + 500, { kind: 'silent', tooMany: true })
  t.strictSame([count(anonymous, {}, START + 1499), count(anonymous, { credential: 'none' }, START + 1499)], [0, 0])
  const dry = used('a', undefined, 1)
  t.match(dry.reserve(call(plan({ configuredOrg: 2, concurrency: 10_000 })), START), { by: 'bucket' })
  t.equal(count(dry), 124, 'a bucket that ran dry where nobody has a priority')
})

t.test('a refusal tells when to come back, ahead and within 61 seconds, but for a bucket that Okta closed', async t => {
  const wait = (by: RefusedBy, untilMs: number | undefined): number => refuse(by, untilMs, 4, START).wait.untilMs - START
  t.strictSame([wait('bucket', START - 5), wait('bucket', START), wait('bucket', START + 2), wait('bucket', undefined), wait('bucket', START + 61_001), wait('bucket', Infinity)], [1, 1, 2, 1000, 61_000, 61_000])
  t.strictSame([wait('closed', START + 62_000), wait('closed', START - 5)], [62_000, 1])
  const held = new MemoryStore(new Clock().later)
  const of = plan({ configuredOrg: 6 })
  make(held, call(of))
  t.match(held.reserve(call(of, { share: 0 }), START), { by: 'share', wait: { untilMs: START + 61_000, limit: 0 } }, 'never')
  for (let i = 0; i < 2; i++) held.reserve(call(of), START + 60_500)
  held.reserve(call(of), START + 60_500)
  t.match(held.reserve(call(of), START + 60_500), { by: 'bucket', wait: { untilMs: START + 61_500 } }, 'when an answer comes: soon')
  t.match(held.reserve(call(plan({ configuredOrg: 1 })), START + 60_500), { by: 'bucket', wait: { untilMs: START + 121_500, limit: 0 } })
  const shared = new MemoryStore(new Clock().later)
  shared.settle(shared.hold(call(of), START), answer(START, 200, 3, 1, START + 30_000), START)
  t.match(shared.snapshot(START), [{ buckets: [{ used: 1 }] }], 'of a call that the shared store has admitted nothing is taken for its own')
  t.strictSame(refuse('share', START + 5, 7, START), { kind: 'refused', by: 'share', wait: { untilMs: START + 5, limit: 7, remaining: 0 } })
})

t.test('what is kept from a call: others\' floors, and those who are expected back; its own floor is not', async t => {
  const of = plan({ configuredOrg: 40, concurrency: 10_000 })
  const store = new MemoryStore(new Clock().later)
  for (let i = 0; i < 10; i++) make(store, call(of, { client: 'x' }), START + i * 100)
  for (let i = 0; i < 10; i++) make(store, call(of, { client: 'x' }), START + 10_000)
  for (let i = 0; i < 12; i++) t.match(store.reserve(call(of, { client: 'high', level: 0 }), START + 11_000), { by: 'bucket' })
  t.match(store.reserve(call(of, { client: 'normal' }), START + 11_000), { by: 'bucket' })
  const at = START + 61_500
  const ask = (more: Partial<LimitCall>): unknown => { const one = store.reserve(call(of, { client: 'y', ...more }), at) as Admission; if (one.kind === 'admitted') { store.cancel(one.ticket, at); return 'goes' } return one.by }
  t.strictSame([ask({ level: 2 }), ask({ level: 1 }), ask({}), ask({ level: 0 })], ['bucket', 'bucket', 'bucket', 'goes'], '10 are free, and 12 of high priority are expected')
  t.equal(ask({ level: 2, client: 'r', floor: 0.5 }), 'goes', 'its own floor is its own')

  const later = new MemoryStore(new Clock().later)
  for (let i = 0; i < 20; i++) make(later, call(of, { client: 'x' }), START + i * 100)
  t.match(later.reserve(call(of, { client: 'high', level: 0 }), START + 2000), { by: 'bucket' })
  t.match(later.reserve(call(of, { client: 'normal' }), START + 2000), { by: 'bucket' })
  const low = (now: number): unknown => { const one = later.reserve(call(of, { client: 'low', level: 2 }), now) as Admission; if (one.kind === 'admitted') later.cancel(one.ticket, now); return one.kind }
  t.equal(low(START + 60_600), 'refused', 'two are free: for a high and a normal one')
  make(later, call(of, { client: 'high', level: 0 }), START + 60_600)
  t.equal(low(START + 60_600), 'refused', 'one is free: for the normal one')
  make(later, call(of, { client: 'normal' }), START + 60_600)
  t.equal(low(START + 60_699), 'refused')
  t.equal(low(START + 60_700), 'admitted')

  const floors = new MemoryStore(new Clock().later)
  for (let i = 0; i < 11; i++) make(floors, call(of, { client: 'x' }), START + i * 1000)
  const tight = plan({ configuredOrg: 24, concurrency: 10_000 })
  make(floors, call(tight, { client: 'r', floor: 0.5 }), START + 11_000)
  t.match(floors.reserve(call(tight, { client: 'x' }), START + 12_000), { by: 'bucket', wait: { untilMs: START + 60_500 } })
  t.match(floors.reserve(call(plan({ configuredOrg: 26, concurrency: 10_000 }), { client: 'x' }), START + 12_000), { by: 'bucket', wait: { untilMs: START + 4000 + 60_500 } }, 'when five have gone: 13, less the 5 that are left of a floor of 6')
})

t.test('a gate alone awaits no first answer of a bucket that it has seen, and learns nothing of what others spent', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const seen = lost({ used: 8 })
  const [one, two] = [seen.store.reserve(of, START), seen.store.reserve(of, START)]
  t.notOk(two instanceof Promise)
  seen.store.settle(ticketOf(one as Admission), answer(START, 200, 40, 10, START + 30_000), START)
  t.match(seen.store.snapshot(START), [{ buckets: [{ used: 2 }] }], 'the store knew it')
  const unseen = lost(undefined)
  const first = unseen.store.reserve(of, START) as Admission
  t.ok(unseen.store.reserve(of, START) instanceof Promise)
  unseen.store.settle(ticketOf(first), answer(START, 200, 40, 10, START + 30_000), START)
  t.match(unseen.store.snapshot(START), [{ buckets: [{ used: 31 }] }])
})

t.test('a first answer is awaited of each credential: another\'s tells nothing of it', async t => {
  const clock = new Clock()
  const store = new MemoryStore(clock.later)
  const of = plan({ configuredOrg: 80 })
  const anonymous = call(of, { credential: 'none' })
  make(store, call(of))
  const token = store.reserve(call(of), START) as Admission
  const first = store.reserve(anonymous, START) as Admission
  const waiting = [store.reserve(anonymous, START), store.reserve(anonymous, START)]
  store.settle(ticketOf(token), SILENT, START)
  t.match(store.snapshot(START), [{ buckets: [{ inFlight: 1, waiting: 2 }] }])
  clock.advance(4999)
  store.reserve(anonymous, clock.now)
  clock.advance(1)
  t.match(await Promise.all(waiting), [{ by: 'concurrency', wait: { untilMs: START + 6000 } }, { by: 'concurrency' }], 'five seconds each')
  t.match(store.snapshot(clock.now), [{ buckets: [{ waiting: 1 }] }])
  const last = store.reserve(anonymous, clock.now)
  await store.close(clock.now)
  t.match(await last, { by: 'concurrency' })
  store.settle(ticketOf(first), SILENT, clock.now)
  store.learn('default', 'nowhere', 60, 0, 0)
  t.equal(store.snapshot(clock.now)[0]!.buckets.length, 1, 'what is learned of a bucket that is not called makes none')
})

t.test('only who was refused by a dry bucket is expected back', async t => {
  const of = plan({ configuredOrg: 8 })
  const store = new MemoryStore(new Clock().later)
  const greedy = call(of, { client: 'greedy', level: 0, share: 0.25 })
  make(store, greedy)
  for (let i = 0; i < 3; i++) t.match(store.reserve(greedy, START), { by: 'share' })
  for (let i = 0; i < 2; i++) make(store, call(of, { client: 'x' }), START + 1)
  t.match(store.reserve(call(of, { client: 'low', level: 2 }), START + 1), { kind: 'admitted' })
})

t.test('a call that failed may still be counted for half a second', async t => {
  const of = call(plan({ configuredOrg: 2000 }))
  const left = (sentAt: number): number => {
    const store = new MemoryStore(new Clock().later)
    make(store, of)
    store.release(ticketOf(store.reserve(of, START) as Admission), START)
    make(store, of, START + sentAt, answer(START + sentAt, 200, 1000, 4, START + 30_000))
    for (let made = 0; made < 100; made++) if ((store.reserve(of, START + sentAt) as Admission).kind === 'refused') return made
    return 100
  }
  t.strictSame([left(0), left(499), left(500)], [2, 2, 4])
})

t.test('what operators are shown of a bucket', async t => {
  const view = (store: MemoryStore, now = START): BucketView => store.snapshot(now)[0]!.buckets[0]!
  const store = new MemoryStore(new Clock().later)
  const of = plan({ configuredOrg: 40 })
  store.cancel(ticketOf(store.reserve(call(of), START) as Admission), START)
  t.match(view(store), { allowance: 20, used: 0, clients: [], nonsense: 0, tooMany: 0 }, 'nobody has called')
  make(store, call(of, { credential: 'none', rule: { id: 'r', perMinute: 9 } }), START, answer(START, 200, 7, 6, START + 30_000))
  t.match(view(store), { allowance: 7 }, 'what anonymous calls are allowed, where only they were seen')
  const flying = store.reserve(call(of, { rule: { id: 's', perMinute: 9 } }), START) as Admission
  t.match(view(store), { allowance: 20 }, 'and those of the credential, as soon as one is on its way')
  store.cancel(ticketOf(flying), START)
  make(store, call(of, { rule: { id: 's', perMinute: 9 } }), START + 10, { kind: 'nonsense', tooMany: false })
  make(store, call(of), START + 10, { kind: 'nonsense', tooMany: true })
  t.match(view(store, START + 10), { allowance: 20, nonsense: 2, tooMany: 1, closedUntilMs: undefined })
  const [client] = store.inside('default').buckets.get('/api/v1/users')!.clients
  t.strictSame([...client!.rules!.keys()], ['r', 's'])
  view(store, START + 60_500)
  t.strictSame([...client!.rules!.keys()], ['s'], 'a rule that holds nothing is forgotten')
  make(store, call(of), START + 60_500, { kind: 'silent', tooMany: true })
  t.strictSame([view(store, START + 61_499).closedUntilMs, view(store, START + 61_500).closedUntilMs], [START + 61_500, undefined])
})

t.test('what Okta says is left: the freshest answer of the latest window, less what is on its way', async t => {
  const made = (): Remaining => { const one = new Remaining(); for (let i = 0; i < 8; i++) one.take(); return one }
  const one = made()
  t.equal(one.left(START), Infinity)
  t.equal(one.headerLimit(START), Infinity)
  t.equal(one.known(START), undefined)
  one.observe(100, 50, START + 30_000, START)
  t.equal(one.left(START), 50 - 7)
  one.observe(100, 60, START + 30_000, START)
  t.equal(one.left(START), 50 - 6, 'an older answer that came later')
  one.observe(100, 60, START + 35_000, START)
  t.equal(one.left(START), 50 - 5, 'a Reset that is rounded another way')
  t.equal(one.liftedAt, START + 36_000, 'and the later one counts')
  one.observe(100, 1, START + 29_999, START)
  t.equal(one.left(START), 50 - 4, 'one of the window before')
  one.take()
  one.observe(100, 49, START + 30_000, START)
  t.equal(one.left(START), 49 - 4, 'five seconds earlier is the same')
  one.observe(100, 70, START + 40_001, START)
  t.equal(one.left(START), 70 - 3, 'a later window')
  one.lose(START + 500)
  t.equal(one.left(START), 70 - 2 - 1, 'a call that said nothing may have been counted')
  one.observe(100, 69, START + 40_001, START + 499)
  t.equal(one.left(START), 69 - 1 - 1, 'and this one was sent too early to tell')
  t.strictSame(one.known(START), { limit: 100, least: 68, resetMs: START + 40_001 })
  one.take()
  one.observe(90, 69, START + 40_000, START + 500)
  t.equal(one.left(START), 69 - 1, 'this one can tell')
  t.equal(one.headerLimit(START + 39_999), 90)
  t.equal(one.headerLimit(START + 40_000), Infinity)
  t.match(one.known(START + 40_000), { limit: 90 })
  t.equal(one.known(START + 40_001), undefined)
  t.equal(one.left(START + 41_000), 68, 'a second more')
  t.equal(one.left(START + 41_001), Infinity)
  one.giveBack()
  t.equal(one.inFlight, 0)
  const spent = made()
  for (let i = 0; i < 3; i++) spent.lose(START)
  spent.observe(100, 1, START + 30_000, START - 1)
  t.match(spent.known(START), { least: 0 }, 'never less than none')
})

t.test('sign-ins: names that are over are forgotten, the oldest first, and a call whose end was never told ends by itself', async t => {
  const users = new Users()
  const taken = users.take('a', START)
  t.ok(users.isFull('a', START, 1))
  t.notOk(users.isFull('a', START, 2))
  t.ok(users.isFull('a', START + 119_999, 1))
  t.notOk(users.isFull('a', START + 120_000, 1), 'two minutes')
  users.settle('a', taken, START + 130_000)
  t.ok(users.isFull('a', START + 131_499, 1), 'an answer that comes even later counts')
  t.notOk(users.isFull('a', START + 131_500, 1))
  const again = users.take('c', START)
  users.settle('c', again, START)
  t.ok(users.isFull('c', START + 1499, 1))
  t.notOk(users.isFull('c', START + 1500, 1))
  const [one, two] = [users.take('b', START), users.take('b', START + 1)]
  users.giveBack('b', one)
  users.giveBack('b', one)
  t.ok(users.isFull('b', START + 2, 1), 'given back once')
  users.giveBack('b', two)
  t.notOk(users.isFull('b', START + 2, 1))
  users.giveBack('nobody', two)
  const mixed = new Users()
  for (const ms of [4000, 5000]) mixed.settle('d', mixed.take('d', START + ms), START + ms)
  t.notOk(mixed.isFull('nobody', START + 6000, 1))
  t.ok(mixed.isFull('d', START + 6000, 1), 'a name with one that is over and one that is not is kept')
  const many = new Users()
  const first = many.take('first', START)
  for (let i = 0; i < 20_000; i++) many.take(`u${i}`, START)
  t.notOk(many.isFull('first', START, 1), 'above 20,000 names the oldest')
  t.ok(many.isFull('u0', START, 1))
  many.settle('first', first, START)
  t.notOk(many.isFull('first', START, 1))
})

t.test('priorities: who is expected back, and for how long', async t => {
  const turns = new Turns()
  t.equal(turns.before(2, START), 0)
  turns.refused(2, START + 1000, 10, START)
  t.equal(turns.before(2, START), 0, 'nobody comes after low ones')
  turns.refused(0, START + 1000, 10, START)
  turns.refused(1, START + 5000, 10, START)
  turns.refused(1, START + 5000, 10, START)
  t.strictSame([0, 1, 2].map(level => turns.before(level as Level, START)), [0, 1, 3])
  t.strictSame([2999, 3000].map(ms => turns.before(1, START + ms)), [1, 0], 'two seconds after its wait')
  turns.refused(1, START + 5000, 10, START, true)
  t.equal(turns.before(2, START), 3, 'it is one of them')
  turns.refused(0, START + 9000, 10, START + 3000, true)
  t.equal(turns.before(1, START + 3000), 1, 'that was too long ago: it is one again')
  turns.refused(0, START + 9000, 10, START + 11_000)
  t.equal(turns.before(1, START + 10_999), 1)
  for (let i = 0; i < 5; i++) turns.refused(1, START + 20_000, 3, START + 4000)
  t.equal(turns.before(2, START + 12_000), 3, 'no more than the bucket gives')
  turns.admitted(2)
  turns.admitted(1)
  t.equal(turns.before(2, START + 12_000), 2)
  for (let i = 0; i < 5; i++) turns.admitted(1)
  t.equal(turns.before(2, START + 12_000), 0)
  turns.refused(1, START + 20_000, 3, START + 12_000)
  t.equal(turns.before(2, START + 12_000), 1, 'never below none')
})

t.test('floors: of those that have asked within a span, less what they have used', async t => {
  t.strictSame([undefined, 0, 0.01, 0.29, 0.5, 1].map(floor => floorOf(floor, 100)), [0, 0, 1, 29, 50, 100])
  t.equal(floorOf(0.01, 11), 0, 'no whole call: a floor is no share')
  const floors = new Floors()
  floors.ask('a', 0.3, START)
  floors.ask('b', 0.2, START + 500)
  const used: Record<string, number> = { a: 4, b: 25 }
  const kept = (client: string, now: number): number => floors.kept(client, 100, now, other => used[other] ?? 0)
  t.strictSame([kept('c', START), kept('a', START), kept('b', START)], [26, 0, 26], 'who has used more than its floor is owed nothing')
  used['b'] = 5
  t.equal(kept('c', START + 60_499), 41)
  t.equal(kept('c', START + 60_500), 15)
  t.equal(kept('c', START + 61_000), 0)
})

t.test('Okta\'s concurrency: half of what was in flight, not less than 7, one more a minute, never more than is configured', async t => {
  const one = new Concurrency()
  for (let i = 0; i < 30; i++) one.take()
  t.equal(one.allowed(37, START), 37)
  one.learn(37, START)
  t.strictSame([0, 59_999, 60_000, 180_000, 60_000 * 30].map(ms => one.allowed(37, START + ms)), [15, 15, 16, 18, 37])
  one.learn(37, START + 60_000)
  t.equal(one.allowed(37, START + 60_000), 8, 'of 16')
  one.learn(37, START + 60_000)
  t.equal(one.allowed(37, START + 60_000), 7)
  t.equal(one.allowed(5, START + 60_000), 5)
  const odd = new Concurrency()
  for (let i = 0; i < 21; i++) odd.take()
  odd.learn(40, START)
  t.equal(odd.allowed(40, START), 10)
  for (let i = 0; i < 21; i++) odd.giveBack()
  t.equal(odd.inFlight, 0)
})

t.test('the store in memory keeps the contract', async t => {
  storeContract(t, clock => new MemoryStore(clock.later))
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
