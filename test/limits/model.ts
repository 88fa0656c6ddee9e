import type { Line, StoreEvent } from '../../src/limits/shared-call.js'
import { BEAT_MS } from '../../src/limits/session.js'
import { SharedStore } from '../../src/limits/shared.js'
import type { Admission, LimitCall, Ticket } from '../../src/limits/store.js'
import { Agenda, OktaCounter, worstSpan } from './okta.js'
import { answer, call, plan, START } from './world.js'

/** How the store behaves towards a gate, from a time on. */
export type Road =
  | 'good'
  /** no answer; nothing is done there */
  | 'gone'
  /** done there, but the answer is lost */
  | 'deaf'

/** Something happens at a time: to the store, or to a gate. */
export interface Fault {
  readonly atMs: number
  /** gates that see it; absent: all */
  readonly gates?: readonly number[]
  readonly road?: Road
  /** the store has lost its memory */
  readonly empty?: boolean
  /** this gate is killed and started anew */
  readonly restart?: number
  /** Okta's limit is another one from here on */
  readonly limit?: number
}

export interface Model {
  readonly seed: number
  readonly gates: number
  readonly clients: number
  /** the org's, calls per minute; a credential gets half */
  readonly limit: number
  readonly seconds: number
  /** how often each client tries, ms */
  readonly everyMs: number
  /** Okta's latency, ms; the call is counted somewhere in it */
  readonly latencyMs: number
  /** to the store and back, ms */
  readonly roundTripMs: number
  readonly faults?: readonly Fault[]
  readonly call?: (client: number) => Partial<LimitCall>
  /** after this much the use is measured, s */
  readonly settledAfter?: number
  /** gates are told how many they are */
  readonly replicas?: number
}

export interface Outcome {
  /** most calls that Okta counted in any 60 s */
  readonly worst: number
  /** used of the allowance once settled, 0..1 */
  readonly use: number
  readonly refusedByOkta: number
  /** Jain's index of the calls of the clients */
  readonly jain: number
  readonly calls: number
  readonly byClient: readonly number[]
  /** times of arrival at Okta, ms from the start */
  readonly arrivals: readonly number[]
  readonly events: readonly StoreEvent[]
  /** longest that a reservation took, ms */
  readonly slowest: number
  readonly attempts: number
}

const TIMEOUT_MS = 50

/** Okta's counters, nested: a call counts for the credential and for the org; the headers show the credential's. */
class Okta {
  readonly org: OktaCounter
  credential: OktaCounter
  refusals = 0

  constructor (limit: number) {
    this.org = new OktaCounter(limit)
    this.credential = new OktaCounter(limit / 2)
  }

  arrive (now: number): { status: number, remaining: number, endsAt: number, limit: number } {
    this.org.arrive(now)
    const counted = this.credential.arrive(now)
    if (counted.status === 429) this.refusals++
    return { ...counted, limit: this.credential.limit }
  }
}

