import t from 'tap'
import { refuse } from '../../src/limits/bucket.js'
import { LimitDesk } from '../../src/limits/desk.js'
import type { Observation } from '../../src/limits/headers.js'
import { LeaseBook, type Lessee } from '../../src/limits/lease-book.js'
import { Leases, type LeaseScope } from '../../src/limits/leases.js'
import { MemoryStore } from '../../src/limits/memory.js'
import { learn, shapeOf, teach, type RelayAnswer, type RelayStep, type Taught } from '../../src/limits/relay-wire.js'
import { RELAY_TIMEOUT_MS, RelayedStore } from '../../src/limits/relayed.js'
import type { Admission, LimitCall, LimitStore, Ticket, UpstreamView } from '../../src/limits/store.js'
import { WaitingStore } from '../../src/limits/waiting.js'
import { mulberry } from './model.js'
import { storeContract } from './store-contract.js'
import { answer, call, Clock, plan, SILENT, START, ticketOf } from './world.js'

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

t.test('what a header taught passes between processes, whose clocks differ', async t => {
  const rows: [string, Observation | undefined, Observation | undefined][] = [
    ['no answer', undefined, undefined],
    ['a window', { kind: 'window', tooMany: false, limit: 600, remaining: 599, resetMs: START + 1500.2 }, { kind: 'window', tooMany: false, limit: 600, remaining: 599, resetMs: 1501 }],
    ['a 429', { kind: 'window', tooMany: true, limit: 600, remaining: 0, resetMs: START + 1500 }, { kind: 'window', tooMany: true, limit: 600, remaining: 0, resetMs: 1500 }],
    ['concurrency', { kind: 'concurrency', tooMany: true, resetMs: START + 7.5 }, { kind: 'concurrency', tooMany: true, resetMs: 8 }],
    ['silent', SILENT, { kind: 'silent', tooMany: false }],
    ['a silent 429', { kind: 'silent', tooMany: true }, { kind: 'silent', tooMany: true }],
    ['nonsense', { kind: 'nonsense', tooMany: false }, { kind: 'nonsense', tooMany: false }],
    ['a 429 of nonsense', { kind: 'nonsense', tooMany: true }, { kind: 'nonsense', tooMany: true }]
  ]
  for (const [name, told, heard] of rows) t.strictSame(learn(JSON.parse(JSON.stringify(teach(told, START))) as Taught, 0), heard, name)
})

t.test('leases of a worker: asked for by the pace of calls, used in order, given back when they have lain too long', async t => {
  const asked: [number, number][] = []
  const back: number[] = []
  const leases = new Leases({ ask: (shape, count) => { asked.push([shape, count]) }, giveBack: id => { back.push(id) } })
  const of = call(plan())
  const take = (now: number, shape = 1, one = of): number | undefined => leases.take(shape, one, START + now)
  t.equal(take(0), undefined)
  t.strictSame(asked, [], 'one call is no pace')
  take(250)
  t.strictSame(asked, [], 'nor are two in a quarter of a second')
  take(250)
  t.strictSame(asked, [[1, 2]])
  take(250)
  t.strictSame(asked, [[1, 2]], 'an answer is awaited')
  leases.granted(1, 10, 0, START + 260)
  t.notOk(leases.any)
  take(309)
  t.equal(asked.length, 1, 'refused: not again at once')
  take(310)
  t.strictSame(asked[1], [1, 4])
  leases.granted(1, 20, 4, START + 320)
  t.ok(leases.any)
  t.strictSame([take(320), take(320)], [20, 21])
  t.equal(asked.length, 2 + 1, 'half of them are gone')
  t.strictSame(asked[2], [1, 3])
  leases.granted(1, 30, 3, START + 330)
  t.strictSame([take(330), take(330)], [22, 23])
  leases.granted(9, 40, 2, START + 330)
  t.strictSame(back.splice(0), [40, 41], 'nobody asks for that shape any more')
  leases.expire(START + 829)
  t.strictSame(back, [])
  leases.expire(START + 830)
  t.strictSame(back.splice(0), [30, 31, 32])
  t.notOk(leases.any)

  const many = new Leases({ ask: (shape, count) => { asked.push([shape, count]) }, giveBack: id => { back.push(id) } })
  for (let i = 0; i < 300; i++) many.take(2, of, START)
  many.granted(2, 100, 2, START)
  many.take(2, of, START)
  t.strictSame(asked.at(-1), [2, 126], 'never more than 128')
  many.granted(2, 200, 126, START)
  many.clear()
  t.equal(back.splice(0).length, 127)
  many.take(2, of, START + 1)
  many.take(2, of, START + 1)
  t.strictSame(asked.at(-1), [2, 2], 'the pace begins anew')
})

