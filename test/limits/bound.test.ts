import fc from 'fast-check'
import t from 'tap'
import type { Observation } from '../../src/limits/headers.js'
import { MemoryStore } from '../../src/limits/memory.js'
import type { Admission, BucketPlan, LimitCall, Ticket } from '../../src/limits/store.js'
import { Agenda, OktaCounter, worstSpan } from './okta.js'
import { answer, call, plan, SILENT, START, ticketOf } from './world.js'

const SEED = 20261122
/** MUTATION_RUNS: a mutation run has every mutant go through all of it, and is content with less. */
const RUNS = Number(process.env['MUTATION_RUNS'] ?? 150)

/** The store under virtual time. */
class Run {
  now = START
  readonly agenda = new Agenda()
  readonly store = new MemoryStore((ms, run) => this.agenda.add(this.now + ms, () => run(this.now)))

  #waiting = 0

  /** Does everything up to `until`. */
  async to (until: number): Promise<void> {
    this.agenda.add(until, () => {})
    for (let next = this.agenda.next(); next !== undefined; next = this.agenda.next()) {
      this.now = Math.max(this.now, next.at)
      await next.run()
      await this.calm()
      if (next.at >= until) return
    }
  }

  /** Lets calls that waited and were admitted go on before anything else happens. */
  async calm (): Promise<void> {
    if (this.#waiting > 0) await new Promise(resolve => setImmediate(resolve))
  }

  /** Hands an admission over, at once where it is there at once. */
  reserve (of: LimitCall, then: (admission: Admission) => void, now = this.now): void {
    const admission = this.store.reserve(of, now)
    if (!(admission instanceof Promise)) return then(admission)
    this.#waiting++
    admission.then(later => {
      this.#waiting--
      then(later)
    }).catch(error => this.agenda.add(this.now, () => { throw error }))
  }
}

/** One reserved call, for the proof: where it was counted, and what was allowed when it was reserved. */
interface Sent {
  readonly bucket: string
  readonly client: string
  readonly order: number
  readonly sentAt: number
  arrivedAt: number
  readonly allowed: number
  readonly part: number
}

/**
 * True when no 60 s span of `time` holds more than was allowed when the last call of it was reserved.
 * What was allowed may change from call to call, so the last reserved one is the judge.
 */
function isBound (sent: readonly Sent[], time: (one: Sent) => number, limit: (one: Sent) => number): boolean {
  const sorted = [...sent].sort((a, b) => time(a) - time(b))
  for (let first = 0; first < sorted.length; first++) {
    let last = sorted[first]!
    for (let i = first, count = 1; i < sorted.length && time(sorted[i]!) - time(sorted[first]!) < 60_000; i++, count++) {
      if (sorted[i]!.order > last.order) last = sorted[i]!
      if (count > limit(last)) return false
    }
  }
  return true
}

function mustHold (what: string, holds: boolean): void {
  if (!holds) throw new Error(`more than allowed: ${what}`)
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('call' as const), client: fc.nat(2), bucket: fc.nat(1), credential: fc.constantFrom('upstream', 'upstream', 'none', 'authnToken'), rule: fc.boolean(), latency: fc.nat(6000), arrival: fc.double({ min: 0, max: 1, noNaN: true }), teaches: fc.nat(9), figures: fc.tuple(fc.nat(14), fc.nat(14), fc.integer({ min: -5, max: 70 })), repeat: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.oneof(fc.nat(3000), fc.nat(61_000)) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('back' as const), ms: fc.nat(90_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reload' as const), org: fc.option(fc.integer({ min: 2, max: 24 }), { nil: undefined }), concurrency: fc.integer({ min: 2, max: 40 }) }) }
)

t.test('whatever happens, no 60 seconds hold more than the allowance: of sends, of arrivals, per client, per rule', async t => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async steps => {
    const run = new Run()
    const sent: (Sent & { rule: boolean })[] = []
    const shares = [1, 0.5, 0.2]
    let plans: BucketPlan[] = ['p', 'q'].map(bucket => plan({ bucket, catalogueOrg: 12 }))
    let inFlight = 0
    for (const one of steps) {
      if (one.kind === 'wait') { await run.to(run.now + one.ms); continue }
      if (one.kind === 'reload') { plans = plans.map(old => ({ ...old, configuredOrg: one.org, concurrency: one.concurrency })); continue }
      if (one.kind === 'back') {
        const before = run.store.snapshot(run.now).map(upstream => upstream.buckets.map(bucket => bucket.used))
        const after = run.store.snapshot(run.now - one.ms).map(upstream => upstream.buckets.map(bucket => bucket.used))
        if (before.toString() !== after.toString()) throw new Error('a clock that went back changed what is used')
        run.reserve(call(plans[0]!, { client: 'b' }), admission => admission.kind === 'admitted' && run.store.cancel(admission.ticket, run.now - one.ms), run.now - one.ms)
        await run.calm()
        continue
      }
      const of = call(plans[one.bucket]!, { client: 'abc'[one.client]!, share: shares[one.client]!, credential: one.credential as LimitCall['credential'], rule: one.rule ? { id: 'r', perMinute: 3 } : undefined })
      for (let i = 0; i < one.repeat; i++) {
        run.reserve(of, admission => {
          if (admission.kind === 'refused') {
            const { untilMs } = admission.wait
            if (untilMs <= run.now || (admission.by !== 'closed' && untilMs > run.now + 61_000)) throw new Error(`a wait of ${untilMs - run.now} ms`)
            return
          }
          inFlight++
          if (inFlight > run.store.snapshot(run.now)[0]!.allowance) throw new Error('too many in flight')
          const allowed = allowedBy(run, of)
          const record = { bucket: of.plan.bucket, client: of.client, order: sent.length, sentAt: run.now, arrivedAt: run.now + Math.floor(one.latency * one.arrival), allowed, part: Math.max(1, Math.floor(of.share * allowed + 1e-9)), rule: one.rule }
          sent.push(record)
          run.agenda.add(run.now + one.latency, () => {
            inFlight--
            run.store.settle(admission.ticket, teaching(one.teaches, one.figures, run.now), run.now)
            run.store.release(admission.ticket, run.now)
          })
        })
      }
    }
    await run.to(run.now + 60_000)
    for (const bucket of ['p', 'q']) {
      const calls = sent.filter(one => one.bucket === bucket)
      mustHold('arrivals', isBound(calls, one => one.arrivedAt, one => one.allowed))
      mustHold('sends', isBound(calls, one => one.sentAt, one => one.allowed))
      for (const client of 'abc') {
        const own = calls.filter(one => one.client === client)
        mustHold(`share of ${client}`, isBound(own, one => one.arrivedAt, one => one.part))
        mustHold(`rule of ${client}`, isBound(own.filter(one => one.rule), one => one.arrivedAt, () => 3))
      }
    }
  }), { seed: SEED, numRuns: RUNS })
  t.pass('held')
})

