import t from 'tap'
import type { Observation } from '../../src/limits/headers.js'
import { createLine } from '../../src/limits/redis.js'
import type { Line, StoreEvent } from '../../src/limits/shared-call.js'
import { SharedStore } from '../../src/limits/shared.js'
import type { Admission, LimitCall } from '../../src/limits/store.js'
import { simulate, type Fault, type Model } from './model.js'
import { RedisServer } from './redis-server.js'
import { storeContract } from './store-contract.js'
import { answer, call, Clock, plan, SILENT, START, ticketOf } from './world.js'

const redis = await RedisServer.start()
const lines: Line[] = []
t.teardown(async () => {
  for (const line of lines) await line.close()
  await redis.stop()
})

let made = 0

async function connect (url: string, more: Partial<Parameters<typeof createLine>[0]> = {}): Promise<Line> {
  const line = createLine({ url, commandTimeoutMs: 5000, prefix: '', ...more }, () => {})
  lines.push(line)
  for (let i = 0; i < 100; i++) {
    try { await line.time(); return line } catch { await new Promise(resolve => setTimeout(resolve, 20)) }
  }
  throw new Error('no connection')
}

const line = await connect(redis.url)

/** A gate's store under virtual time; `road` says how its way to Redis is. */
function store (clock: Clock, prefix = `t${made++}:`, gate = 'a', road: { broken: boolean, deaf?: boolean } = { broken: false }, more: Partial<ConstructorParameters<typeof SharedStore>[0]> = {}): SharedStore {
  return new SharedStore({
    line: {
      run: async (upstream, args) => {
        if (road.broken) throw new Error('no answer in time')
        const text = await line.run(prefix + upstream, args)
        if (road.deaf === true) throw new Error('its answer is lost')
        return text
      },
      time: async () => clock.now,
      close: async () => {}
    },
    gate,
    later: clock.later,
    soon: queueMicrotask,
    clock: () => clock.now,
    timeoutMs: 5000,
    onStoreLoss: 'share',
    longestCallMs: 60_000,
    note: () => {},
    patienceMs: 0,
    virtual: true,
    ...more
  })
}

t.test('the store in Redis keeps the contract', async t => {
  storeContract(t, clock => store(clock))
})

/** Gates that share a store. */
class Gates {
  readonly clock = new Clock()
  readonly prefix = `g${made++}:`
  readonly road = { broken: false, deaf: false }
  readonly events: StoreEvent[] = []
  readonly stores: SharedStore[]

  constructor (readonly names: readonly string[], more: Partial<ConstructorParameters<typeof SharedStore>[0]> = {}) {
    this.stores = names.map(name => store(this.clock, this.prefix, name, this.road, { note: event => { this.events.push(event) }, ...more }))
  }

  async ready (): Promise<void> {
    for (const one of this.stores) await one.ready(['default'])
    // With the second beat each of them knows that each knows of all.
    await this.beat()
    await this.beat()
  }

  /** All gates show that they are there. */
  async beat (): Promise<void> {
    for (const one of this.stores) { one.beat(this.clock.now); await one.snapshot(this.clock.now) }
    await new Promise(resolve => setTimeout(resolve, 5))
  }

  async reserve (gate: number, of: LimitCall): Promise<Admission> {
    return await this.stores[gate]!.reserve(of, this.clock.now)
  }

  async make (gate: number, of: LimitCall, observation: Observation = SILENT): Promise<void> {
    const ticket = ticketOf(await this.reserve(gate, of))
    this.stores[gate]!.settle(ticket, observation, this.clock.now)
    this.stores[gate]!.release(ticket, this.clock.now)
  }

  /** Calls through one gate until refused. */
  async drain (gate: number, of: LimitCall): Promise<number> {
    for (let count = 0; count < 200; count++) {
      const admission = await this.reserve(gate, of)
      if (admission.kind === 'refused') return count
      this.stores[gate]!.settle(admission.ticket, SILENT, this.clock.now)
      this.stores[gate]!.release(admission.ticket, this.clock.now)
    }
    throw new Error('200 calls, and none was refused')
  }

