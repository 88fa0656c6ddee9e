import type { AddressInfo } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { hostname } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { AuditLog } from '../audit/log.js'
import type { RegistryMetric } from '../audit/otlp-metrics.js'
import { createFailures } from '../clients/failures.js'
import { compileNetworks } from '../clients/networks.js'
import { SeenOnceInMemory, type SeenOnce } from '../clients/seen-once.js'
import type { TokenKeys } from '../clients/token-keys.js'
import type { Config } from '../config/config.js'
import { isLoopback } from '../config/formats.js'
import type { Environment } from '../config/secret-files.js'
import { SecretStores } from '../config/secret-stores.js'
import { watch, type Watch } from '../config/watch.js'
import type { LimitStore } from '../limits/store.js'
import type { PolicySet } from '../policy/load.js'
import { buildAdmin } from './admin.js'
import { version } from './audit.js'
import { ClockWatch } from './clock-watch.js'
import { trackUnused } from './connection.js'
import { Identities } from './identities.js'
import { KeyUses } from './key-use.js'
import { openLeftBehind } from './left-behind.js'
import { Limits, type CreateLine } from './limits.js'
import { Links } from './links.js'
import { loadEverything, LoadMemory, type Loaded } from './load.js'
import { gateGauges } from './gauges.js'
import { LoadNotes } from './load-notes.js'
import { LongRequests } from './long-requests.js'
import { LoopDelay } from './loop-delay.js'
import { Metrics } from './metrics.js'
import { buildProxy } from './proxy.js'
import { revokedBy, TlsListener, tlsOf } from './listener-tls.js'
import { Outbox } from './outbox.js'
import { OwnAffairs } from './own-affairs.js'
import { Overview } from './overview.js'
import { Pace } from './pace.js'
import { Places } from './places.js'
import { Reloader, type ReloadReport } from './reloader.js'
import { needsRestart } from './restart-needed.js'
import type { Road } from './road.js'
import type { KnownIdentities } from './self-keeper.js'
import { Shares } from './shares.js'
import { SinkNotices } from './sink-notices.js'
import { Telemetry } from './telemetry.js'
import { SecretRefresh } from './secret-refresh.js'
import type { Snapshot } from './snapshot.js'
import { steadyNow } from './steady.js'
import { Turns } from './turns.js'
import { composeUpstream, type UpstreamLink } from './upstreams.js'
import type { Usable } from './usable.js'
import { sharedIds } from './used-ids.js'
import type { Member } from './worker.js'
import { workerGauges } from './worker-status.js'
import type { Workers } from './workers.js'

export interface GateOptions {
  /** narrowgate.yaml, as the operator wrote it */
  readonly configFile: string
  readonly environment: Environment
  /** the operators' log; audit events go to the sinks */
  readonly log: Logger
  /** how often to look at the files when the system reports nothing, milliseconds */
  readonly pollMs?: number
  /**
   * false: the gate calls Okta for nothing but tokens: it neither finds out who it is nor keeps idle tokens alive.
   * true: with every upstream. Default: as the configuration says.
   */
  readonly ownCalls?: boolean
  /** how soon Okta is asked again who the gate is, milliseconds */
  readonly learnAgainMs?: number
  /** this process is a worker: it serves what its primary hands it */
  readonly member?: Member
  /** of the loads before this one */
  readonly memory?: LoadMemory
  /** lineOf() the configuration */
  readonly line?: CreateLine
}

/** How long a start waits for tokens and for what Okta says of the gate: an org that is stuck must not hold up the others. */
const START_MS = 2500

/** How long spans and metrics that wait at the end may take, milliseconds. */
const TELEMETRY_MS = 1000

/** How long in-flight requests may take to finish after SIGTERM, milliseconds (faults.md). */
export const DRAIN_MS = 25_000

/** How often the audit sinks are looked at for the operators' log. */
const SINK_LOOK_MS = 1000