/** Runs gates, clients, the real store and a model of Okta in virtual time. @param line to a real Redis @param prefix for the keys of this run */
export async function simulate (model: Model, line: Line, prefix: string): Promise<Outcome> {
  const agenda = new Agenda()
  const random = mulberry(model.seed)
  let now = START
  let generation = 0
  const roads: Road[] = Array.from({ length: model.gates }, () => 'good')
  const okta = new Okta(model.limit)
  const arrivals: number[] = []
  const byClient = new Float64Array(model.clients)
  const events: StoreEvent[] = []
  let slowest = 0
  let attempts = 0
  let incarnation = 0
  const of = plan({ catalogueOrg: model.limit, concurrency: 1e6 })

  function road (gate: number): Line {
    const half = (): number => model.roundTripMs * (0.25 + 0.5 * random())
    return {
      run: (_, args) => new Promise((resolve, reject) => {
        const how = roads[gate]
        const lost = (): void => { agenda.add(now + TIMEOUT_MS, () => { reject(new Error('no answer in time')) }) }
        if (how === 'gone') { lost(); return }
        agenda.add(now + half(), async () => {
          const text = await line.run(`${prefix}${generation}`, [args[0]!, args[1]!, String(Math.floor(now)), '', ...args.slice(4)])
          if (roads[gate] === 'gone' || how === 'deaf') { lost(); return }
          agenda.add(now + half(), () => { resolve(text) })
        })
      }),
      time: async () => now,
      close: async () => {}
    }
  }

  function start (gate: number): SharedStore {
    return new SharedStore({
      line: road(gate),
      gate: `g${gate}.${incarnation++}`,
      later: (ms, run) => { agenda.add(now + ms, () => { run(now) }) },
      soon: queueMicrotask,
      clock: () => now,
      timeoutMs: TIMEOUT_MS,
      replicas: model.replicas,
      onStoreLoss: 'share',
      longestCallMs: 60_000,
      note: event => { events.push(event) },
      virtual: true
    })
  }

  const stores = roads.map((_, gate) => start(gate))
  const alive = stores.map(() => 0)
  const beat = (gate: number): void => {
    stores[gate]!.beat(now)
    agenda.add(now + BEAT_MS, () => { beat(gate) })
  }
  stores.forEach((store, gate) => {
    store.ready(['default']).catch(() => {})
    agenda.add(now + BEAT_MS * random(), () => { beat(gate) })
  })

  function send (gate: number, ticket: Ticket, client: number): void {
    const store = stores[gate]!
    const life = alive[gate]!
    const latency = model.latencyMs * (0.5 + random())
    agenda.add(now + latency * random(), () => {
      arrivals.push(now - START)
      byClient[client]!++
      const counted = okta.arrive(now)
      agenda.add(now + latency * 0.5, () => {
        if (alive[gate] !== life) return
        store.settle(ticket, answer(Math.floor(now), counted.status, counted.limit, counted.remaining, counted.endsAt), now)
        store.release(ticket, now)
      })
    })
  }

  function attempt (client: number): void {
    const gate = Math.floor(random() * model.gates)
    const began = now
    const life = alive[gate]!
    attempts++
    const take = (admission: Admission): void => {
      slowest = Math.max(slowest, now - began)
      if (admission.kind === 'admitted' && alive[gate] === life) send(gate, admission.ticket, client)
    }
    const admission = stores[gate]!.reserve(call(of, { client: `c${client}`, ...model.call?.(client) }), now)
    if (admission instanceof Promise) admission.then(take, error => { agenda.add(now, () => { throw error }) })
    else take(admission)
    agenda.add(now + model.everyMs * (0.5 + random()), () => { attempt(client) })
  }
  for (let client = 0; client < model.clients; client++) agenda.add(now + 1000 + model.everyMs * random(), () => { attempt(client) })

  for (const fault of model.faults ?? []) {
    agenda.add(START + fault.atMs, () => {
      if (fault.road !== undefined) for (const gate of fault.gates ?? roads.keys()) roads[gate] = fault.road
      if (fault.empty === true) generation++
      if (fault.limit !== undefined) okta.credential = Object.assign(new OktaCounter(fault.limit / 2), {})
      if (fault.restart !== undefined) {
        alive[fault.restart]!++
        stores[fault.restart] = start(fault.restart)
        stores[fault.restart]!.ready(['default']).catch(() => {})
      }
    })
  }

  const end = START + model.seconds * 1000
  for (let next = agenda.next(); next !== undefined && next.at <= end; next = agenda.next()) {
    now = Math.max(now, next.at)
    await next.run()
    // What has been answered goes on before anything else happens.
    for (let i = 0; i < 8; i++) await undefined
  }
  const settledMs = (model.settledAfter ?? 60) * 1000
  const settled = arrivals.filter(at => at >= settledMs).length
  const minutes = (model.seconds * 1000 - settledMs) / 60_000
  const sum = byClient.reduce((a, b) => a + b, 0)
  const squares = byClient.reduce((a, b) => a + b * b, 0)
  return {
    worst: worstSpan(arrivals),
    use: settled / minutes / (model.limit / 2),
    refusedByOkta: okta.refusals,
    jain: squares === 0 ? 1 : sum * sum / (model.clients * squares),
    calls: arrivals.length,
    byClient: [...byClient],
    arrivals,
    events,
    slowest,
    attempts
  }
}

/** A small generator with a seed: the same run every time. */
export function mulberry (seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
