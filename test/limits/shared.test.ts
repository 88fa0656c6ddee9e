import t from 'tap'
import { Batches } from '../../src/limits/batches.js'
import { MemoryStore } from '../../src/limits/memory.js'
import { PROBE_QUEUE } from '../../src/limits/probe.js'
import type { Line, SharedOptions, StoreEvent } from '../../src/limits/shared-call.js'
import { SharedStore } from '../../src/limits/shared.js'
import type { Admission, BucketPlan, LimitCall, Ticket } from '../../src/limits/store.js'
import { cancelStep, joinStep, readBeat, readReserved, readView, reserveStep, settleStep, type Step } from '../../src/limits/wire.js'
import { answer, call, Clock, plan, refusalOf, SILENT, START, ticketOf } from './world.js'

// The gate's side of the shared store, over a store whose answers are written here. Over a real one: redis.test.ts.

const soon = async (): Promise<void> => { await new Promise(resolve => { setImmediate(resolve) }) }

t.test('a reservation, its end and its answer, as the script of the store reads them', async t => {
  const bare = call(plan())
  const full = call(plan({ configuredOrg: 30, ceiling: 0.4, credentialShare: 0.25, concurrency: 20 }), { credential: 'none', client: 'c', share: 0.3, rule: { id: 'r', perMinute: 7 }, floor: 0.1, level: 0, user: 'hash', again: true })
  t.strictSame(reserveStep(1, bare, false, 0), ['r', 1, '/api/v1/users', 'u', 'a', 1, '', 0, 0, 20, 0.5, 0.5, 500, 0, 1, '', 0, 0, 0])
  t.strictSame(reserveStep(2, full, true, 9), ['r', 2, '/api/v1/users', 'n', 'c', 0.3, 'r', 7, 1, 30, 0.4, 0.25, 8, 0.1, 0, 'hash', 1, 9, 1])
  t.equal(reserveStep(3, { ...bare, credential: 'authnToken' }, false, 0)[3], 't')
  t.strictSame(cancelStep(1, bare), ['x', 1, '/api/v1/users', 'u', 'a', '', ''])
  t.strictSame(cancelStep(2, full), ['x', 2, '/api/v1/users', 'n', 'c', 'r', 'hash'])
  const settled = (observation: Parameters<typeof settleStep>[3]): unknown[] => settleStep(2, full, START + 0.6, observation, 1000.4).slice(1)
  const rest = [1, 30, 0.4, 0.25, 8]
  t.strictSame(settled(undefined), [2, '/api/v1/users', 'n', 'c', 'r', 'hash', START + 1, 0, 0, 0, 0, 0, ...rest])
  t.strictSame(settled(SILENT).slice(7), [3, 0, 0, 0, 0, ...rest])
  t.strictSame(settled({ kind: 'silent', tooMany: true }).slice(7), [3, 1, 0, 0, 0, ...rest])
  t.strictSame(settled({ kind: 'nonsense', tooMany: false }).slice(7), [4, 0, 0, 0, 0, ...rest])
  t.strictSame(settled({ kind: 'window', tooMany: true, limit: 30, remaining: 0, resetMs: START + 0.2 }).slice(7), [1, 1, 30, 0, START + 1001, ...rest])
  t.strictSame(settled({ kind: 'concurrency', tooMany: true, resetMs: START }).slice(7), [2, 1, 0, 0, START + 1000, ...rest])

  t.strictSame([1, 3, 4].map(code => readReserved([code, 5, 2, 10, 'bucket', 0, 0])), ['admitted', 'wait', 'regroup'].map(kind => ({ reserved: { kind }, used: 5, othersInFlight: 2, allowance: 10 })))
  t.strictSame(readReserved([2, 5, 2, 10, 'share', START, 3]), { reserved: { kind: 'refused', by: 'share', untilMs: START, limit: 3 }, used: 5, othersInFlight: 2, allowance: 10 })
  t.strictSame(readBeat([['a'], [['b', 1, 2, 3, 4, 5, 6]], 2]), { gates: ['a'], count: 2, buckets: [{ bucket: 'b', used: 1, othersInFlight: 2, allowance: 3, learnedOrg: 4, closedUntilMs: 5, closedAnonymousUntilMs: 6 }] })
  t.strictSame(readBeat([['a'], {} as never, 1]).buckets, [], 'Lua\'s empty list')
})