  async lose (): Promise<void> {
    this.road.broken = true
    for (const one of this.stores) one.beat(this.clock.now)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('what one gate uses and learns, all gates know', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan())
  await gates.make(0, of, answer(START, 200, 30, 20, START + 60_000))
  t.match((await gates.stores[1]!.snapshot(START)), [], 'a gate shows the buckets that it calls')
  const second = ticketOf(await gates.reserve(1, of))
  t.match(await gates.stores[1]!.snapshot(START), [{ inFlight: 1, buckets: [{ org: 60, source: 'header', allowance: 30, used: 11 }] }], 'the header\'s limit, and what others have used')
  gates.stores[1]!.settle(second, answer(START, 200, 40, 5, START + 60_000), START)
  gates.stores[1]!.release(second, START)
  await gates.make(0, of)
  t.match(await gates.stores[0]!.snapshot(START), [{ buckets: [{ org: 80, allowance: 40 }] }], 'a limit that Okta raises is followed')
  await gates.make(0, of, answer(START, 200, 10, 99, START + 60_000))
  t.match(await gates.stores[1]!.snapshot(START), [{ buckets: [{ nonsense: 1, org: 80 }] }], 'nonsense teaches nothing and is counted')
  await gates.make(1, of, answer(START, 429, 40, 0, START + 30_000))
  t.match(await gates.reserve(0, of), { by: 'closed', wait: { untilMs: START + 31_000 } }, 'a 429 closes for all')
  gates.clock.advance(62_000)
  await gates.beat()
  await gates.beat()
  await gates.make(0, of, answer(gates.clock.now, 200, 4, 3, gates.clock.now + 60_000))
  t.match(await gates.stores[1]!.snapshot(gates.clock.now), [{ buckets: [{ org: 8, allowance: 4 }] }], 'a limit that Okta lowers, too')
})

t.test('calls that wait for the first answer of a bucket go on when any gate has it', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan())
  const first = ticketOf(await gates.reserve(0, of))
  const waiting = gates.reserve(1, of)
  await gates.beat()
  gates.stores[0]!.settle(first, SILENT, START)
  await gates.stores[0]!.snapshot(START)
  await gates.beat()
  t.equal((await waiting).kind, 'admitted')
})

t.test('a gate that dies gives back what it had in flight, within a window', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan({ configuredOrg: 20 }))
  await gates.make(0, of)
  for (let i = 0; i < 4; i++) await gates.reserve(1, of)
  t.match(await gates.stores[0]!.snapshot(START), [{ inFlight: 4, buckets: [{ used: 5 }] }])
  for (let i = 0; i < 8; i++) { gates.clock.advance(500); gates.stores[0]!.beat(gates.clock.now) }
  t.match(await gates.stores[0]!.snapshot(gates.clock.now), [{ inFlight: 0, buckets: [{ used: 5, inFlight: 0 }] }], 'taken as answered')
  for (let i = 0; i < 121; i++) { gates.clock.advance(500); gates.stores[0]!.beat(gates.clock.now) }
  t.match(await gates.stores[0]!.snapshot(gates.clock.now), [{ buckets: [{ used: 0 }] }])
})

