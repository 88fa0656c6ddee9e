import t from 'tap'
import { refuse } from '../../src/limits/bucket.js'
import { MemoryStore } from '../../src/limits/memory.js'
import type { Admission, LimitCall, LimitStore, Refused, RefusedBy, Ticket, UpstreamView } from '../../src/limits/store.js'
import { WAITING_MOST, WaitingStore } from '../../src/limits/waiting.js'
import { call, Clock, plan, SILENT, START, ticketOf } from './world.js'

/** A store whose calls may wait, and who has been told what, in order. */
class Line {
  readonly clock = new Clock()
  readonly store = new WaitingStore(new MemoryStore(this.clock.later), this.clock.later)
  readonly said: string[] = []

  ask (name: string, of: LimitCall): void {
    const say = (admission: Admission): void => { this.said.push(`${name} ${admission.kind === 'admitted' ? 'goes' : admission.by} after ${Math.round((this.clock.now - START) / 100) * 100} ms`) }
    const asked = this.store.reserve(of, this.clock.now)
    if (asked instanceof Promise) asked.then(say, t.error)
    else say(asked)
  }

  async go (of: LimitCall): Promise<Ticket> {
    return ticketOf(await this.store.reserve(of, this.clock.now))
  }

  end (ticket: Ticket): void {
    this.store.settle(ticket, SILENT, this.clock.now)
    this.store.release(ticket, this.clock.now)
  }

  /** Time passes in steps, so that promises are kept in between. */
  async pass (ms: number): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    for (const end = this.clock.now + ms; this.clock.now < end;) {
      this.clock.advance(Math.min(10, end - this.clock.now))
      await new Promise(resolve => setImmediate(resolve))
    }
  }

  async waiting (): Promise<number> {
    return (await this.store.snapshot(this.clock.now))[0]!.buckets[0]!.waiting
  }
}

t.test('who may wait goes in order when there is allowance again, those of priority first', async t => {
  const line = new Line()
  const of = plan({ configuredOrg: 8 })
  for (let i = 0; i < 4; i++) { line.end(await line.go(call(of))); await line.pass(500) }
  line.ask('first', call(of, { waitMs: 90_000 }))
  line.ask('second', call(of, { waitMs: 90_000, client: 'b' }))
  line.ask('urgent', call(of, { waitMs: 90_000, client: 'c', level: 0 }))
  line.ask('impatient', call(of, { client: 'd' }))
  t.strictSame(line.said, ['impatient bucket after 2000 ms'], 'without wait it is refused, and does not overtake')
  t.equal(await line.waiting(), 3)
  await line.pass(60_000)
  t.strictSame(line.said.slice(1), ['urgent goes after 60500 ms', 'first goes after 61000 ms', 'second goes after 61500 ms'])
  t.equal(await line.waiting(), 0)
  const { sumMs, ...counts } = line.store.waits
  t.strictSame(counts, { count: 3, admitted: 3, left: 0 })
  t.equal(Math.round(sumMs / 1000), 177)
})

t.test('whose own share is used up holds up nobody else', async t => {
  const line = new Line()
  const of = plan({ configuredOrg: 20 })
  line.end(await line.go(call(of, { client: 'a', share: 0.1 })))
  line.ask('a', call(of, { client: 'a', share: 0.1, waitMs: 90_000 }))
  line.ask('a again', call(of, { client: 'a', share: 0.1, waitMs: 90_000 }))
  line.ask('b', call(of, { client: 'b', waitMs: 90_000 }))
  t.strictSame(line.said, ['b goes after 0 ms'])
  await line.pass(61_000)
  t.strictSame(line.said.slice(1), ['a goes after 60500 ms'], 'one at a time')
})