t.test('what a gate tells a store that it joins: all that it holds, on the store\'s clock', async t => {
  const store = new MemoryStore(new Clock().later)
  const joining = { newEpoch: 'new', epoch: 'old', peers: ['a', 'b'], since: 5, sent: [[7, 8]] as const, patienceMs: 2000 }
  t.strictSame(joinStep(joining, store.inside('default'), START, 100), ['j', 'new', 'old', ['a', 'b'], 5, [['', [], 0]], [], 2000, [[7, 8]]])
  const of = call(plan({ configuredOrg: 40 }), { rule: { id: 'r', perMinute: 9 } })
  for (const [now, observation] of [[START, SILENT], [START + 10.4, answer(START, 200, 20, 12, START + 30_000)]] as const) {
    const ticket = ticketOf(store.reserve(of, now) as Admission)
    store.settle(ticket, observation, now)
    store.release(ticket, now)
  }
  store.reserve(of, START + 20)
  store.reserve(call(plan({ bucket: 'other' }), { credential: 'none', client: 'b' }), START + 20)
  const spent = ticketOf(store.reserve(call(plan({ bucket: 'shut' })), START + 20) as Admission)
  store.settle(spent, answer(START, 429, 12, 0, START + 5000), START + 20)
  store.cancel(ticketOf(store.reserve(call(plan({ bucket: 'unused', configuredOrg: 8 })), START + 20) as Admission), START + 20)
  const [, , , , , rows, taught] = joinStep(joining, store.inside('default'), START + 20, 100) as unknown as [0, 0, 0, 0, 0, unknown[], unknown[]]
  const expiries = [START + 60_600, START + 60_610]
  t.strictSame(rows, [
    ['', [], 3],
    ['/api/v1/users', expiries, 1], ['/api/v1/users\na', expiries, 1], ['/api/v1/users\na\nr', expiries, 1], ['\nu\n/api/v1/users', [], 1],
    ['other', [], 1], ['other\nb', [], 1], ['\nn\nother', [], 1],
    ['shut', Array.from({ length: 12 }, () => START + 60_620), 0], ['shut\na', [START + 60_620], 0]
  ])
  t.strictSame(taught, [
    ['/api/v1/users', 40, 0, 0, 20, [['u', 20, 12, START + 30_100]]],
    ['other', 0, 0, 0, 10, []],
    ['shut', 24, START + 6100, 0, 12, [['u', 12, 0, START + 5100]]],
    ['unused', 0, 0, 0, 4, []]
  ])
  const late = joinStep(joining, store.inside('default'), START + 70_000, 100) as unknown as [0, 0, 0, 0, 0, unknown[], unknown[][]]
  t.strictSame(late[5].slice(0, 3), [['', [], 3], ['/api/v1/users', [], 1], ['/api/v1/users\na', [], 1]], 'what has expired is nobody\'s')
  t.strictSame(late[6][0]![5], [['u', 0, 0, 0]], 'no first answer is awaited again, though its window is over')
})

t.test('the view of a store: buckets that this gate has called, on its own clock', async t => {
  const plans = new Map<string, BucketPlan>([['a', plan({ bucket: 'a', concurrency: 40 })], ['b', plan({ bucket: 'b', configuredOrg: 50 })]])
  const row = (bucket: string, more: Partial<{ org: number, heads: unknown, closed: number, clients: unknown }> = {}): never => [bucket, more.org ?? -1, more.heads ?? {}, 7, 2, more.closed ?? 0, more.clients ?? {}, 3, 4] as never
  const view = (learned: number, rows: unknown): ReturnType<typeof readView> => readView('u', [5, learned, 0, rows as never], plans, START, 1000, bucket => bucket === 'a' ? 6 : 0)
  t.strictSame(view(0, {}), { upstream: 'u', inFlight: 5, allowance: 20, buckets: [] })
  t.equal(view(12, {}).allowance, 12)
  t.equal(view(30, {}).allowance, 20)
  t.equal(readView('u', [5, 0, 0, [row('a')]], new Map(), START, 0, () => 0).allowance, 0)
  t.strictSame(view(0, [row('a'), row('nobody')]).buckets, [{ bucket: 'a', org: 20, source: 'catalogue', allowance: 10, used: 7, inFlight: 2, waiting: 6, closedUntilMs: undefined, clients: [], nonsense: 3, tooMany: 4 }])
  t.match(view(0, [row('a', { org: 30, heads: [12, 8], closed: START + 1500, clients: [['x', 4]] })]).buckets, [{ org: 30, source: 'header', allowance: 12, closedUntilMs: START + 500, clients: [{ client: 'x', used: 4 }] }])
  t.match(view(0, [row('a', { org: 30, heads: [12, -1], closed: START + 1000 })]).buckets, [{ allowance: 15, closedUntilMs: undefined }], 'a credential whose window is over')
  t.match(view(0, [row('b', { org: 30, closed: START + 1001 })]).buckets, [{ org: 50, source: 'config', allowance: 25, closedUntilMs: START + 1, waiting: 0 }])
})