t.test('leases of a worker: a shape that is not heard of for ten seconds is forgotten', async t => {
  const asked: number[] = []
  const back: number[] = []
  const leases = new Leases({ ask: (_, count) => { asked.push(count) }, giveBack: id => { back.push(id) } })
  const of = call(plan())
  leases.take(1, of, START)
  leases.take(1, of, START)
  leases.expire(START + 20_000)
  leases.granted(1, 10, 2, START + 20_000)
  t.strictSame(back, [], 'not while its answer is awaited')
  leases.expire(START + 20_499)
  t.strictSame(back, [])
  leases.expire(START + 20_500)
  t.strictSame(back.splice(0), [10, 11])
  leases.granted(1, 20, 1, START + 20_500)
  t.strictSame(back, [20], 'gone')
  leases.take(2, of, START)
  leases.take(2, of, START)
  leases.granted(2, 30, 0, START)
  leases.expire(START + 10_000)
  leases.granted(2, 30, 1, START + 10_000)
  t.strictSame(back, [20], 'ten seconds, not less')
})

t.test('leases of a worker: what is wanted back is what counts there', async t => {
  const scopes: [LeaseScope, number[]][] = [
    [{}, [1, 2, 3, 4]],
    [{ upstream: 'default' }, [1, 2, 3]],
    [{ upstream: 'default', bucket: '/api/v1/users' }, [1, 2]],
    [{ upstream: 'default', bucket: '/api/v1/users', client: 'b' }, [2]],
    [{ upstream: 'nowhere' }, []],
    [{ bucket: 'other' }, [3]],
    [{ client: 'a' }, [1, 3, 4]]
  ]
  for (const [scope, expected] of scopes) {
    const back: number[] = []
    const leases = new Leases({ ask: () => {}, giveBack: id => { back.push(id) } })
    const calls = [call(plan()), call(plan(), { client: 'b' }), call(plan({ bucket: 'other' })), call(plan({ upstream: 'second' }))]
    calls.forEach((one, i) => { leases.take(i, one, START); leases.granted(i, i + 1, 1, START) })
    leases.recall(scope)
    t.strictSame(back, expected, JSON.stringify(scope))
    t.equal(leases.any, expected.length < 4)
  }
})

/** A worker as the book sees it. */
class Worker implements Lessee {
  readonly heard: [number, LeaseScope][] = []
  recall (number: number, scope: LeaseScope): void { this.heard.push([number, scope]) }
}

t.test('the book of leases: asked back from all workers before a call is refused, once, and for a tenth of a second at most', async t => {
  const clock = new Clock()
  const book = new LeaseBook(clock.later)
  const [one, two] = [new Worker(), new Worker()]
  const of = shapeOf(call(plan()))
  const users = { upstream: 'default', bucket: '/api/v1/users' }
  book.join(one)
  book.join(one)
  book.join(two)
  const settled = (promise: Promise<void> | undefined): { done: boolean } => { const is = { done: false }; promise!.then(() => { is.done = true }, () => {}); return is }
  const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

  t.equal(book.recall(of, 'bucket', START), undefined, 'nothing was leased')
  book.leased(of)
  for (const by of ['user', 'closed', 'store'] as const) t.equal(book.recall(of, by, START), undefined, `${by}: leases have no part in it`)
  t.equal(book.recall({ ...of, plan: plan({ bucket: 'other' }) }, 'bucket', START), undefined, 'not of that bucket')
  t.equal(book.recall({ ...of, client: 'b' }, 'share', START), undefined, 'not of that client')
  for (const by of ['bucket', 'share'] as const) for (const more of [{ upstream: 'other' }, { bucket: 'other' }]) t.equal(book.recall({ ...of, plan: plan(more) }, by, START), undefined)
  const first = book.recall(of, 'bucket', START)
  t.strictSame([one.heard, two.heard], [[[1, users]], [[1, users]]])
  const second = book.recall(of, 'bucket', START)
  t.equal(one.heard.length, 1, 'one recall for all who wait')
  const [a, b] = [settled(first), settled(second)]
  book.returned(one, 7)
  book.returned(one, 1)
  book.returned(one, 1)
  await soon()
  t.notOk(a.done, 'the other has not answered')
  book.returned(two, 1)
  await soon()
  t.ok(a.done && b.done)
  t.equal(book.recall(of, 'bucket', START), undefined, 'all of it is back')

  book.leased(of)
  book.leased(shapeOf(call(plan(), { client: 'b' })))
  const share = settled(book.recall(of, 'share', START))
  t.strictSame(one.heard.at(-1), [2, { ...users, client: 'a' }])
  clock.advance(99)
  await soon()
  t.notOk(share.done)
  clock.advance(1)
  await soon()
  t.ok(share.done, 'who says nothing is not waited for')
  t.equal(book.recall(of, 'rule', START), undefined, 'its own are back')
  const rest = settled(book.recall({ ...of, client: 'b' }, 'rule', START))
  t.strictSame(one.heard.at(-1), [3, { ...users, client: 'b' }])
  book.returned(one, 3)
  book.leave(two)
  await soon()
  t.ok(rest.done, 'who is gone is not waited for')
  t.equal(two.heard.length, 3)
})