/** The most that any credential is allowed now: what the views tell operators is what bounds the calls. */
function allowedBy (run: Run, of: LimitCall): number {
  return run.store.snapshot(run.now)[0]!.buckets.find(one => one.bucket === of.plan.bucket)!.allowance
}

/** Any answer: sane, senseless, silent, failed, refused. */
function teaching (which: number, [limit, remaining, ahead]: [number, number, number], now: number): Observation | undefined {
  if (which === 0) return undefined
  if (which <= 2) return SILENT
  return answer(now, which === 3 ? 429 : 200, limit, remaining, now + ahead * 1000)
}

interface Load {
  readonly limit: number
  readonly seconds: number
  readonly latency: (random: () => number) => number
  /** how often each client tries, ms */
  readonly everyMs: number
  readonly clients: readonly { readonly client: string, readonly share: number }[]
  readonly others?: (random: () => number) => number
}

/** Clients that always want more, in front of Okta's own counter. */
async function saturate (load: Load, seed: number): Promise<{ run: Run, okta: OktaCounter, arrivals: number[], byClient: Map<string, number[]>, afterRefusal: number }> {
  const run = new Run()
  const random = mulberry(seed)
  const okta = new OktaCounter(load.limit)
  const of = plan({ catalogueOrg: load.limit * 2 })
  const arrivals: number[] = []
  const byClient = new Map<string, number[]>(load.clients.map(one => [one.client, []]))
  let closedUntil = 0
  let afterRefusal = 0
  function go (ticket: Ticket, client: string): void {
    if (run.now < closedUntil) afterRefusal++
    const latency = load.latency(random)
    run.agenda.add(run.now + Math.floor(latency * random()), () => {
      arrivals.push(run.now)
      byClient.get(client)!.push(run.now)
      const counted = okta.arrive(run.now)
      run.agenda.add(Math.max(run.now, run.now + Math.floor(latency * random())), () => {
        if (counted.status === 429) closedUntil = counted.endsAt
        run.store.settle(ticket, okta.observation(counted, run.now), run.now)
        run.store.release(ticket, run.now)
      })
    })
  }
  function attempt ({ client, share }: { client: string, share: number }): void {
    run.reserve(call(of, { client, share }), admission => { if (admission.kind === 'admitted') go(admission.ticket, client) })
    run.agenda.add(run.now + Math.ceil(load.everyMs * (0.5 + random())), () => attempt({ client, share }))
  }
  function others (): void {
    okta.others(run.now, load.others!(random))
    run.agenda.add(run.now + 1000, others)
  }
  load.clients.forEach(one => attempt(one))
  if (load.others !== undefined) others()
  await run.to(START + load.seconds * 1000)
  return { run, okta, arrivals, byClient, afterRefusal }
}

