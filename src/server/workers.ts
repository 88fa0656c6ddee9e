import cluster, { type Worker } from 'node:cluster'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { createFailures } from '../clients/failures.js'
import { SeenOnceInMemory } from '../clients/seen-once.js'
import type { Recorded } from '../config/recorded.js'
import type { Secret } from '../domain/secret.js'
import { LimitDesk } from '../limits/desk.js'
import { LeaseBook } from '../limits/lease-book.js'
import type { RelayStep } from '../limits/relay-wire.js'
import type { LimitStore, UpstreamView } from '../limits/store.js'
import { Channel, type Item } from './channel.js'
import { laterOn } from './limits.js'
import type { KnownIdentities } from './self-keeper.js'
import { StdoutRelay } from './stdout-relay.js'
import { addCounters, type MetricJson } from './worker-metrics.js'
import { sendRecorded, type Failed, type Joined, type Loading, type Numbered, type Use, type WorkerStatus } from './worker-talk.js'

/** A worker that keeps dying is started again after twice the time, up to this. */
const FIRST_BACKOFF_MS = 100
const LONGEST_BACKOFF_MS = 30_000
/** One that has lived this long has not died of its start. */
const SETTLED_MS = 60_000
/** How long a worker may take to load a set of files that the primary has checked. */
const PREPARE_MS = 120_000
/** How long a worker may take to say how it is. */
const STATUS_MS = 2000

export interface WorkersOptions {
  readonly count: number
  /** narrowgate.yaml, as the operator wrote it */
  readonly configFile: string
  /** the limits of all workers; undefined: each uses the shared store of the configuration */
  readonly limits: LimitStore | undefined
  /** epoch ms of the clock that the limits count in */
  readonly steadyNow: () => number
  /** JWK that signs the gate's own tokens while the configuration names no key: one for all workers */
  readonly tokenKey: Secret
  /** Okta has refused a credential of a worker */
  readonly onRefused: () => void
  readonly log: Logger
}

/** One place among the workers: the process in it may change, its number and its audit files stay. */
interface Place {
  readonly number: number
  state: 'starting' | 'serving' | 'ready' | 'gone'
  worker?: Worker
  channel?: Channel
  startedAt: number
  /** deaths in a row */
  deaths: number
  restarts: number
  timer?: NodeJS.Timeout
  metrics: readonly MetricJson[]
}

/** Shown of a place on /readyz. */
export interface PlaceStatus { readonly worker: number, readonly state: Place['state'], readonly pid?: number, readonly restarts: number }

/**
 * The worker processes of one gate. They share the port (node:cluster), and this process keeps what has to be one for
 * all: the limits, what may be used once, failures, the files that were loaded, and the operators' listener.
 */
export class Workers {
  readonly #options: WorkersOptions
  readonly #places: Place[]
  readonly #seen = new SeenOnceInMemory()
  readonly #failures = { source: createFailures(), client: createFailures() }
  readonly #leases: LeaseBook
  readonly #stdout = new StdoutRelay(healthy => { this.#tell('stdout', healthy) })
  #current: Numbered | undefined
  #next: Numbered | undefined
  #sets = 0
  /** a reload is being decided: nobody starts to serve meanwhile */
  #deciding: Promise<void> = Promise.resolve()
  #decided: () => void = () => {}
  #self: KnownIdentities = []
  #level: string | undefined
  #url: string | undefined
  #draining = false
  /** what the first workers wait for before they serve */
  #opened = false
  #open: () => void = () => {}
  readonly #mayOpen: Promise<void>
  /** the first start: what became of it */
  #begun: { readonly resolve: () => void, readonly reject: (error: Error) => void } | undefined
  /** counters of processes that are gone: what was counted stays counted */
  #past: readonly MetricJson[] = []

  constructor (options: WorkersOptions) {
    this.#options = options
    this.#leases = new LeaseBook(laterOn(options.steadyNow))
    this.#places = Array.from({ length: options.count }, (_, i) => ({ number: i + 1, state: 'gone', startedAt: 0, deaths: 0, restarts: 0, metrics: [] }))
    this.#mayOpen = new Promise(resolve => { this.#open = resolve })
  }