t.test('the book of leases: what is told of places in flight is known for five milliseconds', async t => {
  const book = new LeaseBook(new Clock().later)
  const of = shapeOf(call(plan()))
  for (const [ms, asks] of [[0, true], [4, false], [5, true], [9, false], [10, true]] as const) {
    const asked = book.recall(of, 'concurrency', START + ms)
    t.equal(asked !== undefined, asks, `after ${ms} ms`)
    await asked
  }
})

t.test('the book of leases: places in flight, what Okta says, and nobody there', async t => {
  const clock = new Clock()
  const book = new LeaseBook(clock.later)
  const worker = new Worker()
  const of = shapeOf(call(plan()))
  const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }
  book.leased(of)
  await book.recall(of, 'bucket', START)
  book.join(worker)
  const fresh = book.recall(of, 'concurrency', START)
  t.ok(fresh, 'calls that are over may not have been told yet')
  t.strictSame(worker.heard.at(-1)![1], { upstream: 'default' })
  book.returned(worker, worker.heard.at(-1)![0])
  await fresh
  t.equal(book.recall(of, 'concurrency', START + 4), undefined, 'that was told just now')
  t.ok(book.recall(shapeOf(call(plan({ upstream: 'second' }))), 'concurrency', START + 4), 'not of that upstream')
  const later = book.recall(of, 'concurrency', START + 5)
  t.ok(later)
  book.returned(worker, worker.heard.at(-1)![0])
  await later
  book.leased(of)
  const leased = book.recall(of, 'concurrency', START + 6)
  t.ok(leased, 'what was leased since is asked back')
  book.returned(worker, worker.heard.at(-1)![0])
  await leased
  t.equal(book.recall(of, 'bucket', START + 6), undefined, 'and with it what counts in a bucket')

  book.leased(of)
  const heard = worker.heard.length
  book.recallAll()
  t.strictSame(worker.heard.slice(heard).map(([, scope]) => scope), [{}], 'a 429: everything')
  t.equal(book.recall(of, 'bucket', START + 6), undefined)
  book.recallBucket(of, START + 6)
  t.equal(worker.heard.length, heard + 1)
  book.leased(of)
  book.recallBucket(of, START + 6)
  t.strictSame(worker.heard.slice(heard + 1).map(([, scope]) => scope), [{ upstream: 'default', bucket: '/api/v1/users' }])
  clock.advance(1000)
  await soon()
})

/** A store that writes down what it is asked, and answers as it is told. */
class Told implements LimitStore {
  readonly said: unknown[][] = []
  answer: Admission | Promise<Admission> = { kind: 'admitted', ticket: { kind: 'admitted' } }
  views: Promise<readonly UpstreamView[]> = Promise.resolve([])
  reserve (call: LimitCall, now: number): Admission | Promise<Admission> { this.said.push(['reserve', call, now]); return this.answer }
  settle (_: Ticket, observation: Observation | undefined, now: number): void { this.said.push(['settle', observation, now]) }
  release (_: Ticket, now: number): void { this.said.push(['release', now]) }
  cancel (_: Ticket, now: number): void { this.said.push(['cancel', now]) }
  async snapshot (): Promise<readonly UpstreamView[]> { return await this.views }
  async close (): Promise<void> {}
}