t.test('without the store each gate spends half of its share of what it last saw unused, then its share', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan({ configuredOrg: 80 }))
  await gates.make(0, of)
  await gates.make(1, of)
  for (let i = 0; i < 6; i++) await gates.make(0, of)
  await gates.beat()
  await gates.lose()
  t.same(gates.stores.map(one => one.status()), [[{ upstream: 'default', state: 'share', replicas: 2, lostSince: START, why: 'no answer in time', losses: 1 }], [{ upstream: 'default', state: 'share', replicas: 2, lostSince: START, why: 'no answer in time', losses: 1 }]])
  t.match(gates.events, [{ kind: 'lost', replicas: 2 }, { kind: 'lost', replicas: 2 }])
  // 32 of 40 are unused: 16 a gate, half of it.
  t.equal(await gates.drain(0, of), 8)
  t.match(await gates.reserve(0, of), { by: 'bucket', wait: { untilMs: START + 60_500 } })
  t.equal(await gates.drain(1, of), 8)
  t.equal(await gates.drain(1, call(plan({ bucket: '/api/v1/groups', configuredOrg: 80 }))), 10, 'nobody had used that one')
  gates.clock.advance(60_500)
  t.equal(await gates.drain(0, of), 20)
  t.equal(await gates.drain(1, of), 20)
  gates.road.broken = false
  await gates.beat()
  await gates.beat()
  t.match(gates.events.slice(2), [{ kind: 'back', lostMs: 60_500, emptied: false }, { kind: 'back', emptied: false }])
  t.match(await gates.stores[0]!.snapshot(gates.clock.now), [{ buckets: [{ used: 40 }] }], 'all of it is told')
  t.equal((await gates.reserve(0, of)).kind, 'refused', 'no burst')
})

t.test('an emptied store learns everything again before it admits anything', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan({ configuredOrg: 80 }), { rule: { id: 'r', perMinute: 30 } })
  await gates.make(0, of, answer(START, 200, 40, 39, START + 60_000))
  for (let i = 0; i < 9; i++) await gates.make(0, of)
  for (let i = 0; i < 10; i++) await gates.make(1, of)
  await gates.make(1, call(plan({ bucket: 'shut' })), answer(START, 429, 10, 0, START + 50_000))
  const flying = ticketOf(await gates.reserve(1, of))
  await gates.beat()
  await gates.lose()
  gates.clock.advance(1000)
  await flushed(gates.prefix)
  gates.road.broken = false
  gates.stores[0]!.beat(gates.clock.now)
  await new Promise(resolve => setTimeout(resolve, 20))
  t.match(gates.stores[0]!.status(), [{ state: 'share' }], 'the other one has not told yet')
  const alone = await gates.reserve(0, of)
  t.equal(alone.kind, 'admitted', 'its own share goes on')
  gates.stores[1]!.beat(gates.clock.now)
  await new Promise(resolve => setTimeout(resolve, 20))
  await gates.beat()
  t.match(gates.stores.map(one => one.status()[0]!.state), ['shared', 'shared'])
  t.match(gates.events.slice(2), [{ kind: 'back', emptied: true }, { kind: 'back', emptied: true }])
  const users = async (gate: number): Promise<object> => (await gates.stores[gate]!.snapshot(gates.clock.now))[0]!.buckets.find(one => one.bucket === '/api/v1/users')!
  t.match(await users(0), { org: 80, used: 22, inFlight: 2, clients: [{ client: 'a', used: 22 }] })
  t.match(await gates.reserve(0, call(plan({ bucket: 'shut' }))), { by: 'closed' }, 'what Okta closed stays closed')
  gates.stores[1]!.settle(flying, SILENT, gates.clock.now)
  gates.stores[1]!.release(flying, gates.clock.now)
  t.match(await users(1), { used: 22, inFlight: 1 })
  t.strictSame((await Promise.all([0, 1, 1].map(async gate => await gates.reserve(gate, of)))).map(one => one.kind), ['admitted', 'admitted', 'admitted'], 'no first answer is awaited again')
  t.match(await gates.reserve(0, call(plan({ configuredOrg: 80 }), { client: 'b' })), { kind: 'admitted' })
})