/** A running gate: the current snapshot, the listeners, and what outlives snapshots. */
export class Gate {
  readonly #options: GateOptions
  readonly #log: Logger
  readonly #kept: Limits
  readonly #limits: LimitStore
  readonly #metrics = new Metrics()
  readonly #links: Links
  readonly #seen: SeenOnce
  readonly #identities: Identities
  readonly #own: OwnAffairs
  readonly #audit: AuditLog
  readonly #long = new LongRequests()
  readonly #places = new Places(steadyNow, (run, ms) => { setTimeout(run, ms).unref() })
  readonly #keyUses: KeyUses
  readonly #delay: LoopDelay
  readonly #clocks: ClockWatch
  readonly #telemetry: Telemetry | undefined
  /** a worker is told of changes */
  readonly #watch: Watch | undefined
  readonly #refresh: SecretRefresh
  readonly #config: Config
  readonly #notes: LoadNotes
  readonly #reloader: Reloader
  readonly #overview: Overview
  #snapshot: Snapshot
  #reloads = 0
  #draining = false
  #sinkLook: NodeJS.Timeout | undefined
  #proxy: FastifyInstance | undefined
  /** absent: plain HTTP */
  #tls: TlsListener | undefined
  #closeUnused: () => void = () => {}
  #admin: FastifyInstance | undefined
  /** the processes that serve in this one's place */
  #workers: Workers | undefined
  /** audit logs of processes that there are no more */
  #left: Promise<readonly AuditLog[]> = Promise.resolve([])