t.test('the deadline is kept, who hangs up leaves, and so it is while the store takes its time', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 100, concurrency: 2 }), { waitMs: 3000 })
  const other = call(plan({ configuredOrg: 100, concurrency: 2, bucket: 'other' }))
  const busy = await line.go(other)
  const leaving = { aborted: false }
  line.ask('probe', of)
  line.ask('stuck', of)
  line.ask('short', { ...of, waitMs: 1000 })
  line.ask('leaves', { ...of, signal: leaving })
  t.equal((await line.store.snapshot(START)).flatMap(one => one.buckets).reduce((sum, one) => sum + one.waiting, 0), 4)
  await line.pass(300)
  line.end(busy)
  await line.pass(100)
  t.strictSame(line.said, ['probe goes after 300 ms'], 'the next has to await its answer')
  leaving.aborted = true
  await line.pass(250)
  t.strictSame(line.said.slice(1), ['leaves concurrency after 600 ms'], 'within a fifth of a second')
  await line.pass(500)
  t.strictSame(line.said.slice(2), ['short concurrency after 1000 ms'])
  await line.pass(2500)
  t.strictSame(line.said.slice(3), ['stuck concurrency after 3000 ms'])
})

t.test('a wait that is known to be too short is refused at once, and no more wait than there is room for', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 2 }), { waitMs: 60_000 })
  line.end(await line.go(of))
  line.ask('short', of)
  t.strictSame(line.said, ['short bucket after 0 ms'], 'half a second is missing')
  const long = { ...of, waitMs: 61_000 }
  for (let i = 0; i < WAITING_MOST; i++) line.store.reserve(long, START)
  t.equal(await line.waiting(), WAITING_MOST)
  line.ask('one more', long)
  t.strictSame(line.said.slice(1), ['one more bucket after 0 ms'])
  await line.store.close(START)
})

const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

/** A store that answers when it is told to, and cannot lease. */
class Slow implements LimitStore {
  readonly asked: { readonly call: LimitCall, readonly answer: (admission: Admission) => void }[] = []
  readonly said: string[] = []

  async reserve (call: LimitCall): Promise<Admission> {
    return await new Promise(resolve => { this.asked.push({ call, answer: resolve }) })
  }

  settle (): void { this.said.push('settle') }
  release (): void { this.said.push('release') }
  cancel (): void { this.said.push('cancel') }
  async close (): Promise<void> { this.said.push('close') }

  async snapshot (): Promise<readonly UpstreamView[]> {
    const bucket = { org: 1, source: 'config' as const, allowance: 1, used: 0, inFlight: 0, clients: [], nonsense: 0, tooMany: 0 }
    return [{ upstream: 'default', inFlight: 0, allowance: 1, buckets: [{ ...bucket, bucket: '/api/v1/users', waiting: 2 }, { ...bucket, bucket: 'other', waiting: 1 }] }]
  }
}

const admitted = (): Admission => ({ kind: 'admitted', ticket: { kind: 'admitted' } })