t.test('steps of one turn travel together, those that come meanwhile wait for the answer, and each has its own', async t => {
  const clock = new Clock()
  const sent: { steps: readonly Step[], at: number, answer: (state: string, ...results: unknown[]) => Promise<void>, fail: (error: Error) => Promise<void> }[] = []
  const runs: (() => void)[] = []
  const heard: unknown[][] = []
  const lost: unknown[] = []
  const got: unknown[][] = []
  let good = true
  const batches = new Batches({
    send: async (steps, at) => await new Promise((resolve, reject) => {
      sent.push({ steps, at: at - START, answer: async (...rest) => { resolve(JSON.stringify([99, ...rest])); await soon() }, fail: async error => { reject(error); await soon() } })
    }),
    soon: run => { runs.push(run) },
    later: clock.later,
    clock: () => clock.now,
    heard: (state, at) => { heard.push([state, at - START]); return good },
    lost: error => { lost.push(error) }
  })
  const turn = async (): Promise<void> => { for (const run of runs.splice(0)) run(); await soon() }
  const push = (name: string): void => { batches.push([name], (result, at) => { got.push([name, result, at]) }) }
  push('a')
  batches.push(['b'])
  push('c')
  t.equal(runs.length, 1)
  await turn()
  t.strictSame(sent.map(({ steps, at }) => [steps, at]), [[[['a'], ['b'], ['c']], 0]])
  clock.advance(1)
  push('d')
  await turn()
  push('e')
  t.strictSame([sent.length, runs.length], [1, 0], 'the first has no answer yet')
  await sent[0]!.answer('open', 1, 2, 3)
  t.strictSame([got.splice(0), heard.splice(0)], [[['a', 1, 99], ['c', 3, 99]], [['open', 0]]])
  t.strictSame(sent.slice(1).map(({ steps, at }) => [steps, at]), [[[['d'], ['e']], 1]], 'now it has')
  push('f')
  await turn()
  clock.advance(1)
  t.equal(sent.length, 2)
  clock.advance(1)
  t.strictSame(sent.slice(2).map(({ steps, at }) => [steps, at]), [[[['f']], 3]], 'they do not wait for longer than 2 ms')
  push('g')
  await turn()
  await sent[2]!.answer('open', 6)
  t.strictSame([got.splice(0), heard.splice(0)], [[['f', 6, 99]], [['open', 3]]], 'whichever comes first')
  t.equal(sent.length, 3, 'another has no answer yet')
  good = false
  await sent[1]!.answer('late')
  t.strictSame([got, heard.splice(0), sent.length], [[], [['late', 1]], 3], 'an answer that is none')
  batches.fail()
  t.strictSame(got.splice(0), [['d', undefined, 0], ['e', undefined, 0], ['g', undefined, 0]], 'on its way, and about to go')
  clock.advance(10)
  await turn()
  t.equal(sent.length, 3, 'nothing is left to go')
  good = true
  push('x')
  batches.fail()
  await turn()
  t.equal(sent.length, 3)
  push('h')
  await turn()
  t.equal(sent.length, 4, 'nothing is waited for any more')
  batches.fail()
  got.length = 0
  push('i')
  await turn()
  await sent[3]!.fail(new Error('late'))
  await sent[4]!.fail(new Error('gone'))
  t.match([lost, heard, got], [[{ message: 'gone' }], [], []], 'what has failed already fails once')
  batches.fail()
  got.length = 0
  push('j')
  await turn()
  batches.fail()
  got.length = 0
  await sent[5]!.answer('open', 1)
  t.strictSame([heard, got], [[], []], 'nor has it an answer')
  push('k')
  await turn()
  push('l')
  await turn()
  await sent[6]!.answer('open', 1)
  await sent[7]!.answer('open', 1)
  push('m')
  await turn()
  t.strictSame(sent.slice(7).map(({ steps }) => steps), [[['l']], [['m']]], 'nothing is on its way: it goes at once')
})

/** The store's clock is this much ahead of the gate's. */
const AHEAD = 1_000_000

/** A line to a store that does what the test says. */
class Scripted implements Line {
  readonly asked: { readonly args: readonly string[], readonly steps: Step[], answer: (state: string, ...results: unknown[]) => Promise<void>, fail: (message: string) => Promise<void> }[] = []
  down = false
  closed = false
  timeTakes = 0

  constructor (readonly clock: Clock) {}

  async time (): Promise<number> {
    if (this.down) throw new Error('there is no connection')
    this.clock.now += this.timeTakes
    return this.clock.now + AHEAD - this.timeTakes / 2
  }

  async run (_: string, args: readonly string[]): Promise<string> {
    return await new Promise((resolve, reject) => {
      this.asked.push({
        args,
        steps: JSON.parse(args[4]!) as Step[],
        answer: async (state, ...results) => { resolve(JSON.stringify([this.clock.now + AHEAD, state, ...results])); await soon() },
        fail: async message => { reject(new Error(message)); await soon() }
      })
    })
  }

  get last (): Scripted['asked'][number] { return this.asked.at(-1)! }
  async close (): Promise<void> { this.closed = true }
}

const BEAT = [['g', 'h'], [], 2]

