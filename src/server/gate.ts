import type { AddressInfo } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { hostname } from 'node:os'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { createAuditLog, type AuditLog } from '../audit/log.js'
import type { RegistryMetric } from '../audit/otlp-metrics.js'
import { createFailures } from '../clients/failures.js'
import { compileNetworks } from '../clients/networks.js'
import { SeenOnceInMemory, type SeenOnce } from '../clients/seen-once.js'
import { SharedSeenOnce } from '../clients/seen-shared.js'
import { newTokenKey, readTokenKeys, type TokenKeys } from '../clients/token-keys.js'
import type { Config } from '../config/config.js'
import type { Environment } from '../config/secret-files.js'
import { SecretStores } from '../config/secret-stores.js'
import { watch, type Watch } from '../config/watch.js'
import { formatProblem, hasErrors, type Problem } from '../domain/problem.js'
import type { LimitStore, UpstreamView } from '../limits/store.js'
import type { PolicySet } from '../policy/load.js'
import { buildAdmin, type Readiness } from './admin.js'
import { openAudit, version } from './audit.js'
import { ClockWatch } from './clock-watch.js'
import { trackUnused } from './connection.js'
import { Identities, type ReadIdentities } from './identities.js'
import { KeyUses } from './key-use.js'
import { auditFor, openLeftBehind } from './left-behind.js'
import { lineOf, Limits, type CreateLine } from './limits.js'
import { Links } from './links.js'
import { loadEverything, LoadMemory, type Loaded, type Texts } from './load.js'
import { gateGauges } from './gauges.js'
import { LongRequests } from './long-requests.js'
import { LoopDelay } from './loop-delay.js'
import { Metrics } from './metrics.js'
import { buildProxy } from './proxy.js'
import { revokedBy, TlsListener, tlsOf } from './listener-tls.js'
import { Outbox } from './outbox.js'
import { OwnAffairs } from './own-affairs.js'
import { Places } from './places.js'
import type { Road } from './road.js'
import type { KnownIdentities } from './self-keeper.js'
import { Shares } from './shares.js'
import { SinkNotices } from './sink-notices.js'
import { Telemetry } from './telemetry.js'
import { logStoreNotice, SecretRefresh } from './secret-refresh.js'
import type { Snapshot } from './snapshot.js'
import { composeUpstream, type UpstreamLink } from './upstreams.js'
import type { Member } from './worker.js'
import { ofWorkers, workerGauges } from './worker-status.js'
import type { MetricJson } from './worker-metrics.js'
import type { WorkerStatus } from './worker-talk.js'
import type { Workers } from './workers.js'

/** A gate that can't be started: its files are wrong. */
export class LoadFault extends Error {
  constructor (readonly problems: readonly Problem[], readonly texts: Texts) {
    super('the configuration would not load')
  }
}

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

/** What a reload came to. */
export interface ReloadReport {
  readonly swapped: boolean
  readonly problems: readonly Problem[]
}

/** How many warnings of a load are told one by one: a line each of thousands would hold up requests. */
const MOST_SAID = 100

/** How long a start waits for tokens and for what Okta says of the gate: an org that is stuck must not hold up the others. */
const START_MS = 2500

/** How long spans and metrics that wait at the end may take, milliseconds. */
const TELEMETRY_MS = 1000

/** How long in-flight requests may take to finish after SIGTERM, milliseconds (faults.md). */
export const DRAIN_MS = 25_000

/** How often the audit sinks are looked at for the operators' log. */
const SINK_LOOK_MS = 1000

/** Loads everything and starts both listeners. @throws LoadFault, or the system's error for an address in use */
export async function startGate (options: GateOptions): Promise<Gate> {
  const { configFile, environment, log } = options
  const stores = new SecretStores({ clock: () => performance.now(), notice: notice => { logStoreNotice(log, notice) } })
  const memory = new LoadMemory()
  const loaded = await loadEverything(configFile, environment, Date.now(), { stores, record: true, memory })
  if (!isUsable(loaded)) { stores.close(); throw new LoadFault(loaded.problems, loaded.texts) }
  const { config, secrets } = loaded
  const tokenKey = await newTokenKey()
  const several = config.workers > 1
  const audit = several ? createAuditLog([]) : await openAudit(auditFor(config.audit, undefined), secrets, log)
  const gate = new Gate({ ...options, memory, line: await lineOf(config) }, loaded, stores, await readTokenKeys([tokenKey]), audit)
  // What one process alone has no use for is not even loaded.
  if (several) {
    const { Workers } = await import('./workers.js')
    gate.lead(new Workers({ count: config.workers, configFile, tokenKey, log, steadyNow, onRefused: () => { gate.credentialRefused() }, limits: config.limits.store === 'memory' ? gate.limits : undefined }))
  }
  await gate.listen(loaded)
  return gate
}