t.test('over a store that takes its time: one question at a time, and what comes too late is given back', async t => {
  const clock = new Clock()
  const inner = new Slow()
  const store = new WaitingStore(inner, clock.later)
  const of = call(plan({ configuredOrg: 8 }), { waitMs: 3000 })
  const pass = async (ms: number): Promise<void> => { for (const end = clock.now + ms; clock.now < end;) { clock.advance(Math.min(10, end - clock.now)); await soon() } }

  const bare = store.reserve(call(of.plan), START)
  inner.asked[0]!.answer(refuse('bucket', START + 100, 4, START))
  t.match(await bare, { kind: 'refused', by: 'bucket', wait: { untilMs: START + 100 } }, 'who may not wait is told')
  const quick = store.reserve(of, START)
  inner.asked[1]!.answer(admitted())
  t.match(await quick, { kind: 'admitted' })

  const said: string[] = []
  const wait = (name: string, more: Partial<LimitCall> = {}): void => {
    Promise.resolve(store.reserve({ ...of, ...more }, clock.now)).then(admission => { said.push(`${name} ${admission.kind === 'admitted' ? 'goes' : admission.by} ${clock.now - START}`) }, t.error)
  }
  wait('one')
  inner.asked[2]!.answer(refuse('bucket', START + 100, 4, START))
  await soon()
  wait('two', { client: 'b' })
  t.equal(inner.asked.length, 3, 'who comes behind somebody is not asked for')
  t.match(await store.snapshot(START), [{ buckets: [{ bucket: '/api/v1/users', waiting: 4 }, { bucket: 'other', waiting: 1 }] }])
  t.strictSame(store.lease(of, 10, START), [], 'nothing is lent before who waits')
  await pass(99)
  t.equal(inner.asked.length, 3)
  await pass(1)
  t.match(inner.asked.slice(3), [{ call: { again: true, client: 'a' } }], 'asked again when there may be room')
  await pass(1000)
  t.equal(inner.asked.length, 4, 'no second question before the first is answered')
  inner.asked[3]!.answer(admitted())
  await soon()
  t.match(inner.asked.slice(4), [{ call: { client: 'b' } }])
  t.strictSame(said, ['one goes 1100'])
  await pass(1890)
  t.equal(said.length, 1)
  await pass(210)
  t.strictSame(said.slice(1), ['two bucket 3000'], 'its time was over')
  inner.asked[4]!.answer(admitted())
  await soon()
  t.strictSame(inner.said, ['cancel'], 'nobody wants it any more')
  t.match(store.waits, { count: 2, admitted: 1, left: 0, sumMs: 100 + 3000 }, 'until the question went that was its last')
  await pass(1000)
  wait('three')
  t.equal(inner.asked.length, 6, 'the queue is gone')
  t.strictSame(store.lease(of, 10, START), [], 'a store that does not lend')

  const gone = { aborted: false }
  inner.asked[5]!.answer(refuse('closed', clock.now + 2000, 4, clock.now))
  await soon()
  wait('four', { signal: gone, client: 'd' })
  wait('five', { level: 2 })
  wait('other', { plan: plan({ bucket: 'other' }) })
  inner.asked[6]!.answer(refuse('bucket', clock.now + 2500, 4, clock.now))
  await soon()
  gone.aborted = true
  await pass(200)
  t.strictSame(said.slice(2), ['four closed 4400'])
  t.match(store.waits, { left: 1 })
  await store.close(clock.now)
  await soon()
  t.strictSame(said.slice(3).sort(), ['five closed 4400', 'other bucket 4400', 'three closed 4400'])
  t.strictSame(inner.said, ['cancel', 'close'])
  t.match(store.waits, { count: 6, left: 1, admitted: 1 })
})

t.test('a store that fails while it is asked again is asked again', async t => {
  const clock = new Clock()
  const inner = new Slow()
  const store = new WaitingStore(inner, clock.later)
  const asked = store.reserve(call(plan(), { waitMs: 3000 }), START)
  inner.asked[0]!.answer(refuse('bucket', START + 100, 4, START))
  await soon()
  const { reserve } = inner
  inner.reserve = async () => { throw new Error('the store is gone') }
  clock.advance(100)
  await soon()
  inner.reserve = reserve
  clock.advance(200)
  await soon()
  inner.asked[1]!.answer(admitted())
  t.match(await asked, { kind: 'admitted' })
})

t.test('who is refused at once: no allowance at all, and a slot that comes later than the call may wait', async t => {
  const line = new Line()
  line.ask('never', call(plan({ configuredOrg: 1 }), { waitMs: 90_000 }))
  t.strictSame(line.said, ['never bucket after 0 ms'])
  const of = call(plan({ configuredOrg: 2 }), { waitMs: 60_500 })
  line.end(await line.go(of))
  line.ask('short', of)
  line.ask('long', { ...of, waitMs: 60_501 })
  t.strictSame(line.said.slice(1), ['short bucket after 0 ms'])
  line.ask('behind', { ...of, client: 'b', waitMs: 60_500 })
  t.strictSame(line.said.slice(2), ['behind bucket after 0 ms'], 'behind somebody as well')
  await line.pass(60_600)
  t.strictSame(line.said.slice(3), ['long goes after 60500 ms'])
})