function gate (more: Partial<SharedOptions> = {}): { store: SharedStore, clock: Clock, line: Scripted, events: StoreEvent[] } {
  const clock = new Clock()
  const line = new Scripted(clock)
  const events: StoreEvent[] = []
  const store = new SharedStore({ line, gate: 'g', later: clock.later, soon: queueMicrotask, clock: () => clock.now, timeoutMs: 50, onStoreLoss: 'share', longestCallMs: 60_000, note: event => { events.push(event) }, ...more })
  return { store, clock, line, events }
}

/** One whose store is open to it, and has said that there are two. */
async function open (more: Partial<SharedOptions> = {}): Promise<ReturnType<typeof gate>> {
  const made = gate(more)
  const ready = made.store.ready(['default'])
  await soon()
  await made.line.last.answer('open', 'epoch1', BEAT)
  await ready
  return made
}

const state = (store: SharedStore): string => store.status()[0]!.state

t.test('a gate joins a store, and asks it on its own clock', async t => {
  const { store, clock, line, events } = gate()
  line.timeTakes = 10
  const asked = store.reserve(call(plan()), START) as Promise<Admission>
  t.match(store.status(), [{ upstream: 'default', state: 'refuse', replicas: 0, lostSince: undefined, why: undefined, losses: 0 }])
  await soon()
  t.strictSame([line.last.args.slice(0, 4), line.last.args.slice(5)], [['g', '1', '', String(START + 10 + AHEAD + 50)], ['1', '0']])
  t.strictSame(line.last.steps, [['j', 'g.1.' + (START + 10), '', [], 60_500 + AHEAD - 2, [['', [], 0]], [], 2000, []], ['h']])
  store.reserve(call(plan({ bucket: 'other' })), START)
  await soon()
  t.equal(line.asked.length, 1, 'one join for all: who comes meanwhile waits for its answer')
  await line.last.answer('open', 'epoch1', BEAT)
  t.strictSame([state(store), store.status()[0]!.replicas, events], ['shared', 2, []])
  t.match(line.last.steps, [['r', 1, '/api/v1/users'], ['r', 2, 'other']])
  t.equal(line.last.steps[0]![16], 0, 'counted only when there is room')
  t.strictSame(line.last.args.slice(5), ['2', '2'])
  await line.last.answer('open', [1, 4, 1, 10, 'bucket', 0, 0], [2, 4, 1, 10, 'share', START + AHEAD + 500, 3])
  const ticket = ticketOf(await asked)
  const second = store.reserve(call(plan()), clock.now) as Promise<Admission>
  await soon()
  t.equal(line.last.steps[0]![17], 4, 'what it has last seen')
  await line.last.answer('open', [2, 4, 1, 10, 'share', clock.now + AHEAD + 700, 3])
  t.match(await second, { by: 'share', wait: { untilMs: clock.now + 700, limit: 3 } })

  store.settle(ticket, answer(clock.now, 200, 600, 500, clock.now + 5000), clock.now)
  store.settle(ticket, undefined, clock.now)
  store.cancel(ticket, clock.now)
  store.release(ticket, clock.now)
  store.release(ticket, clock.now)
  await soon()
  t.strictSame(line.last.steps.map(([kind]) => kind), ['s', 'e'])
  t.match(line.last.steps, [['s', 1, '/api/v1/users', 'u', 'a', '', '', clock.now + AHEAD, 1, 0, 600, 500, START + 5000 + AHEAD], ['e']], 'told once')
  await line.last.answer('open', 0, 0)
  const third = store.reserve(call(plan()), clock.now) as Promise<Admission>
  await soon()
  await line.last.answer('open', [1, 4, 1, 10, 'bucket', 0, 0])
  for (let i = 0; i < 2; i++) store.cancel(ticketOf(await third), clock.now)
  store.settle(ticketOf(await third), SILENT, clock.now)
  await soon()
  t.strictSame(line.last.steps.map(([kind, id]) => [kind, id]), [['x', 4], ['e', undefined]])
  await line.last.answer('open', 0, 0)
  t.throws(() => { store.settle({ kind: 'admitted' }, undefined, clock.now) }, /another store/)
  t.throws(() => { store.release({ kind: 'admitted' }, clock.now) }, /another store/)

  const view = store.snapshot(clock.now)
  await soon()
  t.strictSame(line.last.steps, [['v']])
  await line.last.answer('open', [3, 0, 0, [['/api/v1/users', 20, {}, 5, 3, clock.now + AHEAD + 100, {}, 0, 0]]])
  t.match(await view, [{ upstream: 'default', inFlight: 3, buckets: [{ used: 5, closedUntilMs: clock.now + 100 }] }])

  store.beat(clock.now)
  store.beat(clock.now)
  await soon()
  t.strictSame(line.last.steps, [['h']], 'one beat at a time')
  await line.last.answer('open', [['g'], [['/api/v1/users', 4, 1, 10, 80, START + AHEAD + 9000, 0]], 1])
  t.equal(store.status()[0]!.replicas, 1)
  const closing = store.close(clock.now)
  await soon()
  t.strictSame(line.last.steps, [['b']])
  await line.last.answer('open', 0)
  await closing
  t.ok(line.closed)
})

