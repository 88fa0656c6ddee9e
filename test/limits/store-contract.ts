import type { Test } from 'tap'
import type { Observation } from '../../src/limits/headers.js'
import { PROBE_QUEUE, PROBE_WAIT_MS } from '../../src/limits/probe.js'
import type { Admission, BucketView, LimitCall, LimitStore, Ticket } from '../../src/limits/store.js'
import { answer, call, Clock, plan, refusalOf, SILENT, START, ticketOf } from './world.js'

/** More than any bucket here gives. */
const MOST = 200

/** A store, its clock, and the steps that the sentences below are made of. */
class Bench {
  readonly clock = new Clock()

  constructor (readonly store: LimitStore) {}

  async reserve (of: LimitCall): Promise<Admission> {
    return await this.store.reserve(of, this.clock.now)
  }

  /** A whole call: reserved, answered, over. */
  async make (of: LimitCall, observation: Observation = SILENT): Promise<Ticket> {
    const ticket = ticketOf(await this.reserve(of))
    this.end(ticket, observation)
    return ticket
  }

  end (ticket: Ticket, observation: Observation = SILENT): void {
    this.store.settle(ticket, observation, this.clock.now)
    this.store.release(ticket, this.clock.now)
  }

  /** No answer came. */
  fail (ticket: Ticket): void {
    this.store.settle(ticket, undefined, this.clock.now)
    this.store.release(ticket, this.clock.now)
  }

  /** Calls until refused. A store that never refuses is found out, too. */
  async drain (of: LimitCall): Promise<number> {
    for (let made = 0; made < MOST; made++) {
      const admission = await this.reserve(of)
      if (admission.kind === 'refused') return made
      this.end(admission.ticket)
    }
    throw new Error(`${MOST} calls, and none was refused`)
  }

  async bucket (name = '/api/v1/users'): Promise<BucketView> {
    const upstreams = await this.store.snapshot(this.clock.now)
    return upstreams[0]!.buckets.find(one => one.bucket === name)!
  }
}