/** A small generator with a seed: the same run every time. */
function mulberry (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

const LOADS: { name: string, load: Load }[] = [
  { name: 'a burst of everything at once', load: { limit: 300, seconds: 620, everyMs: 20, latency: random => 1000 * random(), clients: [{ client: 'a', share: 1 }] } },
  { name: 'a steady stream just above the limit', load: { limit: 300, seconds: 620, everyMs: 180, latency: random => 500 + 500 * random(), clients: [{ client: 'a', share: 1 }] } },
  { name: 'the tightest bucket', load: { limit: 10, seconds: 620, everyMs: 100, latency: random => 1000 * random(), clients: [{ client: 'a', share: 1 }] } },
  { name: 'clients with shares', load: { limit: 300, seconds: 620, everyMs: 40, latency: random => 1000 * random(), clients: [{ client: 'a', share: 0.5 }, { client: 'b', share: 0.3 }, { client: 'c', share: 0.2 }] } }
]

t.test('under saturating load at least 95% is used, never more than all, and Okta never answers 429', async t => {
  for (const { name, load } of LOADS) {
    for (const seed of [1, 2, 3]) {
      const { okta, arrivals, byClient } = await saturate(load, seed)
      t.equal(okta.refusals.length, 0, `${name}, seed ${seed}: no 429`)
      t.ok(worstSpan(arrivals) <= load.limit, `${name}, seed ${seed}: at most ${load.limit}, was ${worstSpan(arrivals)}`)
      const settled = arrivals.filter(at => at < START + 600_000).length / 10
      t.ok(settled >= 0.95 * load.limit, `${name}, seed ${seed}: ${(100 * settled / load.limit).toFixed(1)}% used`)
      for (const { client, share } of load.clients) {
        t.ok(worstSpan(byClient.get(client)!) <= Math.floor(share * load.limit), `${name}, seed ${seed}: share of ${client}`)
      }
    }
  }
})

t.test('with others on the same credential, a 429 stops the bucket: no more than were in flight', async t => {
  let drawn = 0
  for (const seed of [1, 2, 3, 4, 5]) {
    const { okta, arrivals, afterRefusal } = await saturate({ limit: 100, seconds: 600, everyMs: 150, latency: random => 1000 * random(), clients: [{ client: 'a', share: 1 }], others: random => Math.floor(5 * random()) }, seed)
    drawn += okta.refusals.length
    t.equal(afterRefusal, 0, `seed ${seed}: nothing is sent between a 429 and its Reset`)
    t.ok(worstSpan(okta.refusals) <= 12, `seed ${seed}: ${okta.refusals.length} of ${arrivals.length}, at most ${worstSpan(okta.refusals)} in a minute`)
    t.ok(arrivals.length > 250, `seed ${seed}: ${arrivals.length} calls got through`)
  }
  t.ok(drawn < 100, `${drawn} were drawn`)
})

t.test('a gate that is killed and started again does not spend twice', async t => {
  for (const seed of [1, 2, 3, 4]) {
    for (const everyMs of [100, 700, 1200]) {
      const random = mulberry(seed)
      const okta = new OktaCounter(60)
      const arrivals: number[] = []
      const killAt = START + 30_000 + Math.floor(random() * 28_000)
      let store = new MemoryStore(() => {})
      for (let now = START, killed = false; now < START + 185_000; now += killed ? 100 : everyMs) {
        if (!killed && now >= killAt) { store = new MemoryStore(() => {}); killed = true }
        const admission = await store.reserve(call(plan({ catalogueOrg: 120 })), now)
        if (admission.kind === 'refused') continue
        arrivals.push(now)
        store.settle(ticketOf(admission), okta.observation(okta.arrive(now), now), now)
        store.release(ticketOf(admission), now)
      }
      // When all had been spent, the first call after the start is what finds out.
      const name = `seed ${seed}, a call every ${everyMs} ms until killed after ${killAt - START} ms`
      t.ok(okta.refusals.length <= 1, `${name}: ${okta.refusals.length} 429s`)
      t.ok(worstSpan(arrivals) <= 60 + okta.refusals.length, `${name}: at most ${worstSpan(arrivals)}`)
      t.ok(arrivals.length >= 171, `${name}: ${arrivals.length} of 180 in three minutes`)
    }
  }
})