t.test('what is told, and what is not: before it joined again, after it has gone, and what it has been told', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const { store, clock, line, events } = await open()
  const go = async (): Promise<Ticket> => {
    const asked = store.reserve(of, clock.now) as Promise<Admission>
    await soon()
    await line.last.answer('open', [1, 1, 0, 40, 'bucket', 0, 0])
    return ticketOf(await asked)
  }
  await store.ready(['default'])
  t.equal(line.asked.length, 1, 'it has joined')
  const [one, two] = [await go(), await go()]
  store.beat(clock.now)
  await soon()
  await line.last.answer('open', [['g', 'h'], [['/api/v1/users', 20, 6, 40, 60, START + AHEAD + 9000, 0]], 2])
  clock.advance(1)
  const view = store.snapshot(clock.now)
  await soon()
  const asked = line.asked.length
  await line.last.fail('gone')
  t.match(await view, [{ buckets: [{ closedUntilMs: START + 9000 }] }], 'its own view, when the store has none; what the store showed is known')
  store.settle(one, SILENT, clock.now)
  store.release(one, clock.now)
  store.cancel(two, clock.now)
  await soon()
  t.equal(line.asked.length, asked, 'a store that is lost is told nothing')
  t.match(store.reserve(of, clock.now), { by: 'closed', wait: { untilMs: START + 9000 } })
  clock.advance(9000)
  let made = 0
  while (made < 100 && (store.reserve(of, clock.now) as Admission).kind === 'admitted') made++
  t.equal(made, 5, 'half of a half of the 20 that were unused')
  store.beat(clock.now)
  await soon()
  await line.last.fail('gone')
  t.strictSame(events.map(({ kind }) => kind), ['lost'], 'a join without an answer is none')
  const before = line.asked.length
  await store.close(clock.now)
  t.equal(line.asked.length, before, 'nobody to say goodbye to')

  const leaves = await open()
  const held = leaves.store.reserve(of, START) as Promise<Admission>
  await soon()
  await leaves.line.last.answer('open', [1, 1, 0, 40, 'bucket', 0, 0])
  const closing = leaves.store.close(START)
  await soon()
  await leaves.line.last.answer('open', 0)
  await closing
  const count = leaves.line.asked.length
  leaves.store.settle(ticketOf(await held), SILENT, START)
  leaves.store.release(ticketOf(await held), START)
  await soon()
  t.equal(leaves.line.asked.length, count, 'who has said goodbye says no more')

  const waits = await open()
  const never = waits.store.reserve(of, START) as Promise<Admission>
  await soon()
  await waits.line.last.answer('open', [3, 0, 0, 40, '', 0, 0])
  waits.store.reserve(call(plan({ bucket: 'other' })), START)
  await soon()
  await waits.line.last.fail('gone')
  t.equal((await never).kind, 'admitted', 'what waited without being asked for is decided by the gate itself')
})

t.test('a gate that joins again names the epoch that it knew, where it may have spent anything in it', async t => {
  const strict = gate({ onStoreLoss: 'refuse' })
  strict.store.ready(['default']).catch(() => {})
  await soon()
  await strict.line.last.answer('regroup', 'epoch1', BEAT)
  t.match(strict.store.reserve(call(plan()), START), { by: 'store' }, 'one that may not go by its share')
  for (const [replicas, epoch] of [[undefined, ''], [0, ''], [3, 'epoch1']] as const) {
    const { store, clock, line } = gate({ replicas })
    const ready = store.ready(['default'])
    await soon()
    await line.last.answer('regroup', 'epoch1', [['g'], [], 1])
    await ready
    store.beat(clock.now)
    await soon()
    await line.last.fail('gone')
    store.beat(clock.now)
    await soon()
    t.equal(line.last.steps[0]![2], epoch, String(replicas))
  }
})

t.test('several upstreams: each is lost and shown by itself', async t => {
  const { store, clock, line } = await open()
  const ready = store.ready(['second'])
  await soon()
  await line.last.answer('open', 'epoch1', BEAT)
  await ready
  for (const upstream of ['default', 'second']) {
    const of = call(plan({ upstream, bucket: upstream, configuredOrg: 80 }))
    const asked = store.reserve(of, clock.now) as Promise<Admission>
    await soon()
    await line.last.answer('open', [1, 1, 0, 40, 'bucket', 0, 0])
    store.settle(ticketOf(await asked), SILENT, clock.now)
    await soon()
    await line.last.fail('gone')
  }
  t.strictSame(store.status().map(({ upstream, state }) => [upstream, state]), [['default', 'share'], ['second', 'share']])
  t.match(await store.snapshot(clock.now), [{ upstream: 'default', buckets: [{ bucket: 'default' }] }, { upstream: 'second', buckets: [{ bucket: 'second' }] }])
})