/** What every limit store promises. Run against the store in memory here; a store on a server passes the same. */
export function storeContract (t: Test, makeStore: (clock: Clock) => LimitStore): void {
  function bench (): Bench {
    const clock = new Clock()
    const made = new Bench(makeStore(clock))
    return Object.assign(made, { clock })
  }

  t.test('a bucket gives half of the org\'s limit in any 60 seconds, held from the answer on', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 10 }))
    const first = ticketOf(await b.reserve(of))
    b.clock.advance(3000)
    b.end(first)
    t.equal(await b.drain(of), 4)
    const refused = refusalOf(await b.reserve(of))
    t.match(refused, { by: 'bucket', wait: { limit: 5, remaining: 0, untilMs: START + 3000 + 60_500 } })
    b.clock.advanceTo(refused.wait.untilMs - 1)
    t.equal((await b.reserve(of)).kind, 'refused')
    b.clock.advanceTo(refused.wait.untilMs)
    t.equal(await b.drain(of), 5)
  })

  t.test('the org\'s limit is what the file says, else what the header teaches, else the catalogue', async t => {
    const rows = [
      { name: 'catalogue', plan: plan(), observed: SILENT, org: 20, source: 'catalogue', gives: 10 },
      { name: 'file', plan: plan({ configuredOrg: 8 }), observed: SILENT, org: 8, source: 'config', gives: 4 },
      { name: 'header', plan: plan(), observed: answer(START, 200, 30, 29, START + 60_000), org: 60, source: 'header', gives: 30 },
      { name: 'header of a credential with 25%', plan: plan({ credentialShare: 0.25 }), observed: answer(START, 200, 6, 5, START + 60_000), org: 24, source: 'header', gives: 6 },
      { name: 'file, and a lower header', plan: plan({ configuredOrg: 40 }), observed: answer(START, 200, 7, 6, START + 60_000), org: 40, source: 'config', gives: 7 },
      { name: 'file, and a higher header', plan: plan({ configuredOrg: 8 }), observed: answer(START, 200, 30, 29, START + 60_000), org: 8, source: 'config', gives: 4 },
      { name: 'nonsense', plan: plan(), observed: answer(START, 200, 0, 0, START + 60_000), org: 20, source: 'catalogue', gives: 10 },
      { name: 'a Reset in the past', plan: plan(), observed: answer(START, 200, 3, 2, START), org: 20, source: 'catalogue', gives: 10 }
    ]
    for (const row of rows) {
      const b = bench()
      await b.make(call(row.plan), row.observed)
      const view = await b.bucket()
      t.match(view, { org: row.org, source: row.source, allowance: row.gives }, row.name)
      t.equal(await b.drain(call(row.plan)), row.gives - 1, row.name)
    }
  })

  t.test('an anonymous answer shows the org\'s full figure', async t => {
    const b = bench()
    const of = call(plan(), { credential: 'none' })
    await b.make(of, answer(START, 200, 30, 29, START + 60_000))
    t.match(await b.bucket(), { org: 30, source: 'header', allowance: 15 })
    t.equal(await b.drain(of), 14)
  })

  t.test('the header\'s own limit holds until its Reset, what it taught stays', async t => {
    const b = bench()
    const of = call(plan({ credentialShare: 0.25 }))
    await b.make(of, answer(START, 200, 6, 5, START + 60_000))
    t.equal((await b.bucket()).allowance, 6)
    b.clock.advance(61_000)
    t.match(await b.bucket(), { org: 24, source: 'header', allowance: 12, used: 0 })
    t.equal(await b.drain(of), 12)
  })

  t.test('a client gets its share, at least one call, and another client the rest', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 20 })
    t.equal(await b.drain(call(of, { client: 'a', share: 0.35 })), 3)
    t.match(await b.reserve(call(of, { client: 'a', share: 0.35 })), { kind: 'refused', by: 'share', wait: { limit: 3, remaining: 0, untilMs: START + 60_500 } })
    t.equal(await b.drain(call(of, { client: 'b', share: 0.01 })), 1)
    t.match(await b.reserve(call(of, { client: 'c', share: 0 })), { kind: 'refused', by: 'share' })
    t.equal(await b.drain(call(of, { client: 'd' })), 6)
    t.match((await b.bucket()).clients.map(one => `${one.client} ${one.used}`).sort(), ['a 3', 'b 1', 'd 6'])
  })

  t.test('a rule\'s own limit counts per client and rule', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 100 })
    const rule = { id: 'x.yaml#1', perMinute: 3 }
    t.equal(await b.drain(call(of, { rule })), 3)
    t.match(await b.reserve(call(of, { rule })), { by: 'rule', wait: { limit: 3, remaining: 0, untilMs: START + 60_500 } })
    t.equal(await b.drain(call(of, { rule: { id: 'x.yaml#2', perMinute: 2 } })), 2)
    t.equal(await b.drain(call(of, { rule, client: 'b' })), 3)
    b.clock.advance(60_500)
    t.equal(await b.drain(call(of, { rule })), 3)
  })

  t.test('half of Okta\'s concurrency is in flight, until each response has ended, over all buckets', async t => {
    const b = bench()
    const users = call(plan({ configuredOrg: 100, concurrency: 5 }))
    const groups = call(plan({ bucket: '/api/v1/groups', configuredOrg: 100, concurrency: 5 }))
    await b.make(users)
    await b.make(groups)
    const one = ticketOf(await b.reserve(users))
    const two = ticketOf(await b.reserve(groups))
    b.store.settle(one, SILENT, b.clock.now)
    t.match(await b.reserve(users), { kind: 'refused', by: 'concurrency', wait: { limit: 2, remaining: 0, untilMs: START + 1000 } })
    b.store.release(one, b.clock.now)
    b.store.release(one, b.clock.now)
    const three = ticketOf(await b.reserve(users))
    t.equal((await b.reserve(users)).kind, 'refused', 'releasing twice frees one place')
    t.match(await b.store.snapshot(b.clock.now), [{ upstream: 'default', inFlight: 2, allowance: 2 }])
    b.end(two)
    b.end(three)
  })

  t.test('settling is done once, releasing settles, and a call that was never sent costs nothing', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 20 }), { rule: { id: 'r', perMinute: 5 } })
    const ticket = await b.make(of)
    b.store.settle(ticket, answer(START, 429, 10, 0, START + 30_000), b.clock.now)
    b.store.cancel(ticket, b.clock.now)
    t.match(await b.bucket(), { used: 1, inFlight: 0, closedUntilMs: undefined })

    b.store.release(ticketOf(await b.reserve(of)), b.clock.now)
    t.match(await b.bucket(), { used: 2, inFlight: 0 })

    const unsent = ticketOf(await b.reserve(of))
    t.match(await b.bucket(), { used: 3, inFlight: 1 })
    b.store.cancel(unsent, b.clock.now)
    b.store.release(unsent, b.clock.now)
    t.match(await b.bucket(), { used: 2, inFlight: 0 })
    t.match(await b.store.snapshot(b.clock.now), [{ inFlight: 0 }])
    t.equal(await b.drain(of), 3)
  })

  t.test('a refused call consumes nothing, whichever budget refuses', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 20, concurrency: 4 })
    await b.make(call(of))
    const held = [ticketOf(await b.reserve(call(of, { client: 'b', share: 0.1 }))), ticketOf(await b.reserve(call(of, { rule: { id: 'r', perMinute: 1 } })))]
    const before = await b.bucket()
    for (const refused of [call(of), call(of, { client: 'b', share: 0.1 }), call(of, { rule: { id: 'r', perMinute: 1 } }), call(of, { client: 'new' }), call(of, { client: 'new', share: 0 })]) {
      t.equal((await b.reserve(refused)).kind, 'refused')
    }
    t.strictSame(await b.bucket(), before)
    held.forEach(one => b.end(one))
    t.equal(await b.drain(call(of)), 7)
  })

  t.test('a reload changes limits and keeps the windows', async t => {
    const b = bench()
    t.equal(await b.drain(call(plan({ configuredOrg: 20 }))), 10)
    const lower = call(plan({ configuredOrg: 12 }))
    b.clock.advance(1000)
    t.match(await b.reserve(lower), { by: 'bucket', wait: { limit: 6, untilMs: START + 60_500 } })
    t.equal(await b.drain(call(plan({ configuredOrg: 24 }))), 2)
    b.clock.advanceTo(START + 60_500)
    t.equal(await b.drain(lower), 4)
  })

  t.test('what others use counts, until the Reset and a second more', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 200 }))
    await b.make(of)
    const reset = START + 20_000
    const flying = [ticketOf(await b.reserve(of)), ticketOf(await b.reserve(of)), ticketOf(await b.reserve(of))]
    b.end(flying[0]!, answer(START, 200, 100, 4, reset))
    const fourth = ticketOf(await b.reserve(of))
    const fifth = ticketOf(await b.reserve(of))
    t.match(await b.reserve(of), { by: 'bucket', wait: { limit: 100, remaining: 0, untilMs: reset + 1000 } }, '4 remain, 4 are on their way')
    b.end(flying[1]!, answer(START, 200, 100, 5, reset))
    const sixth = ticketOf(await b.reserve(of))
    t.equal((await b.reserve(of)).kind, 'refused', 'one was counted before the freshest answer')
    b.fail(flying[2]!)
    t.equal((await b.reserve(of)).kind, 'refused', 'one failed: it may have been counted')
    b.end(fourth, answer(START, 200, 100, 1, reset))
    t.equal((await b.reserve(of)).kind, 'refused')
    b.end(fifth, answer(START, 200, 100, 0, reset))
    b.end(sixth, answer(START, 200, 100, 1, reset))
    t.match(await b.reserve(of), { by: 'bucket' })
    t.equal((await b.reserve({ ...of, credential: 'none' })).kind, 'admitted', 'another credential has a counter of its own')
    b.clock.advanceTo(reset + 999)
    t.equal((await b.reserve(of)).kind, 'refused')
    b.clock.advanceTo(reset + 1000)
    const next = ticketOf(await b.reserve(of))
    b.end(next, answer(b.clock.now, 200, 100, 2, reset + 60_000))
    t.equal(await b.drain(of), 2, 'answers that say nothing are taken as counted')
  })

  t.test('what a fresh gate finds spent is held for a span: it may have been its own', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 20 }))
    await b.make(of, answer(START, 200, 10, 3, START + 5000))
    t.equal((await b.bucket()).used, 7)
    b.clock.advance(10_000)
    t.equal(await b.drain(of), 3)
    b.clock.advanceTo(START + 60_500)
    t.equal(await b.drain(of), 7)

    const late = bench()
    await late.make(of, answer(START, 429, 10, 0, START + 5000))
    t.match(await late.reserve(of), { by: 'closed', wait: { untilMs: START + 6000 } })
    late.clock.advance(6000)
    t.match(await late.reserve(of), { by: 'bucket', wait: { untilMs: START + 60_500 } }, 'all of it was spent: by the gate before it was killed, perhaps')

    const anonymous = bench()
    await anonymous.make(call(plan(), { credential: 'none' }), answer(START, 200, 20, 3, START + 5000))
    t.equal((await anonymous.bucket()).used, 1, 'anonymous calls see everybody\'s use')
  })

  t.test('a 429 closes the bucket, when it is about the bucket', async t => {
    const reset = START + 30_000
    const rows = [
      { name: 'the limit is reached', observed: answer(START, 429, 10, 0, reset), closed: reset + 1000 },
      { name: 'concurrency', observed: answer(START, 429, 0, 0, reset), closed: reset },
      { name: 'no header', observed: { kind: 'silent', tooMany: true } as const, closed: START + 1000 },
      { name: 'calls remain: SMS, e-mail, per user', observed: answer(START, 429, 10, 9, reset), closed: undefined },
      { name: 'a Reset in the past', observed: answer(START, 429, 10, 0, START - 5000), closed: undefined },
      { name: 'the furthest Reset', observed: answer(START, 429, 10, 0, START + 61_000), closed: START + 62_000 },
      { name: 'a Reset far ahead', observed: answer(START, 429, 10, 0, START + 62_000), closed: undefined }
    ]
    for (const row of rows) {
      const b = bench()
      const of = call(plan({ configuredOrg: 20 }))
      await b.make(of)
      await b.make(of, row.observed)
      t.match(await b.bucket(), { closedUntilMs: row.closed, tooMany: 1, org: 20 }, row.name)
      const next = await b.reserve(of)
      if (row.closed === undefined) { t.equal(next.kind, 'admitted', row.name); continue }
      t.match(next, { kind: 'refused', by: 'closed', wait: { untilMs: row.closed, remaining: 0 } }, row.name)
      t.equal((await b.reserve({ ...of, credential: 'authnToken' })).kind, 'refused', `${row.name}: every credential`)
      t.equal((await b.reserve(call(plan({ bucket: '/api/v1/groups' })))).kind, 'admitted', `${row.name}: another bucket is open`)
      b.clock.advanceTo(row.closed - 1)
      t.equal((await b.reserve(of)).kind, 'refused', row.name)
      b.clock.advanceTo(row.closed)
      t.equal((await b.reserve(of)).kind, 'admitted', row.name)
    }
  })

  t.test('a credential\'s 429 leaves anonymous calls; an anonymous one is everybody\'s', async t => {
    const b = bench()
    const token = call(plan(), { credential: 'authnToken' })
    const anonymous = call(plan(), { credential: 'none' })
    await b.make(token)
    await b.make(token, answer(START, 429, 10, 0, START + 30_000))
    t.match(await b.reserve(token), { by: 'closed' })
    await b.make(anonymous, answer(START, 429, 20, 0, START + 40_000))
    t.match(await b.reserve(anonymous), { by: 'closed', wait: { untilMs: START + 41_000 } })
    t.match(await b.reserve(token), { by: 'closed', wait: { untilMs: START + 41_000 } })
  })

  t.test('after a start one call is in flight per bucket until its first answer; the others wait, in order', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 8 }))
    const first = ticketOf(await b.reserve(of))
    const order: string[] = []
    const waiting = ['b', 'c', 'd', 'e'].map(client => Promise.resolve(b.store.reserve({ ...of, client }, b.clock.now)).then(admission => {
      order.push(`${client} ${admission.kind}`)
      return admission
    }))
    t.match(await b.bucket(), { inFlight: 1, waiting: 4 })
    b.store.settle(first, answer(START, 200, 4, 2, START + 60_000), b.clock.now)
    const admissions = await Promise.all(waiting)
    t.strictSame(order, ['b admitted', 'c admitted', 'd refused', 'e refused'])
    t.match(await b.bucket(), { inFlight: 2, waiting: 0 })
    admissions.forEach(one => one.kind === 'admitted' && b.end(one.ticket))
  })

  t.test('when the first call fails or is never sent, the next is the first; an answer that says nothing lets all go', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 200 }))
    const first = ticketOf(await b.reserve(of))
    const gone = { aborted: false }
    const waiting = [of, of, { ...of, signal: gone }, of, of].map(one => b.store.reserve(one, b.clock.now))
    b.fail(first)
    const second = ticketOf(await waiting[0]!)
    t.match(await b.bucket(), { inFlight: 1, waiting: 4 })
    b.store.cancel(second, b.clock.now)
    const third = ticketOf(await waiting[1]!)
    t.match(await b.bucket(), { inFlight: 1, waiting: 3 })
    gone.aborted = true
    b.end(third, SILENT)
    t.match(await waiting[2]!, { by: 'concurrency' }, 'its client has left')
    t.equal((await waiting[3]!).kind, 'admitted')
    t.equal((await waiting[4]!).kind, 'admitted')
    t.match(await b.bucket(), { inFlight: 2, waiting: 0 })
  })

  t.test('each credential awaits its own first answer, one call at a time', async t => {
    const b = bench()
    const of = call(plan())
    const first = ticketOf(await b.reserve({ ...of, credential: 'none' }))
    const token = b.store.reserve({ ...of, credential: 'authnToken' }, b.clock.now)
    const token2 = b.store.reserve({ ...of, credential: 'authnToken' }, b.clock.now)
    const anonymous = b.store.reserve({ ...of, credential: 'none' }, b.clock.now)
    t.match(await b.bucket(), { inFlight: 1, waiting: 3 })
    b.end(first)
    t.equal((await token).kind, 'admitted')
    t.equal((await anonymous).kind, 'admitted')
    t.match(await b.bucket(), { inFlight: 2, waiting: 1 })
    b.end(ticketOf(await token))
    t.equal((await token2).kind, 'admitted')
  })

  t.test('nobody waits longer than that, no more than that wait, and closing ends it', async t => {
    const b = bench()
    const of = call(plan())
    const first = ticketOf(await b.reserve(of))
    const waiting = Array.from({ length: PROBE_QUEUE }, () => b.store.reserve(of, b.clock.now))
    t.match(await b.reserve(of), { kind: 'refused', by: 'concurrency', wait: { untilMs: START + 1000 } }, 'the queue is full')
    b.clock.advance(PROBE_WAIT_MS)
    t.ok((await Promise.all(waiting)).every(one => one.kind === 'refused'))
    t.match(await b.bucket(), { waiting: 0, used: 1 })
    const last = b.store.reserve(of, b.clock.now)
    await b.bucket()
    b.end(first)
    t.equal((await last).kind, 'admitted')
    const second = ticketOf(await b.reserve(call(plan({ bucket: 'another' }))))
    const never = b.store.reserve(call(plan({ bucket: 'another' })), b.clock.now)
    await b.bucket('another')
    await b.store.close(b.clock.now)
    t.match(await never, { kind: 'refused' })
    b.end(second)
  })

  t.test('a reservation is a floor: others leave it while its client asks, and have it while it does not', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 40 })
    const reserving = call(of, { client: 'r', floor: 0.5 })
    t.equal(await b.drain(call(of)), 20, 'what nobody has asked for is lent')
    t.match(await b.reserve(reserving), { by: 'bucket', wait: { untilMs: START + 60_500 } })
    b.clock.advance(60_500)
    await b.make(reserving)
    t.equal(await b.drain(call(of)), 10, 'its floor is kept from then on')
    t.match(await b.reserve(call(of)), { by: 'bucket' })
    t.equal(await b.drain(reserving), 9)
    t.match(await b.reserve(reserving), { by: 'bucket' })
    b.clock.advance(200_000)
    t.equal(await b.drain(reserving), 20, 'it is no ceiling')
  })

  t.test('reservations of several clients stand beside each other', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 40 })
    const one = call(of, { client: 'one', floor: 0.3 })
    const two = call(of, { client: 'two', floor: 0.3 })
    await b.make(one)
    await b.make(two)
    t.equal(await b.drain(call(of)), 8)
    t.equal(await b.drain(one), 5)
    t.equal(await b.drain(two), 5)
  })

  t.test('who has priority goes first when a bucket runs dry', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 8 })
    const high = call(of, { client: 'high', level: 0 })
    const low = call(of, { client: 'low', level: 2 })
    for (let i = 0; i < 4; i++) { await b.make(call(of, { level: 1 })); b.clock.advance(1000) }
    t.equal((await b.reserve(low)).kind, 'refused')
    t.equal((await b.reserve(high)).kind, 'refused')
    t.equal((await b.reserve(high)).kind, 'refused')
    b.clock.advanceTo(START + 60_500)
    t.match(await b.reserve(low), { by: 'bucket' }, 'the free slot is for who was refused before it')
    t.equal((await b.reserve(high)).kind, 'admitted')
    b.clock.advanceTo(START + 61_500)
    t.match(await b.reserve(low), { by: 'bucket' })
    t.equal((await b.reserve(high)).kind, 'admitted')
    b.clock.advanceTo(START + 62_500)
    t.equal((await b.reserve(low)).kind, 'admitted', 'nobody before it wants more')
  })

  t.test('a call that waits is expected back once, however often it asks', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 8 })
    const high = call(of, { client: 'high', level: 0 })
    const low = call(of, { client: 'low', level: 2 })
    for (let i = 0; i < 4; i++) { await b.make(call(of, { level: 1 })); b.clock.advance(1000) }
    t.equal((await b.reserve(high)).kind, 'refused')
    for (let i = 0; i < 5; i++) t.equal((await b.reserve({ ...high, again: true })).kind, 'refused')
    b.clock.advanceTo(START + 60_500)
    t.equal((await b.reserve(low)).kind, 'refused')
    t.equal((await b.reserve({ ...high, again: true })).kind, 'admitted')
    b.clock.advanceTo(START + 61_500)
    t.equal((await b.reserve(low)).kind, 'admitted')
  })

  t.test('sign-ins are counted by user name, two a second, from their answers on', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 100 })
    await b.make(call(of))
    const user = call(of, { user: 'hash' })
    const first = ticketOf(await b.reserve(user))
    const second = ticketOf(await b.reserve(user))
    t.match(await b.reserve(user), { by: 'user', wait: { limit: 2, untilMs: START + 1000 } })
    t.equal((await b.reserve(call(of, { user: 'other' }))).kind, 'admitted')
    b.clock.advance(2000)
    t.equal((await b.reserve(user)).kind, 'refused', 'still in flight')
    b.end(first)
    b.store.cancel(second, b.clock.now)
    const third = ticketOf(await b.reserve(user))
    t.equal((await b.reserve(user)).kind, 'refused')
    b.clock.advance(1500)
    t.equal((await b.reserve(user)).kind, 'admitted')
    b.end(third)
  })

  t.test('Okta\'s concurrency 429 halves what may be in flight, and a minute later one more is tried', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 1000, concurrency: 40 }))
    await b.make(of)
    const flying: Ticket[] = []
    for (let i = 0; i < 20; i++) flying.push(ticketOf(await b.reserve(of)))
    b.end(flying.pop()!, answer(START, 429, 0, 0, START + 2000))
    t.match(await b.store.snapshot(b.clock.now), [{ allowance: 10, inFlight: 19 }])
    for (const one of flying) b.end(one)
    b.clock.advance(59_000)
    const again: Ticket[] = []
    for (let i = 0; i < 10; i++) again.push(ticketOf(await b.reserve(of)))
    t.match(await b.reserve(of), { by: 'concurrency', wait: { limit: 10 } })
    b.clock.advance(1000)
    t.equal((await b.reserve(of)).kind, 'admitted')
    again.forEach(one => b.end(one))
  })

  t.test('a clock that goes back frees nothing and never tells of the past', async t => {
    const b = bench()
    const of = call(plan({ configuredOrg: 10 }))
    b.clock.advance(10_000)
    t.equal(await b.drain(of), 5)
    b.clock.now = START - 3_600_000
    t.match(await b.reserve(of), { by: 'bucket', wait: { untilMs: START + 70_500 } })
    b.clock.now = START + 70_499
    t.equal((await b.reserve(of)).kind, 'refused')
    b.clock.now = START + 70_500
    t.equal(await b.drain(of), 5)
  })

  t.test('a wait lies ahead and within 61 seconds', async t => {
    const b = bench()
    await b.make(call(plan({ configuredOrg: 4 })), answer(START, 200, 2, 1, START + 61_000))
    const held = ticketOf(await b.reserve(call(plan({ configuredOrg: 4 }))))
    for (const of of [call(plan({ configuredOrg: 4 })), call(plan({ configuredOrg: 1 })), call(plan({ configuredOrg: 8 })), call(plan(), { share: 0 })]) {
      const refused = refusalOf(await b.reserve(of))
      t.ok(refused.wait.untilMs > START && refused.wait.untilMs <= START + 61_000, `${refused.by} ${refused.wait.untilMs - START}`)
    }
    b.end(held)
  })

  t.test('idle clients are forgotten', async t => {
    const b = bench()
    const of = plan({ configuredOrg: 10_000 })
    for (let i = 0; i < 2000; i++) await b.make(call(of, { client: `c${i}`, rule: { id: 'r', perMinute: 9 } }))
    t.equal((await b.bucket()).clients.length, 2000)
    b.clock.advance(60_500)
    t.match(await b.bucket(), { used: 0, clients: [] })
  })
}