  constructor (options: GateOptions, loaded: Usable, stores: SecretStores, tokenKeys: TokenKeys, audit: AuditLog) {
    this.#options = options
    this.#log = options.log
    this.#config = loaded.config
    this.#keyUses = new KeyUses(this.#log)
    this.#delay = new LoopDelay(loaded.config.listen.shedAfterMs, () => performance.now())
    this.#identities = new Identities(tokenKeys, this.#log)
    this.#clocks = new ClockWatch(this.#log, Date.now, () => performance.now())
    const { member } = options
    this.#kept = new Limits(loaded.config, loaded.secrets, steadyNow, this.#log, options.line, member?.limits)
    this.#limits = this.#kept.store
    const shared = sharedIds(this.#kept, loaded.config, this.#log)
    this.#seen = member?.seen ?? shared ?? new SeenOnceInMemory()
    this.#refresh = new SecretRefresh({ stores, onChange: () => { this.reload().catch(() => {}) }, clock: () => performance.now(), random: Math.random })
    this.#links = new Links({ now: Date.now, monotonic: () => performance.now(), after, random: Math.random }, this.#log, () => { if (member === undefined) this.#refresh.soon(); else member.refused() })
    this.#own = new OwnAffairs({ log: this.#log, links: this.#links, limits: this.#limits, snapshot: () => this.#snapshot, steadyNow, ownCalls: member === undefined ? options.ownCalls : false, learnAgainMs: options.learnAgainMs, told: known => { this.#workers?.knows(known) }, noteUse: async () => { await this.#overview.noteUse() } })
    this.#audit = audit
    const { telemetry } = loaded.config
    this.#telemetry = telemetry === undefined ? undefined : new Telemetry(telemetry, loaded.secrets, hostname(), version())
    this.#notes = new LoadNotes(this.#log)
    this.#overview = new Overview({ limits: this.#kept, sharedLimits: loaded.config.limits.store !== 'memory', links: this.#links, stores, audit, metrics: this.#metrics, notes: this.#notes, snapshot: () => this.#snapshot, draining: () => this.#draining, workers: () => this.#workers })
    this.#reloader = new Reloader({
      log: this.#log,
      load: async () => await loadEverything(options.configFile, options.environment, Date.now(), { stores, record: this.#workers !== undefined, memory: options.memory }),
      swap: found => { this.swap(found); this.#own.learn().catch(() => {}) },
      refused: found => { this.#note(found, false) },
      workers: () => this.#workers,
      stopped: () => this.#draining
    })
    this.#snapshot = this.#compose(loaded)
    this.#watch = member !== undefined ? undefined : watch({ onChange: () => { this.reload().catch(() => {}) }, pollMs: options.pollMs, memory: options.memory?.files })
    for (const gauge of gateGauges({ limits: this.#kept, places: this.#places, seen: shared, keys: this.#keyUses, links: this.#links, stores, clock: () => performance.now(), audit: this.#audit, telemetry: this.#telemetry, snapshot: () => this.#snapshot, expiries: () => this.#own.expiries, refusedReloads: () => this.#reloader.refused, reloads: () => this.#reloads, steadyNow })) this.#metrics.gauge(gauge)
    this.#note(loaded, true)
  }

  /** URL of the client listener. */
  get url (): string { return this.#workers?.url ?? urlOf(this.#proxy!, this.#config.listen.tls !== undefined) }

  /** URL of the admin listener. */
  get adminUrl (): string { return urlOf(this.#admin!, false) }

  get snapshot (): Snapshot { return this.#snapshot }

  get limits (): LimitStore { return this.#limits }

  /** Other processes serve; this one keeps what is one for all. Before `listen`. */
  lead (workers: Workers): void {
    this.#workers = workers
    workers.knows(this.#own.self.known)
    for (const gauge of workerGauges(workers)) this.#metrics.gauge(gauge)
  }

  async listen (loaded: Usable): Promise<void> {
    const { listen, admin } = this.#config
    const { member } = this.#options
    if (this.#workers === undefined) this.#build(loaded)
    else this.#workers.start(loaded.recorded!)
    if (member === undefined) {
      this.#admin = buildAdmin(() => this.#overview.readiness(), this.#overview.scrape, async () => ({ store: this.#kept.status, upstreams: await this.#overview.limits() }), isLoopback(admin.host))
    }
    // The workers' metrics are told by this process, added up; their spans they tell themselves.
    if (member === undefined) this.#telemetry?.start(async () => await this.#overview.metrics() as unknown as RegistryMetric[])
    await within(START_MS, Promise.all([this.#links.warm(), this.#own.learn()]))
    if (member === undefined) this.#own.start()
    await this.#kept.ready(loaded.config.upstreams.keys())
    await this.#admin?.listen({ host: admin.host, port: admin.port })
    try {
      await member?.mayServe(this)
      if (this.#workers === undefined) await this.#proxy!.listen({ host: listen.host, port: listen.port })
      else await this.#workers.open()
    } catch (error) {
      await this.#admin?.close()
      throw error
    }
    if (member === undefined) this.#left = openLeftBehind(loaded.config.audit, loaded.secrets, this.#log, loaded.config.workers).catch((error: unknown) => { this.#log.error({ err: error }, 'audit logs that other processes have left behind can\'t be opened'); return [] })
  }

  /** The client listener, not yet open. */
  #build (loaded: Usable): void {
    const { member } = this.#options
    const nobody = compileNetworks([])
    const road: Road = {
      snapshot: () => this.#snapshot,
      limits: this.#limits,
      metrics: this.#metrics,
      keyUses: this.#keyUses,
      failures: member?.failures ?? createFailures(),
      clientFailures: member?.clientFailures ?? createFailures(),
      seen: this.#seen,
      record: (event, flood) => { this.#audit.record(event, flood) },
      wantsIntents: this.#audit.wantsIntents,
      intend: event => this.#audit.intend(event),
      long: this.#long,
      outbox: new Outbox(setImmediate),
      turns: new Turns(setImmediate),
      bodies: new Shares(),
      pace: new Pace(() => performance.now()),
      calls: this.#places,
      shedding: () => this.#delay.shedding,
      telemetry: this.#telemetry,
      auditHealthy: () => this.#audit.healthy && member?.stdoutHealthy() !== false,
      auditFull: () => this.#audit.full,
      draining: () => this.#draining,
      now: Date.now,
      clock: () => performance.now(),
      steadyNow,
      nobody
    }
    this.#long.start(road.clock, road.record)
    const tls = tlsOf(loaded.config, loaded.secrets)
    this.#delay.start()
    this.#clocks.start()
    const notices = new SinkNotices(this.#log)
    this.#sinkLook = setInterval(() => { notices.look(this.#audit.sinks) }, SINK_LOOK_MS).unref()
    this.#proxy = buildProxy(road, this.#log, this.#config.listen, tls)
    if (tls !== undefined) this.#tls = new TlsListener(this.#proxy.server as unknown as TlsServer, tls)
    this.#closeUnused = trackUnused(this.#proxy.server, tls !== undefined)
  }

  /** Looks at all files anew: see Reloader. @param every reads those too whose times say that they are as they were */
  async reload (every: boolean = false): Promise<ReloadReport> {
    if (every) this.#options.memory?.files.forget()
    return await this.#reloader.reload()
  }

  /** How this gate is. */
  get overview (): Overview { return this.#overview }

  /** Reads the secrets that other services keep again; what has changed is taken up. Never rejects. */
  async rereadSecrets (): Promise<void> { await this.#refresh.now() }

  /** SIGHUP opens the audit files anew, too. */
  reopenAudit (): void {
    this.#audit.reopen()
    this.#workers?.reopen()
  }

  /** The level of the operators' log has changed. */
  levelChanged (): void { this.#workers?.setLevel(this.#log.level) }

  /** Okta has refused a credential that a worker has presented. */
  credentialRefused (): void { this.#refresh.soon() }

  /** A worker's: what the primary has learnt of the gate itself. */
  knows (known: KnownIdentities): void { this.#own.self.take(known) }

  /** Stops accepting, lets requests in flight finish within `deadlineMs`, writes what is waiting. */
  async drain (deadlineMs: number = DRAIN_MS): Promise<void> {
    if (this.#draining) return
    this.#draining = true
    this.#watch?.close()
    this.#refresh.close()
    this.#own.close()
    await (this.#workers?.drain(deadlineMs) ?? this.#drainListener(deadlineMs))
    await this.#kept.close(steadyNow())
    await this.#links.close()
    await this.#admin?.close()
    this.#long.stop()
    this.#delay.stop()
    this.#clocks.stop()
    clearInterval(this.#sinkLook)
    await Promise.all([this.#audit.close(), this.#telemetry?.close(TELEMETRY_MS)])
    await Promise.all((await this.#left).map(async log => { await log.close() }))
  }

  async #drainListener (deadlineMs: number): Promise<void> {
    const server = this.#proxy!.server
    const closed = this.#proxy!.close()
    const closeIdle = (): void => { server.closeIdleConnections(); this.#closeUnused() }
    closeIdle()
    const idle = setInterval(closeIdle, 100)
    const timer = setTimeout(() => { server.closeAllConnections() }, deadlineMs)
    await closed
    clearTimeout(timer)
    clearInterval(idle)
  }

  /** What has been loaded is in force from here on. @throws before anything has changed */
  swap (loaded: Usable): void {
    this.#renewTls(loaded)
    this.#snapshot = this.#compose(loaded)
    this.#reloads++
    this.#note(loaded, true)
  }

  /** @throws when node can't work with it: the whole reload fails then */
  #renewTls ({ config, secrets }: Usable): void {
    const renewal = this.#tls?.renew(tlsOf(config, secrets))
    if (renewal === 'renewed') this.#log.info(this.#tls!.shown, 'the client listener has new TLS files: they hold from the next handshake on')
  }

  #compose (loaded: Usable): Snapshot {
    const { config, policies, secrets } = loaded
    const links = this.#links.renew(config, secrets, policies.clients.values())
    this.#own.renew(config, secrets, policies.clients.values())
    const { clients, tokens, certificates } = this.#identities.renew(config, policies, secrets, loaded.identities)
    const proxies = config.listen.trustedProxies
    return Object.freeze<Snapshot>({
      hash: loaded.hash.slice(0, 12),
      loadedAt: Date.now(),
      catalog: policies.catalog,
      clients,
      tokens,
      certificates,
      clientCertHeader: config.listen.clientCertHeader,
      revoked: revokedBy(tlsOf(config, secrets)),
      policies: policies.clients,
      upstreams: upstreamsOf(config, links, policies),
      self: this.#own.self,
      trustedProxies: proxies.length === 0 ? undefined : compileNetworks(proxies),
      bodyLimitBytes: config.listen.bodyLimitBytes,
      bodyMemoryBytes: Math.max(config.listen.bodyMemoryBytes, 2 * config.listen.bodyLimitBytes)
    })
  }

  #note (loaded: Loaded, swapped: boolean): void {
    if (this.#options.member !== undefined) { this.#log.debug({ snapshot: this.#snapshot.hash }, 'loaded'); return }
    this.#watch?.loaded(loaded.sources, loaded.hash)
    this.#refresh.loaded()
    this.#notes.tell(loaded.problems)
    if (!swapped) { this.#log.error('the change would not load; what was loaded before stays in force'); return }
    const restart = needsRestart(this.#config, loaded.config)
    if (restart !== undefined) this.#log.warn(`${restart} has changed: that takes effect at the next start`)
    if (loaded.config?.tokens.keys.length === 0 && (loaded.identities?.keyPairs.length ?? 0) > 0) {
      this.#log.warn('tokens.keys names no key: access tokens are signed with one of this process alone, so replicas, and this one after a restart, do not accept them')
    }
    this.#log.info({ snapshot: this.#snapshot.hash, clients: this.#snapshot.policies.size }, 'loaded')
  }
}

async function within (ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([work, new Promise(resolve => { timer = setTimeout(resolve, ms) })])
  clearTimeout(timer)
}

function after (ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms)
  timer.unref()
  return () => { clearTimeout(timer) }
}

/** An emulator or a stub on this machine has no account of the gate's to find out about. */
function upstreamsOf (config: Config, links: ReadonlyMap<string, UpstreamLink>, policies: PolicySet): Snapshot['upstreams'] {
  return new Map([...config.upstreams.values()].map(({ name, org, timeouts }) =>
    [name, composeUpstream(name, org, config.publicUrl, links.get(name)!, timeouts, config.limits, policies.catalog.operations, [...policies.clients.values()].filter(({ upstream }) => upstream === name).length)]))
}

function urlOf (app: FastifyInstance, tls: boolean): string {
  const { address, port, family } = app.server.address() as AddressInfo
  return `${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