t.test('a call that waits and is refused in the end, and one that a lost store leaves', async t => {
  const { store, clock, line } = await open()
  const of = call(plan())
  /** One that waits for a first answer, and for which the next beat asks again. The promise is in a list: it has yet to settle. */
  const waits = async (): Promise<[Promise<Admission>]> => {
    const admission = store.reserve(of, clock.now) as Promise<Admission>
    await soon()
    await line.last.answer('open', [3, 0, 0, 10, '', 0, 0])
    store.beat(clock.now)
    await soon()
    return [admission]
  }
  const [waiting] = await waits()
  t.strictSame(line.last.steps.slice(1).map(step => [step[1], step[16]]), [[2, 0]], 'another number, and counted only when there is room')
  await line.last.answer('open', BEAT, [2, 3, 0, 10, 'bucket', clock.now + AHEAD + 300, 10])
  t.match(await waiting, { by: 'bucket', wait: { untilMs: clock.now + 300, limit: 10 } })
  const [late] = await waits()
  clock.advance(5000)
  t.match(await late, { by: 'concurrency' })
  await line.last.answer('open', BEAT, [2, 3, 0, 10, 'bucket', clock.now + AHEAD + 300, 10])
  store.beat(clock.now)
  await soon()
  t.strictSame(line.last.steps, [['h']], 'nobody waits any more')
  await line.last.answer('open', BEAT)
  const [gone] = await waits()
  clock.advance(5000)
  t.match(await gone, { by: 'concurrency' })
  await line.last.fail('gone')
  t.match(await store.snapshot(clock.now), [{ inFlight: 0 }], 'nor has it a place while the store is lost')
})

t.test('in virtual time the store counts on the gate\'s clock', async t => {
  const { store, line } = gate({ virtual: true, patienceMs: 7 })
  line.down = true
  const ready = store.ready(['default'])
  await soon()
  t.strictSame(line.last.args.slice(2, 4), [String(START), ''])
  t.strictSame([line.last.steps[0]![4], line.last.steps[0]![7]], [60_500 - 2, 7])
  await line.last.answer('open', 'epoch1', BEAT)
  await ready
})

t.test('a store that is lost: how, what is said of it, and what the gate goes by', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const rows: [string, (line: Scripted) => Promise<void>, string][] = [
    ['no answer', async line => { await line.last.fail('no answer in time') }, 'no answer in time'],
    ['too late', async line => { await line.last.answer('late') }, 'the store was reached too late'],
    ['forgotten', async line => { await line.last.answer('unknown') }, 'the store does not know this gate any more']
  ]
  for (const [name, happens, why] of rows) {
    const { store, clock, line, events } = await open()
    const first = store.reserve(of, START) as Promise<Admission>
    await soon()
    await line.last.answer('open', [1, 9, 5, 40, 'bucket', 0, 0])
    store.release(ticketOf(await first), START)
    await soon()
    await line.last.answer('open', 0, 0)
    clock.advance(100)
    const asked = store.reserve(of, clock.now) as Promise<Admission>
    await soon()
    await happens(line)
    t.equal((await asked).kind, 'admitted', `${name}: decided by the gate itself`)
    t.strictSame(store.status(), [{ upstream: 'default', state: 'share', replicas: 2, lostSince: START + 100, why, losses: 1 }], name)
    t.strictSame(events, [{ kind: 'lost', upstream: 'default', why, replicas: 2 }])
    let made = 1
    while (made < 100 && (store.reserve(of, clock.now) as Admission).kind === 'admitted') made++
    t.equal(made, 7, 'half of a half of the 31 that were unused')
    t.match(await store.snapshot(clock.now), [{ inFlight: 7 }], 'its own view')

    line.down = true
    store.beat(clock.now)
    store.beat(clock.now)
    await soon()
    t.strictSame(events.splice(1), [{ kind: 'still', upstream: 'default', why: 'there is no connection' }])
    store.beat(clock.now)
    await soon()
    t.strictSame([events.length, store.status()[0]!.why, store.status()[0]!.losses], [1, 'there is no connection', 1], 'what was said is not said again')
    line.down = false
    clock.advance(900)
    store.beat(clock.now)
    await soon()
    t.match(line.last.steps[0], ['j', /^g\.\d+\./, 'epoch1', ['g', 'h']])
    await line.last.answer('regroup', 'epoch1', BEAT)
    t.strictSame([events.splice(1), state(store)], [[{ kind: 'back', upstream: 'default', lostMs: 900, emptied: false }], 'share'], 'it gathers the others first')
    t.match(refusalOf(store.reserve(of, clock.now) as Admission), { by: 'bucket' }, 'what it may spend alone it may spend once')
    const told = store.reserve(call(plan({ bucket: 'new', configuredOrg: 80 })), clock.now) as Admission
    t.equal(told.kind, 'admitted')
    await soon()
    t.match(line.last.steps, [['r', Number, 'new']])
    t.equal(line.last.steps[0]![16], 1, 'counted there without looking')
    t.equal(line.last.steps.length, 1, 'what it refused itself is not told')
    t.ok(line.last.steps[0]![1] as number > 2, 'each call has its own number')
    await line.last.answer('open', [1, 1, 0, 40, 'bucket', 0, 0])
    t.equal(state(store), 'shared')
    t.same(store.status()[0], { upstream: 'default', state: 'shared', replicas: 2, lostSince: undefined, why: undefined, losses: 1 })
    store.beat(clock.now)
    await soon()
    t.strictSame(line.last.steps, [['h']], 'it shows that it is there, as before')
  }
})