t.test('the primary\'s desk: what a worker says, and what it is told', async t => {
  const clock = new Clock()
  const store = new Told()
  const answers: RelayAnswer[] = []
  const desk = new LimitDesk(store, () => clock.now, answer => { answers.push(answer) })
  const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }
  const shape = shapeOf(call(plan(), { rule: { id: 'r', perMinute: 3 }, floor: 0.1, level: 0, share: 0.5, client: 'c' }))
  t.throws(() => { desk.take(['reserve', 1, 7, null, null]) }, /has not defined/)
  desk.take(['define', 7, shape])
  desk.take(['reserve', 1, 7, 'hash', 500, 1])
  t.match(store.said.pop(), ['reserve', { ...shape, user: 'hash', waitMs: 500, again: true, signal: { aborted: false } }, START])
  t.strictSame(answers.pop(), ['admitted', 1])
  desk.take(['reserve', 2, 7, null, null])
  t.match(store.said.pop(), ['reserve', { user: undefined, waitMs: undefined, again: false }, START])
  desk.take(['settle', 1, [2, 0]])
  t.strictSame(store.said.pop(), ['settle', SILENT, START])
  desk.take(['release', 1])
  t.strictSame(store.said.pop(), ['release', START])
  desk.take(['release', 1])
  desk.take(['settle', 1, [2, 0]])
  desk.take(['done', 1, [2, 0]])
  desk.take(['cancel', 1])
  t.strictSame(store.said.splice(0), [], 'it is over')
  clock.advance(10)
  desk.take(['done', 2, [0, 0, 10, 9, 500]])
  t.strictSame(store.said.splice(0), [['settle', { kind: 'window', tooMany: false, limit: 10, remaining: 9, resetMs: START + 510 }, START + 10], ['release', START + 10]])
  desk.take(['reserve', 3, 7, null, null])
  clock.now = START - 5000
  desk.take(['cancel', 3])
  t.strictSame(store.said.slice(1), [['cancel', START + 10]], 'a clock that went back is held')
  clock.now = START + 20
  store.answer = refuse('share', START + 500, 4, START)
  answers.length = 0
  desk.take(['reserve', 4, 7, null, null])
  t.strictSame(answers, [['refused', 4, 'share', 480, 4]], 'in milliseconds from now')
  store.answer = Promise.resolve(store.answer)
  desk.take(['reserve', 5, 7, null, null])
  t.strictSame(answers.splice(1), [['waits', 5]])
  await soon()
  t.strictSame(answers.splice(1), [['refused', 5, 'share', 480, 4]])
  store.answer = Promise.reject(new Error('the store fails'))
  desk.take(['reserve', 6, 7, null, null])
  await soon()
  t.strictSame(answers.splice(1), [['waits', 6], ['refused', 6, 'store', 1000, 0]])
  let answer = (_: Admission): void => {}
  store.answer = new Promise(resolve => { answer = resolve })
  desk.take(['reserve', 8, 7, null, 500])
  const waiting = store.said.at(-1)![1] as LimitCall
  desk.take(['left', 9])
  t.equal(waiting.signal!.aborted, false)
  desk.take(['left', 8])
  t.equal(waiting.signal!.aborted, true)
  answer({ kind: 'admitted', ticket: { kind: 'admitted' } })
  await soon()
  t.strictSame(answers.splice(1), [['waits', 8], ['admitted', 8]], 'the worker gives it back')
  desk.take(['lease', 7, 100, 5])
  t.strictSame(answers.splice(1), [['leased', 7, 100, 0]], 'a store that does not lend')
  desk.take(['view', 20])
  await soon()
  t.strictSame(answers.splice(1), [['viewed', 20, []]])
  store.views = Promise.reject(new Error('the store fails'))
  desk.take(['view', 21])
  await soon()
  t.strictSame(answers.splice(1), [['viewed', 21, []]])
  desk.take(['forget'])
  t.throws(() => { desk.take(['reserve', 22, 7, null, null]) }, /has not defined/)
  desk.take(['recalled', 1])
  desk.recall(4, { upstream: 'u' })
  t.strictSame(answers.splice(1), [['recall', 4, 'u', null, null]])

  store.said.length = 0
  desk.leave()
  t.strictSame(store.said, [['release', START + 20]], 'what was in flight when it died')
})

t.test('the primary\'s desk: what a dead worker had asked for takes nothing', async t => {
  const clock = new Clock()
  const store = new Told()
  const answers: RelayAnswer[] = []
  const desk = new LimitDesk(store, () => clock.now, answer => { answers.push(answer) })
  let answer = (_: Admission): void => {}
  store.answer = new Promise(resolve => { answer = resolve })
  desk.take(['define', 1, shapeOf(call(plan()))])
  desk.take(['reserve', 1, 1, null, 500])
  desk.leave()
  t.equal((store.said.at(-1)![1] as LimitCall).signal!.aborted, true)
  answer({ kind: 'admitted', ticket: { kind: 'admitted' } })
  await new Promise(resolve => { setImmediate(resolve) })
  t.strictSame(store.said.slice(1), [['cancel', START]])
  t.strictSame(answers, [['waits', 1]])
})

