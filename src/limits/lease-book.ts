import type { LeaseScope } from './leases.js'
import type { Later } from './probe.js'
import type { CallShape } from './relay-wire.js'
import type { RefusedBy } from './store.js'

/** How long a worker may take to give back what lies with it. It answers within a turn of its event loop. */
const RECALL_MS = 100

/** Workers tell of calls that are over up to this late (`LAZY_MS` of relayed.ts): so old may what is known of places in flight be. */
const KNOWN_MS = 5

/** Whom a recall goes to. */
export interface Lessee {
  recall: (number: number, scope: LeaseScope) => void
}

interface Recall { readonly waiting: Set<Lessee>, readonly resolve: () => void }

/**
 * What the primary has leased to its workers and may lie there unused. Before a call is refused it is asked back, so that
 * leases cost nobody a call.
 */
export class LeaseBook {
  readonly #later: Later
  readonly #lessees = new Set<Lessee>()
  /** upstream → bucket → clients that slots were leased for since they were last asked back */
  readonly #leased = new Map<string, Map<string, Set<string>>>()
  readonly #recalls = new Map<number, Recall>()
  /** recalls that are under way, by their scope */
  readonly #open = new Map<string, Promise<void>>()
  readonly #knownAt = new Map<string, number>()
  #numbers = 0

  constructor (later: Later) { this.#later = later }

  join (lessee: Lessee): void { this.#lessees.add(lessee) }

  /** It is gone: nobody waits for it. */
  leave (lessee: Lessee): void {
    this.#lessees.delete(lessee)
    for (const number of [...this.#recalls.keys()]) this.returned(lessee, number)
  }

  leased ({ plan: { upstream, bucket }, client }: CallShape): void {
    let buckets = this.#leased.get(upstream)
    if (buckets === undefined) this.#leased.set(upstream, buckets = new Map())
    const clients = buckets.get(bucket)
    if (clients === undefined) buckets.set(bucket, new Set([client]))
    else clients.add(client)
  }

  /**
   * Asks back what may keep a call from being admitted.
   *
   * @returns resolves when it is back; undefined: nothing lies anywhere that could help
   */
  recall ({ plan: { upstream, bucket }, client }: CallShape, by: RefusedBy, now: number): Promise<void> | undefined {
    const scope: (LeaseScope & { readonly upstream: string }) | undefined = by === 'bucket' ? { upstream, bucket } : by === 'share' || by === 'rule' ? { upstream, bucket, client } : by === 'concurrency' ? { upstream } : undefined
    if (scope === undefined) return undefined
    const key = JSON.stringify(scope)
    const open = this.#open.get(key)
    if (open !== undefined) return open
    const stale = by === 'concurrency' && now - (this.#knownAt.get(upstream) ?? -Infinity) >= KNOWN_MS
    if (!this.#take(scope) && !stale) return undefined
    if (by === 'concurrency') this.#knownAt.set(upstream, now)
    const done = this.#send(scope)
    this.#open.set(key, done)
    return done.finally(() => { this.#open.delete(key) })
  }

  /** Okta has answered 429: what was leased before is good for nothing. */
  recallAll (): void {
    this.#leased.clear()
    this.#send({}).catch(() => {})
  }

  /** Okta says that a bucket has little left. */
  recallBucket (shape: CallShape, now: number): void {
    this.recall(shape, 'bucket', now)?.catch(() => {})
  }

  /** A worker has given back what lay with it. */
  returned (lessee: Lessee, number: number): void {
    const recall = this.#recalls.get(number)
    if (recall === undefined) return
    recall.waiting.delete(lessee)
    if (recall.waiting.size > 0) return
    this.#recalls.delete(number)
    recall.resolve()
  }

  async #send (scope: LeaseScope): Promise<void> {
    if (this.#lessees.size === 0) return
    const number = ++this.#numbers
    await new Promise<void>(resolve => {
      this.#recalls.set(number, { waiting: new Set(this.#lessees), resolve })
      this.#later(RECALL_MS, () => { this.#recalls.delete(number); resolve() })
      for (const lessee of [...this.#lessees]) lessee.recall(number, scope)
    })
  }

  /** True when slots were leased there since they were last asked back; they count as asked back now. */
  #take ({ upstream, bucket, client }: LeaseScope & { readonly upstream: string }): boolean {
    const buckets = this.#leased.get(upstream)
    if (buckets === undefined) return false
    if (bucket === undefined) return this.#leased.delete(upstream)
    const clients = buckets.get(bucket)
    if (clients === undefined) return false
    return client === undefined ? buckets.delete(bucket) : clients.delete(client)
  }
}