t.test('a store that came back empty, and one that gathers its gates', async t => {
  const { store, clock, line, events } = await open()
  store.beat(clock.now)
  await soon()
  await line.last.answer('open', [['g', 'h', 'i'], [], 3])
  clock.advance(500)
  store.beat(clock.now)
  await soon()
  await line.last.fail('gone')
  clock.advance(500)
  store.beat(clock.now)
  await soon()
  const join = line.last.steps[0]!
  t.strictSame(join.slice(2, 4), ['epoch1', ['g', 'h', 'i']])
  t.equal(join[4], START + AHEAD + 60_500 - 2, 'since the last answer')
  t.strictSame(join[8], [[3, START + 500 + AHEAD + 60_500 - 2]], 'a batch without an answer, and what it told')
  await line.last.answer('regroup', 'epoch2', [['g'], [], 1])
  t.match(events.at(-1), { kind: 'back', emptied: true })
  t.equal(store.status()[0]!.replicas, 3, 'a store that gathers them knows of fewer than there are')
  store.beat(clock.now)
  await soon()
  await line.last.answer('open', [['g'], [], 1])
  t.equal(store.status()[0]!.replicas, 1)

  store.beat(clock.now)
  await soon()
  await line.last.answer('regroup', [['g'], [], 1])
  t.match([state(store), events.length], ['share', 2], 'it was not lost: nothing is said')
  const alone = store.reserve(call(plan({ configuredOrg: 80 })), clock.now) as Admission
  t.equal(alone.kind, 'admitted')
  await soon()
  await line.last.fail('gone again')
  t.match(events.at(-1), { kind: 'still', why: 'gone again' })
  t.equal(store.status()[0]!.lostSince, clock.now)
})

t.test('a gate that has never seen the store', async t => {
  const of = call(plan({ configuredOrg: 80 }))
  const slow = gate()
  slow.line.timeTakes = 51
  t.match(await slow.store.reserve(of, START), { by: 'store', wait: { limit: 0 } })
  t.match(slow.store.status(), [{ state: 'refuse', why: 'too slow', replicas: 0 }])
  slow.line.timeTakes = 50
  slow.store.beat(slow.clock.now)
  await soon()
  t.equal(slow.line.asked.length, 1, 'that is fast enough')
  await slow.line.last.answer('regroup', 'epoch1', [['g'], [], 0])
  t.match(slow.events.at(-1), { kind: 'back', emptied: false })
  t.match(refusalOf(slow.store.reserve(of, slow.clock.now) as Admission), { by: 'bucket', wait: { limit: 0 } }, 'it waits until the store is open')
  await slow.line.last.fail('gone')

  const told = gate({ replicas: 4 })
  told.line.down = true
  const first = await told.store.reserve(of, START)
  told.store.settle(ticketOf(first), SILENT, START)
  let made = 1
  while (made < 100 && (told.store.reserve(of, START) as Admission).kind === 'admitted') made++
  t.equal(made, 10, 'a fourth, from the start')
  t.match(told.events, [{ kind: 'lost', replicas: 4 }])
  told.line.down = false
  told.store.beat(START)
  await soon()
  t.equal(told.line.last.steps[0]![2], '', 'of an epoch it knows nothing')
  await told.line.last.answer('open', 'epoch1', [['g'], [], 1])
  t.equal(told.store.status()[0]!.replicas, 4, 'never fewer than it was told')

  const strict = gate({ onStoreLoss: 'refuse', replicas: 2 })
  strict.line.down = true
  t.match(await strict.store.reserve(of, START), { by: 'store' })
  t.match(strict.store.status(), [{ state: 'refuse' }])
})