t.test('what a gate has told is not told again, although the answer was lost', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan({ configuredOrg: 80 }))
  for (let i = 0; i < 3; i++) await gates.make(0, of)
  gates.clock.advance(1000)
  const flying = [ticketOf(await gates.reserve(0, of)), ticketOf(await gates.reserve(0, of))]
  gates.road.deaf = true
  gates.clock.advance(100)
  gates.stores[0]!.settle(flying[0]!, SILENT, gates.clock.now)
  for (let i = 0; i < 4; i++) { gates.clock.advance(100); gates.stores[0]!.beat(gates.clock.now); await new Promise(resolve => setTimeout(resolve, 10)) }
  t.equal(gates.stores[0]!.status()[0]!.state, 'share')
  gates.stores[0]!.settle(flying[1]!, SILENT, gates.clock.now)
  const alone = ticketOf(await gates.reserve(0, of))
  gates.stores[0]!.settle(alone, SILENT, gates.clock.now)
  for (const one of [...flying, alone]) gates.stores[0]!.release(one, gates.clock.now)
  gates.road.deaf = false
  gates.clock.advance(100)
  await gates.beat()
  await gates.beat()
  t.match(await gates.stores[0]!.snapshot(gates.clock.now), [{ inFlight: 0, buckets: [{ used: 6, inFlight: 0 }] }])
})

t.test('what others had left of a window is told to an emptied store, and a gate that loses the store awaits no answer of a bucket that was seen', async t => {
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  const of = call(plan({ configuredOrg: 80 }))
  await gates.make(0, of, answer(START, 200, 40, 30, START + 50_000))
  await gates.make(0, of, answer(START, 200, 40, 3, START + 50_000))
  await gates.beat()
  await gates.lose()
  const alone = await Promise.all([1, 1].map(async gate => await gates.reserve(gate, call(plan({ configuredOrg: 80 })))))
  t.strictSame(alone.map(one => one.kind), ['admitted', 'admitted'], 'both at once')
  for (const one of alone) gates.stores[1]!.cancel(ticketOf(one), START)
  await flushed(gates.prefix)
  gates.road.broken = false
  await gates.beat()
  await gates.beat()
  t.equal(await gates.drain(0, of), 3)
  t.match(await gates.reserve(1, of), { by: 'bucket', wait: { untilMs: START + 51_000 } })
})

async function flushed (prefix: string): Promise<void> {
  const { Redis } = await import('ioredis')
  const admin = new Redis(redis.url)
  const keys = await admin.keys(`*${prefix}*`)
  if (keys.length > 0) await admin.del(...keys)
  await admin.quit()
}

t.test('every key ends by itself', async t => {
  // One that tells an emptied store what it did, and does no more; and a sign-in whose answer comes after its name's lease.
  const gates = new Gates(['a', 'b'])
  await gates.ready()
  await gates.make(0, call(plan()))
  const slow = ticketOf(await gates.reserve(1, call(plan({ bucket: '/slow' }), { user: 'slow' })))
  await gates.lose()
  await flushed(gates.prefix)
  gates.road.broken = false
  await gates.beat()
  await gates.beat()
  gates.stores[1]!.settle(slow, SILENT, gates.clock.now)
  await gates.beat()
  const { Redis } = await import('ioredis')
  const admin = new Redis(redis.url)
  const keys = await admin.keys('*')
  t.ok(keys.length > 100)
  const lives = await Promise.all(keys.map(async key => await admin.pttl(key)))
  t.strictSame(keys.filter((_, i) => lives[i]! < 0 && lives[i] !== -2).slice(0, 5), [])
  t.ok(lives.every(life => life <= 7_200_000))
  t.ok(keys.every(key => /^\{[^{}]*\}/.test(key)), 'one hash slot per upstream')
  await admin.quit()
})

t.test('a gate that may not, or can not, go by its share refuses', async t => {
  const gates = new Gates(['a'], { onStoreLoss: 'refuse' })
  await gates.ready()
  const of = call(plan())
  await gates.make(0, of)
  await gates.lose()
  t.match(await gates.reserve(0, of), { kind: 'refused', by: 'store', wait: { untilMs: START + 1000 } })
  t.match(gates.stores[0]!.status(), [{ state: 'refuse' }])
  gates.road.broken = false
  await gates.beat()
  t.equal((await gates.reserve(0, of)).kind, 'admitted')

  const unseen = new Gates(['a'])
  unseen.road.broken = true
  t.match(await unseen.reserve(0, of), { by: 'store' }, 'it has never seen how many there are')
  const early = new Gates(['a', 'b'], { patienceMs: 2000 })
  await early.ready()
  t.match(await early.reserve(0, of), { by: 'bucket', wait: { untilMs: START + 1000 } }, 'before the store is open nobody knows; it will be in a moment')
  const told = new Gates(['a'], { replicas: 4 })
  told.road.broken = true
  t.equal(await told.drain(0, call(plan({ configuredOrg: 80 }))), 10, 'it was told')
})