t.test('the primary\'s desk: before a call is refused, what lies with workers is asked back', async t => {
  const clock = new Clock()
  const store = new Told()
  const book = new LeaseBook(clock.later)
  const answers: RelayAnswer[] = []
  const worker = new Worker()
  const desk = new LimitDesk(store, () => clock.now, answer => { answers.push(answer) }, book)
  const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }
  const shape = shapeOf(call(plan()))
  book.join(worker)
  desk.take(['define', 1, shape])
  const lend = (): void => { book.leased(shape) }
  const back = (): void => { for (const [number] of worker.heard) { book.returned(worker, number); desk.take(['recalled', number]) } }

  lend()
  store.answer = refuse('bucket', START + 500, 4, START)
  desk.take(['reserve', 1, 1, null, null])
  t.strictSame(answers.splice(0), [['recall', 1, 'default', '/api/v1/users', null]], 'this worker is asked, too, and no answer yet')
  store.answer = { kind: 'admitted', ticket: { kind: 'admitted' } }
  back()
  await soon()
  t.strictSame(answers.splice(0), [['admitted', 1]])
  t.match(store.said.splice(0), [['reserve', {}], ['reserve', { again: true }]])

  lend()
  store.answer = refuse('bucket', START + 500, 4, START)
  desk.take(['reserve', 2, 1, null, null])
  desk.take(['left', 2])
  answers.length = 0
  back()
  await soon()
  t.strictSame(answers.splice(0), [['refused', 2, 'bucket', 500, 4]], 'its client has left: it is not tried again')
  t.equal(store.said.splice(0).length, 1)

  lend()
  desk.take(['reserve', 3, 1, null, null])
  answers.length = 0
  store.answer = Promise.resolve(refuse('bucket', START + 700, 4, START))
  back()
  await soon()
  t.strictSame(answers.splice(0), [['waits', 3], ['refused', 3, 'bucket', 700, 4]])

  store.answer = { kind: 'admitted', ticket: { kind: 'admitted' } }
  desk.take(['reserve', 4, 1, null, null])
  desk.take(['reserve', 5, 1, null, null])
  const heard = worker.heard.length
  lend()
  desk.take(['settle', 4, [0, 0, 600, 100, 5000]])
  t.equal(worker.heard.length, heard)
  desk.take(['settle', 4, [0, 0, 600, 99, 5000]])
  t.strictSame(worker.heard.at(-1)![1], { upstream: 'default', bucket: '/api/v1/users' }, 'Okta says that little is left')
  desk.take(['settle', 4, [2, 0]])
  t.equal(worker.heard.length, heard + 1)
  desk.take(['done', 5, [1, 1, 0, 0, 5000]])
  t.strictSame(worker.heard.at(-1)![1], {}, 'a 429')

  back()
  await soon()
  lend()
  store.answer = refuse('bucket', START + 500, 4, START)
  desk.take(['reserve', 6, 1, null, null])
  t.match(answers.at(-1), ['recall'])
  store.said.length = answers.length = 0
  desk.leave()
  back()
  await soon()
  t.strictSame([store.said.filter(([kind]) => kind === 'reserve'), answers], [[], []], 'it died meanwhile')
})

t.test('the primary\'s desk: what is lent is written down, and nothing is where nobody keeps that book', async t => {
  const clock = new Clock()
  const of = call(plan({ configuredOrg: 2000 }))
  const shape = shapeOf(of)
  const lend = (store: LimitStore, book?: LeaseBook): RelayAnswer => {
    const answers: RelayAnswer[] = []
    const desk = new LimitDesk(store, () => clock.now, answer => { answers.push(answer) }, book)
    desk.take(['define', 1, shape])
    desk.take(['lease', 1, 10, 5])
    return answers[0]!
  }
  const store = new MemoryStore(clock.later)
  store.release(ticketOf(store.reserve(of, START) as Admission), START)
  store.settle(ticketOf(store.reserve(of, START) as Admission), SILENT, START)
  t.strictSame([lend(store), lend(new Told(), new LeaseBook(clock.later))], [['leased', 1, 10, 0], ['leased', 1, 10, 0]])
  t.match(store.snapshot(START), [{ buckets: [{ inFlight: 0 }] }])
  const book = new LeaseBook(clock.later)
  t.equal(book.recall(shape, 'bucket', START), undefined)
  t.strictSame(lend(store, book), ['leased', 1, 10, 5])
  t.match(store.snapshot(START), [{ buckets: [{ inFlight: 5 }] }])
  t.ok(book.recall(shape, 'bucket', START), 'and can be asked back')
})

/** A worker's store, what it says, and answers of a primary that are written by hand. */
function written (lazy: boolean): { worker: RelayedStore, said: RelayStep[], clock: Clock } {
  const clock = new Clock()
  const said: RelayStep[] = []
  const worker = new RelayedStore({ push: step => { said.push(JSON.parse(JSON.stringify(step)) as RelayStep) }, later: clock.later, clock: () => clock.now, lazy })
  return { worker, said, clock }
}