export type Usable = Loaded & { readonly config: Config, readonly policies: PolicySet, readonly identities: ReadIdentities }

export function isUsable (loaded: Loaded): loaded is Usable {
  return loaded.config !== undefined && loaded.policies !== undefined && loaded.identities !== undefined && !hasErrors(loaded.problems)
}

const { timeOrigin } = performance
/** Epoch milliseconds of a clock that does not jump: what the limits count in. */
const steadyNow = (): number => timeOrigin + performance.now()

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
  readonly #stores: SecretStores
  readonly #refresh: SecretRefresh
  readonly #config: Config
  #snapshot: Snapshot
  #problems: readonly Problem[] = []
  #refusedReloads = 0
  #reloads = 0
  #reloading: Promise<ReloadReport> | undefined
  #again = false
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
    const shared = seenOf(this.#kept, loaded.config, this.#log)
    this.#seen = member?.seen ?? shared ?? new SeenOnceInMemory()
    this.#stores = stores
    this.#refresh = new SecretRefresh({ stores, onChange: () => { this.reload().catch(() => {}) }, clock: () => performance.now(), random: Math.random })
    this.#links = new Links({ now: Date.now, monotonic: () => performance.now(), after, random: Math.random }, this.#log, () => { if (member === undefined) this.#refresh.soon(); else member.refused() })
    this.#own = new OwnAffairs({ log: this.#log, links: this.#links, limits: this.#limits, snapshot: () => this.#snapshot, steadyNow, ownCalls: member === undefined ? options.ownCalls : false, learnAgainMs: options.learnAgainMs, told: known => { this.#workers?.knows(known) }, noteUse: async () => { await this.#noteUse() } })
    this.#audit = audit
    const { telemetry } = loaded.config
    this.#telemetry = telemetry === undefined ? undefined : new Telemetry(telemetry, loaded.secrets, hostname(), version())
    this.#snapshot = this.#compose(loaded)
    this.#watch = member !== undefined ? undefined : watch({ onChange: () => { this.reload().catch(() => {}) }, pollMs: options.pollMs })
    for (const gauge of gateGauges({ limits: this.#kept, places: this.#places, seen: shared, keys: this.#keyUses, links: this.#links, stores, clock: () => performance.now(), audit: this.#audit, telemetry: this.#telemetry, snapshot: () => this.#snapshot, expiries: () => this.#own.expiries, refusedReloads: () => this.#refusedReloads, reloads: () => this.#reloads, steadyNow })) this.#metrics.gauge(gauge)
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
      const scrape = this.#workers === undefined ? this.#metrics.registry : { contentType: this.#metrics.registry.contentType, metrics: async () => await this.#scrapeAll() }
      this.#admin = buildAdmin(() => this.#readiness(), scrape, async () => ({ store: this.#kept.status, upstreams: await this.limitViews() }))
    }
    // The workers' metrics are told by this process, added up; their spans they tell themselves.
    if (member === undefined) this.#telemetry?.start(async () => await this.#metricsOfAll() as unknown as RegistryMetric[])
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
      bodies: new Shares(),
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

  /**
   * Builds and checks a whole new snapshot and swaps it; a bad change is reported and ignored. One at a time: a
   * change that comes meanwhile is looked at afterwards.
   */
  async reload (): Promise<ReloadReport> {
    if (this.#reloading !== undefined) { this.#again = true; return await this.#reloading }
    this.#reloading = this.#reloadUntilQuiet()
    try {
      return await this.#reloading
    } finally {
      this.#reloading = undefined
    }
  }

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

  async #reloadUntilQuiet (): Promise<ReloadReport> {
    for (;;) {
      this.#again = false
      const report = await this.#reloadOnce()
      if (!this.#again || this.#draining) return report
    }
  }

  async #reloadOnce (): Promise<ReloadReport> {
    let loaded: Loaded
    try {
      loaded = await loadEverything(this.#options.configFile, this.#options.environment, Date.now(), { stores: this.#stores, record: this.#workers !== undefined, memory: this.#options.memory })
      if (isUsable(loaded)) {
        const against = await this.#workers?.prepare(loaded.recorded!) ?? []
        if (against.length > 0) throw new Error(against.join('; '))
        this.swap(loaded)
        this.#workers?.commit()
        this.#own.learn().catch(() => {})
        return { swapped: true, problems: loaded.problems }
      }
    } catch (error) {
      this.#workers?.abandon()
      this.#refusedReloads++
      this.#log.error({ err: error }, 'a reload failed; what was loaded before stays in force')
      return { swapped: false, problems: [] }
    }
    this.#refusedReloads++
    this.#note(loaded, false)
    return { swapped: false, problems: loaded.problems }
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
    this.#tell(loaded.problems)
    if (!swapped) { this.#log.error('the change would not load; what was loaded before stays in force'); return }
    const restart = needsRestart(this.#config, loaded.config)
    if (restart !== undefined) this.#log.warn(`${restart} has changed: that takes effect at the next start`)
    if (loaded.config?.tokens.keys.length === 0 && (loaded.identities?.keyPairs.length ?? 0) > 0) {
      this.#log.warn('tokens.keys names no key: access tokens are signed with one of this process alone, so replicas, and this one after a restart, do not accept them')
    }
    this.#log.info({ snapshot: this.#snapshot.hash, clients: this.#snapshot.policies.size }, 'loaded')
  }

  /** What is wrong with the files, but for warnings about files that are as they were: those have been said. */
  #tell (problems: readonly Problem[]): void {
    const said = new Set(this.#problems)
    this.#problems = problems
    const news = problems.filter(problem => !said.has(problem))
    const errors = news.filter(({ severity }) => severity === 'error')
    const warnings = news.filter(({ severity }) => severity === 'warning')
    for (const problem of errors) this.#log.error(formatProblem(problem))
    for (const problem of warnings.slice(0, MOST_SAID)) this.#log.warn(formatProblem(problem))
    if (warnings.length > MOST_SAID) this.#log.warn(`${warnings.length - MOST_SAID} more warnings: narrowgate check shows them all`)
  }

  /** The buckets, as this process sees them; those of a shared store as the workers do. */
  async limitViews (): Promise<readonly UpstreamView[]> {
    return this.#workers !== undefined && this.#config.limits.store !== 'memory' ? await this.#workers.views() : await this.#kept.view(steadyNow())
  }

  /** A worker's metrics, for the primary. */
  async metricsJson (): Promise<readonly MetricJson[]> {
    return await this.#metrics.registry.getMetricsAsJSON() as unknown as MetricJson[]
  }

  /** How a worker is, for the primary. */
  async status (): Promise<WorkerStatus> {
    const { detail } = await this.#readiness()
    const used = [...this.#links.tokens()].flatMap(({ upstream, token }, index) => token.slots().flatMap(({ position, lastUsed }) => lastUsed === undefined ? [] : [[upstream, index, position, lastUsed] as const]))
    return { detail, used }
  }

  async #scrapeAll (): Promise<string> {
    const { textOf } = await import('./worker-metrics.js')
    return await textOf(await this.#metricsOfAll())
  }

  /** Of this process, and of its workers where there are any. */
  async #metricsOfAll (): Promise<readonly MetricJson[]> {
    const own = await this.metricsJson()
    if (this.#workers === undefined) return own
    const { addUp } = await import('./worker-metrics.js')
    return addUp([own, ...await this.#workers.metrics()])
  }

  /** Idle tokens are kept alive by this process; the workers know which are not idle. */
  async #noteUse (): Promise<void> {
    const tokens = [...this.#links.tokens()]
    for (const { used } of await this.#workers?.statuses() ?? []) {
      for (const [upstream, index, position, at] of used) {
        const found = tokens[index]
        const mine = found?.token.slots().find(slot => slot.position === position)
        if (found?.upstream === upstream && mine !== undefined && (mine.lastUsed ?? 0) < at) found.token.used(position, at)
      }
    }
  }

  async #readiness (): Promise<Readiness> {
    const workers = this.#workers
    const statuses = await workers?.statuses()
    return {
      ready: !this.#draining && workers?.ready !== false,
      detail: {
        draining: this.#draining,
        snapshot: { hash: this.#snapshot.hash, loadedAt: new Date(this.#snapshot.loadedAt).toISOString(), clients: this.#snapshot.policies.size },
        lastLoad: { good: !hasErrors(this.#problems), problems: foremost(this.#problems).map(formatProblem), ...this.#problems.length > MOST_SAID ? { more: this.#problems.length - MOST_SAID } : {} },
        ...statuses === undefined ? {} : { workers: workers!.places.map(place => ({ ...place, snapshot: (statuses.find(({ worker }) => worker === place.worker)?.detail['snapshot'] as { hash: string } | undefined)?.hash })) },
        credentials: statuses === undefined ? this.#credentials() : ofWorkers(statuses, 'credentials'),
        secretStores: [...this.#stores.status()].map(({ store, name, good, reason }) => ({ store, secret: name, good, reason })),
        limits: this.#kept.status,
        audit: statuses === undefined ? this.#auditStatus() : { workers: ofWorkers(statuses, 'audit') }
      }
    }
  }

  #credentials (): readonly object[] {
    return [...this.#links.status()].map(({ upstream, provider }) => ({ upstream, ...provider.status() }))
  }

  #auditStatus (): object {
    return { healthy: this.#audit.healthy, made: this.#audit.made, sinks: this.#audit.sinks }
  }
}

/** Errors first. */
function foremost (problems: readonly Problem[]): readonly Problem[] {
  return problems.length <= MOST_SAID ? problems : problems.toSorted((a, b) => Number(b.severity === 'error') - Number(a.severity === 'error')).slice(0, MOST_SAID)
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

/** Used ids in the store that the limits use, for all gates; undefined: this gate is alone. */
function seenOf ({ notes }: Limits, { tokens: { onStoreLoss } }: Config, log: Logger): SharedSeenOnce | undefined {
  return notes === undefined
    ? undefined
    : new SharedSeenOnce({
      store: notes,
      onLoss: onStoreLoss,
      note: event => {
        if (event.kind === 'back') log.info('the store of used ids (jti) answers again')
        else log.error({ why: event.why }, onStoreLoss === 'refuse' ? 'the store of used ids (jti) does not answer: DPoP calls and assertions with a jti are refused' : 'the store of used ids (jti) does not answer: this gate goes by what it has seen itself')
      }
    })
}

/** An emulator or a stub on this machine has no account of the gate's to find out about. */
function upstreamsOf (config: Config, links: ReadonlyMap<string, UpstreamLink>, policies: PolicySet): Snapshot['upstreams'] {
  return new Map([...config.upstreams.values()].map(({ name, org, timeouts }) =>
    [name, composeUpstream(name, org, config.publicUrl, links.get(name)!, timeouts, config.limits, policies.catalog.operations, [...policies.clients.values()].filter(({ upstream }) => upstream === name).length)]))
}

/** What a running gate can't change: sockets that are open already, whether they speak TLS and ask for certificates, and sinks. */
function needsRestart (before: Config, now: Config | undefined): string | undefined {
  if (now === undefined) return undefined
  const fixed = ({ listen: { host, port, tls, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs }, admin, audit, telemetry, tokens, workers }: Config): string[] =>
    [[host, port, tls !== undefined, tls?.clientCa !== undefined, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs], admin, audit, telemetry ?? null, tokens.onStoreLoss, workers].map(value => JSON.stringify(value, (name, part: unknown) => name === 'place' ? undefined : part))
  const [listen, adminNow, auditNow, telemetryNow, loss, workersNow] = fixed(now)
  const old = fixed(before)
  if (listen !== old[0]) return 'listen'
  if (adminNow !== old[1]) return 'admin'
  if (auditNow !== old[2]) return 'audit'
  if (telemetryNow !== old[3]) return 'telemetry'
  if (loss !== old[4]) return 'tokens.onStoreLoss'
  return workersNow !== old[5] ? 'workers' : undefined
}

function urlOf (app: FastifyInstance, tls: boolean): string {
  const { address, port, family } = app.server.address() as AddressInfo
  return `${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