t.test('a place in flight that is given back goes to who waits for it, in the same turn', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 100, concurrency: 4 }), { waitMs: 3000 })
  line.end(await line.go(of))
  const [one, two] = [await line.go(of), await line.go(of)]
  for (const name of ['first', 'second', 'third']) line.ask(name, of)
  t.equal(await line.waiting(), 3)
  line.store.settle(one, SILENT, START)
  await soon()
  t.strictSame(line.said, [], 'an answer frees no place')
  line.store.release(one, START)
  await soon()
  t.strictSame(line.said, ['first goes after 0 ms'])
  line.store.cancel(two, START)
  await soon()
  t.strictSame(line.said.slice(1), ['second goes after 0 ms'])
  await line.pass(2999)
  t.equal(line.said.length, 2)
  await line.pass(1)
  t.strictSame(line.said.slice(2), ['third concurrency after 3000 ms'])
})

/** Calls that wait over a store that answers when it is told to. */
class Desk {
  readonly clock = new Clock()
  readonly inner = new Slow()
  readonly store = new WaitingStore(this.inner, this.clock.later)
  readonly said: [string, Admission][] = []

  /** A call that the store has refused, so that it waits; `undefined`: it is not asked for. */
  async wait (name: string, refused: Refused | undefined, more: Partial<LimitCall> = {}): Promise<void> {
    const before = this.inner.asked.length
    Promise.resolve(this.store.reserve(call(plan({ configuredOrg: 8 }), { waitMs: 3000, client: name, ...more }), this.clock.now)).then(admission => { this.said.push([name, admission]) }, t.error)
    if (refused !== undefined) this.inner.asked[before]!.answer(refused)
    await soon()
  }