t.test('a worker tells each shape once, and what differs is another shape', async t => {
  const { worker, said } = written(false)
  const of = plan()
  const calls = [call(of), call(of, { client: 'b' }), call(of, { rule: { id: 'r', perMinute: 1 } }), call(of, { rule: { id: 'r', perMinute: 2 } }), call(of, { credential: 'none' }), call(of, { share: 0.5 }), call(of, { floor: 0.1 }), call(of, { floor: 0.2 }), call(of, { level: 1 }), call(of, { level: 2 }), call(plan())]
  for (const one of [...calls, ...calls]) worker.reserve(one, START)
  t.strictSame(said.filter(([kind]) => kind === 'define').map(([, id]) => id), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  t.strictSame(said.filter(([kind]) => kind === 'reserve').map(step => step[2]), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  worker.reserve(call(of, { user: 'hash', waitMs: 700, again: true }), START)
  t.strictSame(said.at(-1), ['reserve', 23, 1, 'hash', 700, 1])
  worker.reserve(call(of), START)
  t.strictSame(said.at(-1), ['reserve', 24, 1, null, null])
  await worker.close(START)
})

t.test('a worker tells the end of a call once', async t => {
  for (const lazy of [false, true]) {
    const { worker, said, clock } = written(lazy)
    const go = async (id: number): Promise<Ticket> => {
      const asked = worker.reserve(call(plan(), { again: true }), clock.now)
      worker.hear(['admitted', id])
      return ticketOf(await asked)
    }
    const told = (): RelayStep[] => { clock.advance(5); return said.splice(0).filter(([kind]) => kind !== 'define' && kind !== 'reserve') }
    const settled = await go(1)
    worker.settle(settled, SILENT, clock.now)
    worker.settle(settled, undefined, clock.now)
    worker.release(settled)
    worker.release(settled)
    worker.cancel(settled)
    t.strictSame(told(), lazy ? [['done', 1, [2, 0]]] : [['settle', 1, [2, 0]], ['release', 1]])
    const slow = await go(2)
    worker.settle(slow, SILENT, clock.now)
    t.strictSame(told(), [['settle', 2, [2, 0]]])
    worker.cancel(slow)
    t.strictSame(told(), [['release', 2]], 'what was sent can not be taken back')
    const unsent = await go(3)
    worker.cancel(unsent)
    worker.cancel(unsent)
    worker.release(unsent)
    worker.settle(unsent, SILENT, clock.now)
    t.strictSame(told(), [['cancel', 3]])
    const bare = await go(4)
    worker.release(bare)
    worker.settle(bare, SILENT, clock.now)
    t.strictSame(told(), [['release', 4]])
    const refused = await go(5)
    worker.settle(refused, answer(clock.now, 429, 0, 0, clock.now + 30_000), clock.now)
    t.equal(said.at(-1)![0], 'settle', 'a 429 is told at once')
    told()
    t.throws(() => { written(lazy).worker.release(refused) }, /another store/)
  }
})

t.test('a worker tells what nobody waits for within five milliseconds, or when it is much, and before what it asks', async t => {
  const { worker, said, clock } = written(true)
  const tickets: Ticket[] = []
  for (let i = 1; i <= 131; i++) {
    const asked = worker.reserve(call(plan(), { again: true }), clock.now)
    worker.hear(['admitted', i])
    tickets.push(ticketOf(await asked))
  }
  said.length = 0
  const [first, second, ...rest] = tickets
  worker.release(first!)
  clock.advance(4)
  t.equal(said.length, 0)
  clock.advance(1)
  t.strictSame(said.splice(0), [['release', 1]])
  worker.release(second!)
  worker.reserve(call(plan(), { again: true }), clock.now)
  t.strictSame(said.splice(0).map(([kind]) => kind), ['release', 'define', 'reserve'])
  rest.slice(0, 127).forEach(one => { worker.release(one) })
  t.equal(said.length, 0)
  worker.release(rest[127]!)
  t.equal(said.length, 128)
  await worker.close(clock.now)
})

t.test('a worker uses what was leased to it, and gives it back when it is wanted', async t => {
  const { worker, said, clock } = written(true)
  const of = call(plan())
  const pushed = (): RelayStep[] => { clock.advance(5); return said.splice(0).filter(([kind]) => kind !== 'define') }
  worker.reserve(of, START)
  worker.reserve(of, START)
  // The slots' ids are taken before the call's own.
  t.strictSame(pushed(), [['reserve', 1, 1, null, null], ['lease', 1, 2, 2], ['reserve', 4, 1, null, null]])
  worker.hear(['leased', 1, 2, 2])
  for (const more of [{ user: 'hash' }, { again: true }, { signal: { aborted: true } }]) {
    const before = said.length
    worker.reserve({ ...of, ...more }, clock.now)
    t.ok(said.length > before, `asked for by itself: ${Object.keys(more).join('')}`)
  }
  said.length = 0
  const leased = worker.reserve(of, clock.now)
  if (leased instanceof Promise) return t.fail('it is asked for')
  worker.settle(ticketOf(leased), answer(clock.now, 200, 600, 100, clock.now + 30_000), clock.now)
  t.strictSame(said, [], 'a hundred are left')
  const other = await Promise.race([Promise.resolve(worker.reserve({ ...of, signal: { aborted: false } }, clock.now))])
  worker.settle(ticketOf(other), answer(clock.now, 200, 600, 99, clock.now + 30_000), clock.now)
  pushed()
  worker.hear(['leased', 1, 20, 3])
  const third = worker.reserve(of, clock.now) as Admission
  worker.settle(ticketOf(third), answer(clock.now, 200, 600, 99, clock.now + 30_000), clock.now)
  t.ok(said.some(([kind]) => kind === 'cancel'), 'less than a hundred: what lies here goes back at once')
  pushed()
  worker.hear(['leased', 1, 30, 2])
  worker.hear(['recall', 5, 'default', '/api/v1/groups', null])
  t.strictSame(said.splice(0), [['recalled', 5]], 'nothing of that bucket')
  worker.hear(['recall', 6, 'default', '/api/v1/users', null])
  t.strictSame(said.splice(0), [['cancel', 30], ['cancel', 31], ['recalled', 6]], 'before it is said that all is back')
  worker.hear(['leased', 1, 40, 1])
  const cancelled = (): RelayStep[] => said.splice(0).filter(([kind]) => kind === 'cancel')
  clock.advance(499)
  t.strictSame(cancelled(), [])
  clock.advance(256)
  t.strictSame(cancelled(), [['cancel', 40]], 'it has lain too long')
  worker.hear(['leased', 1, 50, 1])
  worker.snapshot().catch(() => {})
  t.strictSame(said.splice(0).map(([kind]) => kind), ['cancel', 'view'], 'a view shows what is used')
  worker.reserve(of, clock.now)
  worker.reserve(of, clock.now)
  worker.hear(['leased', 1, 60, 1])
  said.length = 0
  await worker.close(clock.now)
  t.strictSame(said[0], ['cancel', 60])
})

t.test('a worker looks at its clock only while something is awaited or lies with it', async t => {
  const { worker, clock } = written(false)
  t.equal(clock.pending, 0)
  worker.reserve(call(plan()), START)
  worker.reserve(call(plan()), START)
  t.equal(clock.pending, 1)
  worker.hear(['refused', 1, 'share', 1, 1])
  worker.hear(['refused', 2, 'share', 1, 1])
  clock.advance(200)
  t.equal(clock.pending, 0, 'nothing is asked for')
  const lazy = written(true)
  const of = call(plan())
  lazy.worker.reserve(of, START)
  lazy.worker.reserve(of, START)
  for (const first of [1, 2]) lazy.worker.hear(['refused', first === 1 ? 1 : 4, 'share', 1, 1])
  lazy.clock.advance(200)
  lazy.worker.hear(['leased', 1, 2, 1])
  lazy.worker.hear(['leased', 1, 3, 1])
  t.equal(lazy.clock.pending, 1, 'one timer for what lies here')
  lazy.clock.advance(1000)
  t.equal(lazy.clock.pending, 0, 'nothing lies here')
  lazy.worker.hear(['leased', 1, 5, 0])
  t.equal(lazy.clock.pending, 0)
})

t.test('a worker and odd words of its primary', async t => {
  const plain = written(false)
  plain.worker.reserve(call(plan()), START)
  plain.worker.snapshot().catch(() => {})
  plain.worker.reserve(call(plan()), START)
  t.strictSame(plain.said.filter(([kind]) => kind !== 'define').map(([kind, id]) => [kind, id]), [['reserve', 1], ['view', 2], ['reserve', 3]], 'each has its own number')
  plain.said.length = 0
  plain.worker.hear(['viewed', 99, []])
  plain.worker.hear(['leased', 1, 10, 2])
  plain.worker.hear(['recall', 4, null, null, null])
  t.strictSame(plain.said, [['recalled', 4]], 'it has leased nothing')
  await plain.worker.close(START)
  const { worker, said, clock } = written(true)
  const of = call(plan())
  worker.reserve(of, START)
  worker.reserve(of, START)
  worker.hear(['leased', 1, 10, 2])
  worker.settle(ticketOf(worker.reserve(of, START) as Admission), undefined, START)
  clock.advance(5)
  said.length = 0
  worker.hear(['recall', 5, 'elsewhere', null, null])
  t.strictSame(said.splice(0), [['recalled', 5]], 'nothing of that upstream')
  worker.hear(['recall', 6, null, null, 'nobody'])
  worker.hear(['recall', 7, null, 'other', null])
  t.strictSame(said.splice(0), [['recalled', 6], ['recalled', 7]])
  worker.hear(['recall', 8, 'default', '/api/v1/users', 'a'])
  t.strictSame(said, [['cancel', 11], ['recalled', 8]])
  await worker.close(START)
})

t.test('a worker waits for a primary that has said that it will take its time, and no longer', async t => {
  const { worker, said, clock } = written(false)
  const of = call(plan(), { waitMs: 7000 })
  const outcome = (asked: Admission | Promise<Admission>): { is?: Admission } => { const said: { is?: Admission } = {}; (asked as Promise<Admission>).then(is => { said.is = is }, t.error); return said }
  const pass = async (ms: number): Promise<void> => { for (const end = clock.now + ms; clock.now < end;) { clock.advance(Math.min(100, end - clock.now)); await new Promise(resolve => { setImmediate(resolve) }) } }
  const quick = written(false)
  const never = outcome(quick.worker.reserve(call(plan()), START))
  for (const [ms, over] of [[1000, false], [1199, false], [1200, true]] as const) {
    quick.clock.advanceTo(START + ms)
    await new Promise(resolve => { setImmediate(resolve) })
    t.equal(never.is !== undefined, over, 'an answer that lies in the socket is waited for')
  }
  t.notOk(quick.worker.reserve(call(plan()), quick.clock.now) instanceof Promise)
  quick.clock.advanceTo(START + 2199)
  t.notOk(quick.worker.reserve(call(plan()), quick.clock.now) instanceof Promise)
  quick.clock.advanceTo(START + 2200)
  t.ok(quick.worker.reserve(call(plan()), quick.clock.now) instanceof Promise, 'a second later it is asked again')
  await quick.worker.close(START)
  const short = outcome(worker.reserve(call(plan()), START))
  const long = outcome(worker.reserve(of, START))
  await pass(900)
  worker.hear(['waits', 1])
  worker.hear(['waits', 2])
  await pass(5900)
  t.strictSame([short.is, long.is], [undefined, undefined])
  await pass(300)
  t.equal(short.is, undefined)
  await pass(300)
  t.match(short.is, { kind: 'refused', by: 'store', wait: { limit: 0 } }, 'five seconds and one, and a look more')
  t.strictSame(said.at(-1), ['left', 1])
  t.match(worker.reserve(call(plan()), clock.now), { kind: 'refused', by: 'store' }, 'a primary that is silent is not asked')
  worker.hear(['refused', 2, 'share', 300, 5])
  await pass(0)
  t.match(await Promise.resolve(long.is), { kind: 'refused', by: 'share', wait: { untilMs: clock.now + 300, limit: 5 } })
  const gone = { aborted: false }
  const left = outcome(worker.reserve(call(plan(), { signal: gone }), clock.now))
  gone.aborted = true
  await pass(200)
  t.strictSame(said.at(-1), ['left', 3])
  await pass(200)
  t.equal(said.filter(([kind]) => kind === 'left').length, 2, 'told once')
  worker.hear(['admitted', 3])
  await pass(100)
  t.match(left.is, { kind: 'refused', by: 'concurrency' })
  t.strictSame(said.at(-1), ['cancel', 3], 'its client has left')
  worker.hear(['admitted', 99])
  t.strictSame(said.at(-1), ['cancel', 99], 'nobody waits for that')
  const before = said.length
  worker.hear(['refused', 98, 'share', 1, 1])
  t.equal(said.length, before)
  const closing = outcome(worker.reserve(call(plan()), clock.now))
  await worker.close(clock.now)
  await pass(0)
  await new Promise(resolve => { setImmediate(resolve) })
  t.match(closing.is, { kind: 'refused', by: 'concurrency' })
})

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
  const of = plan({ configuredOrg: 1_000_000 })
  const make = async (client: string): Promise<void> => { worker.release(ticketOf(await worker.reserve(call(of, { client }), clock.now))) }
  const count = (wanted: string): number => line.said.filter(([kind]) => kind === wanted).length
  for (let i = 0; i < 20_010; i++) await make(`c${i}`)
  t.strictSame([count('forget'), count('define')], [1, 20_010])
  await make('c20000')
  t.equal(count('define'), 20_010, 'the first that was told anew is known')
  await make('c0')
  t.equal(count('define'), 20_011)
})
