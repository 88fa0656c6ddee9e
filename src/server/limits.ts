import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { Config, SecretReference } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import { MemoryStore } from '../limits/memory.js'
import type { Later } from '../limits/probe.js'
import type { Connection, createLine, Notes } from '../limits/redis.js'
import { BEAT_MS } from '../limits/session.js'
import type { StoreEvent, StoreStatus } from '../limits/shared-call.js'
import { SharedStore } from '../limits/shared.js'
import type { LimitStore, UpstreamView } from '../limits/store.js'
import { WaitingStore, type Waits } from '../limits/waiting.js'

/** How long a start waits for the shared store to open: longer than a fresh one asks for (`PATIENCE_MS`). */
const OPEN_MS = 3000

/** Connects to a shared store. */
export type CreateLine = typeof createLine

/** What a shared store is reached with; a gate that keeps its limits in memory does not load it. */
export async function lineOf ({ limits }: Config): Promise<CreateLine | undefined> {
  return limits.store === 'memory' ? undefined : (await import('../limits/redis.js')).createLine
}

/** The limit store that narrowgate.yaml names, kept going. It outlives snapshots. */
export class Limits {
  readonly store: LimitStore
  /** the same store, for ids that count once; absent: the gate keeps them in memory */
  readonly notes: Notes | undefined
  readonly #waiting: WaitingStore<LimitStore> | undefined
  readonly #shared: SharedStore | undefined
  readonly #connected: (ms: number) => Promise<void>
  readonly #steadyNow: () => number
  readonly #beat: NodeJS.Timeout | undefined
  #viewed: { readonly at: number, readonly views: Promise<readonly UpstreamView[]> } | undefined

  /**
   * @param steadyNow epoch ms of a clock that does not jump
   * @param line lineOf() the same configuration
   * @param relayed a worker's: the primary keeps the limits, the calls that wait among them
   */
  constructor (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, steadyNow: () => number, log: Logger, line: CreateLine | undefined, relayed?: LimitStore) {
    const later = laterOn(steadyNow)
    this.#steadyNow = steadyNow
    this.#connected = async () => {}
    if (relayed !== undefined) { this.store = relayed; return }
    const opened = sharedOf(config, secrets, later, steadyNow, log, line)
    this.#shared = opened?.store
    this.notes = opened?.notes
    if (opened !== undefined) this.#connected = async ms => { await opened.notes.connected(ms) }
    this.store = this.#waiting = new WaitingStore<LimitStore>(this.#shared ?? new MemoryStore(later), later)
    if (this.#shared === undefined) return
    const shared = this.#shared
    this.#beat = setInterval(() => { shared.beat(steadyNow()) }, BEAT_MS)
    this.#beat.unref()
  }

  /** The shared store, by upstream; empty for one in memory. */
  get status (): readonly StoreStatus[] {
    return this.#shared?.status() ?? []
  }

  get waits (): Waits {
    return this.#waiting?.waits ?? { count: 0, sumMs: 0, admitted: 0, left: 0 }
  }

  /** Waits until the shared store is open, at most `OPEN_MS`: a gate starts without it. Never rejects. */
  async ready (upstreams: Iterable<string>): Promise<void> {
    const shared = this.#shared
    if (shared === undefined) return
    const until = this.#steadyNow() + OPEN_MS
    await this.#connected(OPEN_MS / 2)
    await shared.ready(upstreams)
    while (this.#steadyNow() < until && shared.status().some(one => one.state !== 'shared')) await new Promise(resolve => setTimeout(resolve, 50))
  }

  /** All buckets that are kept here; readers at the same time share one look. */
  async view (now: number): Promise<readonly UpstreamView[]> {
    if (this.#waiting === undefined) return []
    if (this.#viewed === undefined || now > this.#viewed.at + 100) this.#viewed = { at: now, views: Promise.resolve(this.store.snapshot(now)) }
    return await this.#viewed.views
  }

  async close (now: number): Promise<void> {
    clearInterval(this.#beat)
    await this.store.close(now)
  }
}

/** Timers of a store, on its clock. */
export function laterOn (steadyNow: () => number): Later {
  return (ms, run) => { setTimeout(() => { run(steadyNow()) }, ms).unref() }
}

function sharedOf (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, later: Later, clock: () => number, log: Logger, createLine: CreateLine | undefined): { readonly store: SharedStore, readonly notes: Notes & Connection } | undefined {
  const { store, onStoreLoss } = config.limits
  if (store === 'memory' || createLine === undefined) return undefined
  const { url, ca, ...address } = store
  let said = ''
  const line = createLine({ ...address, url: secrets.get(url)!.reveal(), ca: ca === undefined ? undefined : secrets.get(ca)!.reveal() }, error => {
    if (error.message === said) return
    said = error.message
    log.warn({ err: { message: error.message } }, 'the limit store: a connection failed')
  })
  const longest = [...config.upstreams.values()].map(({ timeouts }) => timeouts.connectMs + timeouts.headersMs)
  const shared = new SharedStore({
    line,
    gate: randomBytes(9).toString('base64url'),
    later,
    soon: setImmediate,
    clock,
    timeoutMs: store.commandTimeoutMs,
    replicas: store.replicas,
    onStoreLoss,
    longestCallMs: Math.max(...longest),
    note: event => { say(log, event, onStoreLoss); if (event.kind === 'back') said = '' }
  })
  return { store: shared, notes: line }
}

function say (log: Logger, event: StoreEvent, onStoreLoss: 'share' | 'refuse'): void {
  const { upstream } = event
  if (event.kind === 'still') log.warn({ upstream, why: event.why }, 'the limit store is still lost')
  else if (event.kind === 'back') log.info({ upstream, lostMs: Math.round(event.lostMs), emptied: event.emptied }, 'the limit store is there again')
  else if (onStoreLoss === 'refuse') log.error({ upstream, why: event.why }, 'the limit store is lost: calls are refused until it is there again')
  else if (event.replicas === 0) log.error({ upstream, why: event.why }, 'the limit store was never reached and limits.store.redis.replicas does not say how many gates there are: calls are refused')
  else log.error({ upstream, why: event.why, replicas: event.replicas }, 'the limit store is lost: this gate goes by its share of the limits')
}