t.test('calls that wait for a first answer are asked for again: with each beat, and when one of the bucket has ended', async t => {
  const { store, clock, line } = await open()
  const of = call(plan())
  const said: string[] = []
  const wait = (name: string, more: Partial<LimitCall> = {}): void => { (store.reserve({ ...of, ...more }, clock.now) as Promise<Admission>).then(one => { said.push(`${name} ${one.kind === 'admitted' ? 'goes' : one.by}`) }, t.error) }
  const WAIT = [3, 0, 0, 10, '', 0, 0]
  const gone = { aborted: false }
  wait('first')
  wait('one')
  wait('two')
  wait('left', { signal: gone })
  wait('other', { plan: plan({ bucket: 'other' }) })
  await soon()
  await line.last.answer('open', [1, 1, 0, 10, '', 0, 0], WAIT, WAIT, WAIT, WAIT)
  t.strictSame(said.splice(0), ['first goes'])
  const view = store.snapshot(clock.now)
  await soon()
  await line.last.answer('open', [1, 0, 0, [['/api/v1/users', -1, {}, 1, 1, 0, {}, 0, 0]]])
  t.match(await view, [{ buckets: [{ waiting: 3 }] }])
  gone.aborted = true
  store.beat(clock.now)
  await soon()
  t.match(line.last.steps.map(([kind, , bucket]) => [kind, bucket]), [['h', undefined], ['r', '/api/v1/users'], ['r', '/api/v1/users'], ['r', 'other']])
  t.strictSame(said.splice(0), ['left concurrency'], 'its client has left')
  const beaten = line.last
  store.beat(clock.now)
  await soon()
  t.equal(line.last, beaten, 'nothing is asked twice')
  await beaten.answer('open', BEAT, [1, 2, 0, 10, '', 0, 0], WAIT, [2, 3, 0, 10, 'bucket', clock.now + AHEAD + 300, 10])
  t.strictSame(said.splice(0), ['one goes', 'other bucket'])
  const ended = store.reserve(of, clock.now) as Promise<Admission>
  await soon()
  await line.last.answer('open', [1, 3, 0, 10, '', 0, 0])
  store.settle(ticketOf(await ended), SILENT, clock.now)
  await soon()
  const settled = line.last
  await settled.answer('open', 0)
  t.match(line.last.steps, [['r']], 'one has ended: the one that waits is asked for')
  clock.advance(5000)
  await soon()
  t.strictSame(said.splice(0), ['two concurrency'], 'nobody waits longer than five seconds')
  await line.last.answer('open', [1, 4, 0, 10, '', 0, 0])
  t.match(line.last.steps, [['x'], ['e']], 'what was admitted too late is given back')
  await line.last.answer('open', 0, 0)
  t.strictSame(said, [])

  for (let i = 0; i < PROBE_QUEUE + 1; i++) wait(`${i}`)
  await soon()
  await line.last.answer('open', ...Array.from({ length: PROBE_QUEUE + 1 }, () => WAIT))
  t.strictSame(said.splice(0), [`${PROBE_QUEUE} concurrency`], 'no more than that wait')
  wait('last', { plan: plan({ bucket: 'other' }) })
  await soon()
  await line.last.answer('open', WAIT)
  store.beat(clock.now)
  await soon()
  await line.last.fail('gone')
  t.ok(said.includes('last goes'), 'the store is lost: each is decided by the gate itself')
  t.equal(said.length, PROBE_QUEUE + 1)

  const closing = await open()
  const never = closing.store.reserve(of, START) as Promise<Admission>
  await soon()
  await closing.line.last.answer('open', WAIT)
  const closed = closing.store.close(START)
  await soon()
  t.match(await never, { by: 'concurrency' })
  await closing.line.last.answer('open', 0)
  await closed
})

t.test('a store that gathers its gates decides nothing: the gate itself does', async t => {
  const { store, clock, line } = await open()
  const of = call(plan({ configuredOrg: 80 }))
  const asked = store.reserve(of, clock.now) as Promise<Admission>
  await soon()
  await line.last.answer('regroup', [4, 0, 0, 40, '', 0, 0])
  const ticket = ticketOf(await asked)
  await soon()
  t.equal(line.last.steps[0]![16], 1)
  await line.last.answer('regroup', [1, 1, 0, 40, '', 0, 0])
  store.settle(ticket, SILENT, clock.now)
  await soon()
  t.equal(line.last.steps[0]![7], clock.now + AHEAD, 'when it was reserved, on the store\'s clock')
  await line.last.answer('regroup', 0)
  let made = 0
  while (made < 100 && (store.reserve(of, clock.now) as Admission).kind === 'admitted') made++
  await soon()
  t.equal(line.last.steps.length, made, 'what it refused is not told')
  await line.last.answer('regroup', ...line.last.steps.map(() => [1, 1, 0, 40, '', 0, 0]))
  t.equal((store.reserve(of, clock.now) as Admission).kind, 'refused', 'each answer gives it nothing anew')
})

t.test('what is answered out of turn: of batches without an answer none is forgotten', async t => {
  const { store, clock, line } = await open()
  clock.advance(10)
  store.beat(clock.now)
  await soon()
  clock.advance(1)
  store.reserve(call(plan()), clock.now)
  await soon()
  clock.advance(2)
  const [first, second] = line.asked.slice(-2)
  t.strictSame([first!.steps[0]![0], second!.steps[0]![0]], ['h', 'r'])
  await first!.answer('open', BEAT)
  await second!.fail('gone')
  clock.advance(100)
  store.beat(clock.now)
  await soon()
  t.strictSame((line.last.steps[0]![8] as number[][]).map(([batch]) => batch), [3])
})