  /** URL of the listener that the workers share. */
  get url (): string { return this.#url! }

  /** Every worker serves. */
  get ready (): boolean { return this.#places.every(place => place.state === 'ready') }

  get places (): PlaceStatus[] {
    return this.#places.map(({ number, state, worker, restarts }) => ({ worker: number, state, pid: worker?.process.pid, restarts }))
  }

  /** Starts the processes; they load these files and wait for `open`. */
  start (recorded: Recorded): void {
    this.#current = { ...recorded, number: ++this.#sets }
    // stdout of each is read here, so that its lines stay whole; the operators' log of all goes to one stderr.
    cluster.setupPrimary({ exec: fileURLToPath(new URL(`../main${extname(import.meta.url)}`, import.meta.url)), args: ['serve', '-c', this.#options.configFile], stdio: ['ignore', 'pipe', 'inherit', 'ipc'] } as Parameters<typeof cluster.setupPrimary>[0])
    for (const place of this.#places) this.#fork(place)
  }

  /** Lets the workers serve; resolves when each does. @throws when one can't, in its own words */
  async open (): Promise<void> {
    this.#opened = true
    const begun = new Promise<void>((resolve, reject) => { this.#begun = { resolve, reject } })
    this.#open()
    if (this.ready) this.#begun!.resolve()
    const failed = this.#firstFault
    if (failed !== undefined) this.#begun!.reject(failed)
    await begun.finally(() => { this.#begun = undefined })
  }

  #firstFault: Error | undefined

  /**
   * Hands a new set of files to every worker that serves. Each loads it aside.
   *
   * @returns why not; empty: all of them can swap, and wait for `commit` or `abandon`
   */
  async prepare (recorded: Recorded): Promise<readonly string[]> {
    this.#deciding = new Promise(resolve => { this.#decided = resolve })
    const next = this.#next = { ...recorded, number: ++this.#sets }
    const answers = await Promise.all(this.#serving().map(async ({ number, worker, channel }) => {
      try {
        await sendRecorded(channel!, next, worker!)
        const problem = await channel!.ask('prepare', undefined, PREPARE_MS) as string | null
        return problem === null ? undefined : `worker ${number}: ${problem}`
      } catch (error) {
        // One that has died meanwhile is started with what is decided.
        return worker!.isDead() || !worker!.isConnected() ? undefined : `worker ${number}: ${(error as Error).message}`
      }
    }))
    return answers.filter(answer => answer !== undefined)
  }

  /** All swap. */
  commit (): void {
    this.#current = this.#next
    this.#tell('commit', this.#current!.number)
    this.#decided()
  }

  /** None does. */
  abandon (): void {
    this.#next = undefined
    this.#tell('abandon')
    this.#decided()
  }

  /** What the gate knows of itself, for workers to refuse by. */
  knows (self: KnownIdentities): void {
    this.#self = self
    this.#tell('self', self)
  }

  /** SIGHUP: audit files are opened anew. */
  reopen (): void { this.#tell('reopen') }

  setLevel (level: string): void {
    this.#level = level
    this.#tell('level', level)
  }

  /** How each worker that serves is. */
  async statuses (): Promise<ReadonlyArray<WorkerStatus & { readonly worker: number }>> {
    const answers = await Promise.all(this.#serving().map(async ({ number, channel }) => {
      const status = await channel!.ask('status', undefined, STATUS_MS).catch(() => undefined) as WorkerStatus | undefined
      return status === undefined ? [] : [{ ...status, worker: number }]
    }))
    return answers.flat()
  }

  /** The buckets of a shared store, as the workers see them. */
  async views (): Promise<readonly UpstreamView[]> {
    const answers = await Promise.all(this.#serving().map(async ({ channel }) => await channel!.ask('limits', undefined, STATUS_MS).catch(() => []) as readonly UpstreamView[]))
    const merged = new Map<string, UpstreamView>()
    for (const view of answers.flat()) {
      const before = merged.get(view.upstream)
      const more = before === undefined ? view.buckets : view.buckets.filter(one => !before.buckets.some(other => other.bucket === one.bucket))
      merged.set(view.upstream, { ...view, buckets: [...before?.buckets ?? [], ...more] })
    }
    return [...merged.values()]
  }

  /** Metrics of every worker that is there, and the counters of those that are not any more. */
  async metrics (): Promise<ReadonlyArray<readonly MetricJson[]>> {
    await Promise.all(this.#serving().map(async place => {
      const metrics = await place.channel!.ask('metrics', undefined, STATUS_MS).catch(() => undefined) as MetricJson[] | undefined
      if (metrics !== undefined) place.metrics = metrics
    }))
    return [...this.#places.map(({ metrics }) => metrics), this.#past]
  }

  /** Every worker stops accepting, finishes what is in flight, and ends. */
  async drain (deadlineMs: number): Promise<void> {
    this.#draining = true
    this.#open()
    await Promise.all(this.#places.map(async place => {
      clearTimeout(place.timer)
      const { worker, channel } = place
      if (worker === undefined || channel === undefined || worker.isDead()) return
      const ended = new Promise<void>(resolve => { worker.once('exit', () => { resolve() }) })
      // Its last words are what it has counted.
      channel.ask('drain', deadlineMs, deadlineMs + 5000).then(metrics => { if (metrics !== null) place.metrics = metrics as MetricJson[] }, () => {})
      const timer = setTimeout(() => { worker.process.kill('SIGKILL') }, deadlineMs + 4000)
      await ended
      clearTimeout(timer)
    }))
    await this.#stdout.close()
  }

  #serving (): Place[] {
    return this.#places.filter(({ state }) => state === 'serving' || state === 'ready')
  }

  #tell (topic: string, value?: unknown): void {
    for (const { channel } of this.#places) channel?.note(topic, value)
  }

  #fork (place: Place): void {
    if (this.#draining) return
    const { limits, steadyNow, log } = this.#options
    const worker = cluster.fork({ NARROWGATE_WORKER: String(place.number) })
    const channel: Channel = new Channel({
      post: items => worker.isConnected() && (worker.send(items, undefined as never, () => {}), true),
      onLimit: item => { desk?.take(item as RelayStep) },
      onNote: (topic, value) => { this.#hear(place, topic, value) },
      onAsk: async (topic, value) => await this.#answer(place, topic, value)
    })
    const desk = limits === undefined ? undefined : new LimitDesk(limits, steadyNow, answer => { channel.push(answer as Item) }, this.#leases)
    Object.assign(place, { worker, channel, state: 'starting', startedAt: steadyNow() })
    const letGo = this.#stdout.attach(worker.process.stdout!)
    worker.on('message', (items: unknown) => {
      try {
        if (Array.isArray(items)) channel.receive(items as Item[])
      } catch (error) {
        // It is of the same program: what makes no sense is a fault of ours, and its budgets can't be trusted.
        log.error({ err: error, worker: place.number }, 'a worker says what can\'t be understood: it is ended')
        worker.process.kill('SIGKILL')
      }
    })
    worker.on('error', error => { log.debug({ err: error, worker: place.number }, 'a message to a worker was not delivered') })
    worker.once('exit', (code: number | null, signal: string | null) => {
      desk?.leave()
      channel.close()
      letGo()
      this.#ended(place, code, signal)
    })
  }

  #ended (place: Place, code: number | null, signal: string | null): void {
    const { log, steadyNow } = this.#options
    this.#keepCounters(place)
    Object.assign(place, { state: 'gone', channel: undefined, worker: undefined })
    if (this.#draining) return
    place.deaths = steadyNow() - place.startedAt > SETTLED_MS ? 1 : place.deaths + 1
    if (this.#begun !== undefined || !this.#opened) {
      const fault = this.#firstFault ?? new Error(`worker ${place.number} ended with ${signal ?? code} before it served`)
      this.#firstFault = fault
      this.#begun?.reject(fault)
      return
    }
    place.restarts++
    const waitMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (place.deaths - 1))
    log.error({ worker: place.number, code, signal, againMs: waitMs }, 'a worker has ended: another one takes its place')
    place.timer = setTimeout(() => { this.#fork(place) }, waitMs)
  }

  /** Counters must not go back because a process has ended. */
  #keepCounters (place: Place): void {
    this.#past = addCounters(this.#past, place.metrics)
    place.metrics = []
  }

  #hear (place: Place, topic: string, value: unknown): void {
    if (topic === 'listening') {
      this.#url ??= value as string
      place.state = 'ready'
      if (place.restarts > 0) this.#options.log.info({ worker: place.number, pid: place.worker?.process.pid }, 'a worker serves again')
      if (this.ready) this.#begun?.resolve()
    } else if (topic === 'refused') this.#options.onRefused()
    else if (topic === 'fault') this.#firstFault ??= new Error(String(value))
  }

  #answer (place: Place, topic: string, value: unknown): unknown {
    switch (topic) {
      case 'join': return this.#join(place)
      case 'loaded': return this.#mayServe(place, value as number)
      case 'use': { const [owner, text, untilMs] = value as Use; return this.#seen.use(owner, text, untilMs, Date.now()) }
      case 'failed': { const [what, source] = value as Failed; return this.#failures[what].failed(source, Date.now())?.wait ?? null }
      default: throw new Error(`a worker asks for ${topic}`)
    }
  }

  async #join (place: Place): Promise<Joined> {
    await this.#send(place)
    return { worker: place.number, tokenKey: this.#options.tokenKey.reveal(), self: this.#self, level: this.#level, relayed: this.#options.limits !== undefined }
  }

  async #send ({ channel, worker }: Place): Promise<void> {
    await sendRecorded(channel!, this.#current!, worker!)
  }

  /** A worker that has loaded something else than what is in force loads again; one that has not serves from here on. */
  async #mayServe (place: Place, number: number): Promise<Loading> {
    await this.#mayOpen
    for (let deciding = this.#deciding; ; deciding = this.#deciding) {
      await deciding
      if (deciding === this.#deciding) break
    }
    if (number !== this.#current!.number) {
      await this.#send(place)
      return 'again'
    }
    place.state = 'serving'
    return 'serve'
  }
}