  /** Names of those that have been asked for since the last time. */
  asked (): string[] {
    const names = this.inner.asked.slice(this.#seen).map(one => one.call.client)
    this.#seen = this.inner.asked.length
    return names
  }

  #seen = 0
  async answer (admission: Admission): Promise<void> { this.inner.asked.at(-1)!.answer(admission); await soon() }
  async pass (ms: number): Promise<void> { for (const end = this.clock.now + ms; this.clock.now < end;) { this.clock.advance(Math.min(10, end - this.clock.now)); await soon() } }
  refused (by: RefusedBy, ms = 100): Refused { return refuse(by, this.clock.now + ms, 4, this.clock.now) }
}

t.test('who is asked for: those before whom nobody waits, and whom nothing of their own holds up', async t => {
  const desk = new Desk()
  await desk.wait('a', desk.refused('bucket'))
  t.strictSame(desk.asked(), ['a'])
  await desk.wait('b', undefined)
  t.strictSame(desk.asked(), [], 'behind somebody')
  await desk.wait('high', desk.refused('bucket'), { level: 0 })
  t.strictSame(desk.asked(), ['high'], 'a call of higher priority does not stand behind')
  await desk.wait('low', undefined, { level: 2 })
  t.equal(desk.clock.pending, 2, 'one timer to ask, and one to look who has left')
  await desk.pass(100)
  t.strictSame(desk.asked(), ['high'])
  await desk.answer(desk.refused('bucket'))
  t.strictSame(desk.asked(), [], 'what holds up one holds up all')
  desk.store.settle({ kind: 'admitted' }, undefined, desk.clock.now)
  desk.store.release({ kind: 'admitted' }, desk.clock.now)
  desk.store.cancel({ kind: 'admitted' }, desk.clock.now)
  t.strictSame([desk.asked(), desk.inner.said], [[], ['settle', 'release', 'cancel']], 'a place in flight is nothing to who waits for the bucket')

  for (const by of ['bucket', 'closed', 'concurrency', 'store'] as const) {
    const all = new Desk()
    await all.wait('a', all.refused(by))
    await all.wait('b', undefined)
    t.strictSame(all.asked(), ['a'], `${by} holds up everybody`)
  }

  const own = new Desk()
  await own.wait('a', own.refused('share'))
  await own.wait('a', undefined)
  await own.wait('b', own.refused('rule'))
  t.strictSame(own.asked(), ['a', 'b'], 'behind one of its own client')
  await own.pass(100)
  t.strictSame(own.asked(), ['a'])
  await own.answer(own.refused('share'))
  t.strictSame(own.asked(), ['b'], 'not the other of that client')
  await own.answer(own.refused('user'))
  t.strictSame(own.asked(), [])
})

t.test('who leaves while another is asked for is not asked for, and timers end with the queue', async t => {
  const desk = new Desk()
  const [stays, leaves] = [{ aborted: false }, { aborted: false }]
  await desk.wait('a', desk.refused('share'))
  await desk.wait('b', desk.refused('share'), { signal: stays })
  await desk.wait('c', desk.refused('share'), { signal: leaves })
  await desk.wait('d', desk.refused('share'), { waitMs: 120 })
  desk.asked()
  await desk.pass(100)
  t.strictSame(desk.asked(), ['a'])
  leaves.aborted = true
  await desk.answer(admitted())
  t.strictSame(desk.asked(), ['b'], 'one whose signal says nothing stays')
  await desk.pass(160)
  t.strictSame(desk.said.map(([name]) => name), ['a', 'c', 'd'])
  await desk.answer(admitted())
  t.strictSame([desk.asked(), desk.said.map(([name]) => name)], [[], ['a', 'c', 'd', 'b']], 'nor one whose time was over meanwhile')
  await desk.pass(400)
  t.equal(desk.clock.pending, 0, 'nobody waits, and no timer is left')
  const gone = new Desk()
  const signal = { aborted: false }
  await gone.wait('a', gone.refused('share'))
  await gone.wait('b', gone.refused('share'), { signal })
  await gone.pass(100)
  signal.aborted = true
  await gone.answer(gone.refused('share'))
  t.strictSame(gone.asked(), ['a', 'b', 'a'], 'it left before its turn came')
})

t.test('one question at a time, also where places are given back, and none for a queue that is empty', async t => {
  const desk = new Desk()
  const freed = (): void => { desk.store.release({ kind: 'admitted' }, desk.clock.now) }
  await desk.wait('a', desk.refused('concurrency', 5000))
  desk.asked()
  freed()
  freed()
  t.strictSame(desk.asked(), ['a'])
  await desk.pass(3000)
  t.match(desk.said, [['a', { by: 'concurrency', wait: { untilMs: START + 5000 } }]], 'its time is over, and when to come back is as it was')
  freed()
  t.strictSame(desk.asked(), [], 'nobody is left')
  await desk.answer(admitted())
  t.strictSame(desk.inner.said.filter(one => one === 'cancel'), ['cancel'])
  await desk.wait('b', desk.refused('bucket', 10))
  await desk.pass(10)
  await desk.pass(2990)
  t.match(desk.said[1], ['b', { by: 'bucket', wait: { untilMs: START + 6001 } }], 'never in the past')
})

t.test('what is lent: nothing while somebody waits', async t => {
  const line = new Line()
  const of = call(plan({ configuredOrg: 2000, concurrency: 100 }), { waitMs: 3000 })
  line.end(await line.go(of))
  t.equal(line.store.lease(of, 10, START).length, 6, 'an eighth of 50 places')
  const busy: Ticket[] = []
  for (let i = 0; i < 44; i++) busy.push(await line.go(of))
  line.ask('waits', of)
  line.end(busy.pop()!)
  await soon()
  for (let i = 0; i < 20; i++) line.store.inner.release(busy.pop()!, START)
  t.equal(line.store.lease(of, 10, START).length, 2, 'nobody waits')
  const full = new Line()
  full.end(await full.go(of))
  for (let i = 0; i < 50; i++) busy.push(await full.go(of))
  full.ask('waits', of)
  for (let i = 0; i < 40; i++) full.store.inner.release(busy.pop()!, START)
  t.strictSame([full.store.lease(of, 10, START).length, full.store.lease({ ...of, plan: plan({ bucket: 'other' }) }, 10, START).length], [0, 0])
  t.ok(full.store.inner.lease(of, 10, START).length > 0, 'though there would be some')
})