const FAULTS: Record<string, Fault[]> = {
  'nothing happens': [],
  'the store is gone for half a minute': [{ atMs: 70_000, road: 'gone' }, { atMs: 100_000, road: 'good' }],
  'the store is gone for two minutes': [{ atMs: 65_000, road: 'gone' }, { atMs: 185_000, road: 'good' }],
  'it goes while the first calls rush in': [{ atMs: 1500, road: 'gone' }, { atMs: 20_000, road: 'good' }],
  'it comes back empty': [{ atMs: 70_000, road: 'gone' }, { atMs: 73_000, road: 'good', empty: true }],
  'its answers are lost': [{ atMs: 70_000, road: 'deaf' }, { atMs: 90_000, road: 'good' }],
  'one gate loses it': [{ atMs: 70_000, road: 'gone', gates: [1] }, { atMs: 95_000, road: 'good' }],
  'it comes and goes': Array.from({ length: 30 }, (_, i): Fault => ({ atMs: 40_000 + i * 3000, road: i % 2 === 1 ? 'good' : 'gone', gates: i % 4 < 2 ? [0, 1] : undefined })),
  'a gate is killed and started again': [{ atMs: 70_000, restart: 2 }],
  'a gate is killed while the store is emptied': [{ atMs: 70_000, restart: 2, empty: true }]
}

t.test('simulated: four gates, saturating clients, and whatever happens to the store', async t => {
  const model: Omit<Model, 'seed' | 'faults'> = { gates: 4, clients: 16, limit: 200, seconds: 185, settledAfter: 63, everyMs: 1500, latencyMs: 600, roundTripMs: 2 }
  for (const [name, faults] of Object.entries(FAULTS)) {
    const seed = name.length
    const outcome = await simulate({ ...model, seed, faults }, line, `s${made++}.`)
    const said = `${name}, seed ${seed}: worst span ${outcome.worst} of ${model.limit / 2}, ${(100 * outcome.use).toFixed(1)}% used, Jain's index ${outcome.jain.toFixed(3)}`
    t.ok(outcome.worst <= model.limit / 2, said)
    t.equal(outcome.refusedByOkta, 0, `${name}: no 429 of Okta`)
    if (faults.length === 0) t.ok(outcome.use >= 0.95 && outcome.jain >= 0.98, said)
    t.ok(outcome.use > 0.5, `${name}: goes on`)
    t.comment(said)
  }
})

t.test('a key that is no password opens nothing; an ACL user with its keys alone is enough', async t => {
  const guarded = await RedisServer.start(['--user', 'default', 'off', '--user', 'narrowgate', 'on', '>secret', '~narrowgate:*', '+@all', '-@dangerous', '-@admin'])
  t.teardown(() => guarded.stop())
  const url = new URL(guarded.url)
  url.username = 'narrowgate'
  url.password = 'secret'
  const allowed = await connect(url.href, { prefix: 'narrowgate:' })
  const clock = new Clock()
  const one = new SharedStore({ line: allowed, gate: 'a', later: clock.later, soon: queueMicrotask, clock: () => clock.now, timeoutMs: 5000, onStoreLoss: 'refuse', longestCallMs: 1, note: () => {}, virtual: true, patienceMs: 0 })
  t.equal((await one.reserve(call(plan()), START)).kind, 'admitted')
  url.password = 'wrong'
  const said: string[] = []
  const refused = createLine({ url: url.href, commandTimeoutMs: 200, prefix: '' }, error => { said.push(error.message) })
  await new Promise(resolve => setTimeout(resolve, 100))
  await t.rejects(refused.time())
  await refused.close()
  t.notMatch(said.join('\n'), 'wrong')
})
