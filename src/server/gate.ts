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
import { SharedSeenOnce } from '../clients/seen-shared.js'
import { ephemeralTokenKeys, type TokenKeys } from '../clients/token-keys.js'
import type { Config } from '../config/config.js'
import type { Environment } from '../config/secret-files.js'
import { SecretStores } from '../config/secret-stores.js'
import { watch, type Watch } from '../config/watch.js'
import { formatProblem, hasErrors, type Problem } from '../domain/problem.js'
import type { LimitStore } from '../limits/store.js'
import type { PolicySet } from '../policy/load.js'
import { buildAdmin, type Readiness } from './admin.js'
import { openAudit, version } from './audit.js'
import { trackUnused } from './connection.js'
import { Identities, type ReadIdentities } from './identities.js'
import { KeyUses } from './key-use.js'
import { Limits } from './limits.js'
import { Links } from './links.js'
import { loadEverything, type Loaded } from './load.js'
import { gateGauges } from './gauges.js'
import { LongRequests } from './long-requests.js'
import { LoopDelay } from './loop-delay.js'
import { Metrics } from './metrics.js'
import { buildProxy } from './proxy.js'
import { TlsListener, tlsOf } from './listener-tls.js'
import { OwnAffairs } from './own-affairs.js'
import type { Road } from './road.js'
import { Shares } from './shares.js'
import { Telemetry } from './telemetry.js'
import { logStoreNotice, SecretRefresh } from './secret-refresh.js'
import type { Snapshot } from './snapshot.js'
import { composeUpstream, type UpstreamLink } from './upstreams.js'

/** A gate that can't be started: its files are wrong. */
export class LoadFault extends Error {
  constructor (readonly problems: readonly Problem[], readonly texts: ReadonlyMap<string, string>) {
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
   * Default: true unless an upstream is plain http, which only loopback addresses may be: an emulator, a stub.
   */
  readonly ownCalls?: boolean
}

/** What a reload came to. */
export interface ReloadReport {
  readonly swapped: boolean
  readonly problems: readonly Problem[]
}

/** How long a start waits for tokens and for what Okta says of the gate: an org that is stuck must not hold up the others. */
const START_MS = 2500

/** How long spans and metrics that wait at the end may take, milliseconds. */
const TELEMETRY_MS = 1000

/** How long in-flight requests may take to finish after SIGTERM, milliseconds (faults.md). */
export const DRAIN_MS = 25_000

/** Loads everything and starts both listeners. @throws LoadFault, or the system's error for an address in use */
export async function startGate (options: GateOptions): Promise<Gate> {
  const stores = new SecretStores({ clock: () => performance.now(), notice: notice => { logStoreNotice(options.log, notice) } })
  const loaded = await loadEverything(options.configFile, options.environment, Date.now(), { stores })
  if (!isUsable(loaded)) { stores.close(); throw new LoadFault(loaded.problems, loaded.texts) }
  const gate = new Gate(options, loaded, stores, await ephemeralTokenKeys(), await openAudit(loaded.config.audit, loaded.secrets, options.log))
  await gate.listen(loaded)
  return gate
}

type Usable = Loaded & { readonly config: Config, readonly policies: PolicySet, readonly identities: ReadIdentities }

function isUsable (loaded: Loaded): loaded is Usable {
  return loaded.config !== undefined && loaded.policies !== undefined && loaded.identities !== undefined && !hasErrors(loaded.problems)
}

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
  readonly #keyUses: KeyUses
  readonly #delay: LoopDelay
  readonly #telemetry: Telemetry | undefined
  readonly #watch: Watch
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
  #proxy: FastifyInstance | undefined
  /** absent: plain HTTP */
  #tls: TlsListener | undefined
  #closeUnused: () => void = () => {}
  #admin: FastifyInstance | undefined

  constructor (options: GateOptions, loaded: Usable, stores: SecretStores, tokenKeys: TokenKeys, audit: AuditLog) {
    this.#options = options
    this.#log = options.log
    this.#config = loaded.config
    this.#keyUses = new KeyUses(this.#log)
    this.#delay = new LoopDelay(loaded.config.listen.shedAfterMs, () => performance.now())
    this.#identities = new Identities(tokenKeys)
    const steadyNow = (): number => performance.timeOrigin + performance.now()
    this.#kept = new Limits(loaded.config, loaded.secrets, steadyNow, this.#log)
    this.#limits = this.#kept.store
    const shared = seenOf(this.#kept, loaded.config, this.#log)
    this.#seen = shared ?? new SeenOnceInMemory()
    this.#stores = stores
    this.#refresh = new SecretRefresh({ stores, onChange: () => { this.reload().catch(() => {}) }, clock: () => performance.now(), random: Math.random })
    this.#links = new Links({ now: Date.now, monotonic: () => performance.now(), after, random: Math.random }, this.#log, () => { this.#refresh.soon() })
    this.#own = new OwnAffairs({ log: this.#log, links: this.#links, limits: this.#limits, snapshot: () => this.#snapshot, steadyNow, ownCalls: options.ownCalls ?? isRealOrg(loaded.config) })
    this.#audit = audit
    const { telemetry } = loaded.config
    this.#telemetry = telemetry === undefined ? undefined : new Telemetry(telemetry, loaded.secrets, hostname(), version())
    this.#snapshot = this.#compose(loaded)
    this.#watch = watch({ onChange: () => { this.reload().catch(() => {}) }, pollMs: options.pollMs })
    for (const gauge of gateGauges({ limits: this.#kept, seen: shared, keys: this.#keyUses, links: this.#links, stores, clock: () => performance.now(), audit: this.#audit, telemetry: this.#telemetry, snapshot: () => this.#snapshot, expiries: () => this.#own.expiries, refusedReloads: () => this.#refusedReloads, reloads: () => this.#reloads, steadyNow })) this.#metrics.gauge(gauge)
    this.#note(loaded, true)
  }

  /** URL of the client listener. */
  get url (): string { return urlOf(this.#proxy!, this.#config.listen.tls !== undefined) }

  /** URL of the admin listener. */
  get adminUrl (): string { return urlOf(this.#admin!, false) }

  get snapshot (): Snapshot { return this.#snapshot }

  async listen (loaded: Usable): Promise<void> {
    const { listen, admin } = this.#config
    const nobody = compileNetworks([])
    const road: Road = {
      snapshot: () => this.#snapshot,
      limits: this.#limits,
      metrics: this.#metrics,
      keyUses: this.#keyUses,
      failures: createFailures(),
      clientFailures: createFailures(),
      seen: this.#seen,
      record: event => { this.#audit.record(event) },
      wantsIntents: this.#audit.wantsIntents,
      intend: event => this.#audit.intend(event),
      long: this.#long,
      bodies: new Shares(),
      calls: new Shares(),
      shedding: () => this.#delay.shedding,
      telemetry: this.#telemetry,
      auditHealthy: () => this.#audit.healthy,
      draining: () => this.#draining,
      now: Date.now,
      clock: () => performance.now(),
      steadyNow: () => performance.timeOrigin + performance.now(),
      nobody
    }
    this.#long.start(road.clock, road.record)
    this.#telemetry?.start(async () => await this.#metrics.registry.getMetricsAsJSON() as unknown as RegistryMetric[])
    const tls = tlsOf(loaded.config, loaded.secrets)
    this.#delay.start()
    this.#proxy = buildProxy(road, this.#log, listen, tls)
    if (tls !== undefined) this.#tls = new TlsListener(this.#proxy.server as unknown as TlsServer, tls)
    this.#closeUnused = trackUnused(this.#proxy.server, tls !== undefined)
    this.#admin = buildAdmin(() => this.#readiness(), this.#metrics.registry, async () => ({ store: this.#kept.status, upstreams: await this.#kept.view(performance.timeOrigin + performance.now()) }))
    await within(START_MS, Promise.all([this.#links.warm(), this.#own.learn()]))
    this.#own.start()
    await this.#kept.ready(loaded.config.upstreams.keys())
    await this.#admin.listen({ host: admin.host, port: admin.port })
    try {
      await this.#proxy.listen({ host: listen.host, port: listen.port })
    } catch (error) {
      await this.#admin.close()
      throw error
    }
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
  reopenAudit (): void { this.#audit.reopen() }

  /** Stops accepting, lets requests in flight finish within `deadlineMs`, writes what is waiting. */
  async drain (deadlineMs: number = DRAIN_MS): Promise<void> {
    if (this.#draining) return
    this.#draining = true
    this.#watch.close()
    this.#refresh.close()
    this.#own.close()
    const server = this.#proxy!.server
    const closed = this.#proxy!.close()
    const closeIdle = (): void => { server.closeIdleConnections(); this.#closeUnused() }
    closeIdle()
    const idle = setInterval(closeIdle, 100)
    const timer = setTimeout(() => { server.closeAllConnections() }, deadlineMs)
    await closed
    clearTimeout(timer)
    clearInterval(idle)
    await this.#kept.close(performance.timeOrigin + performance.now())
    await this.#links.close()
    await this.#admin!.close()
    this.#long.stop()
    this.#delay.stop()
    await Promise.all([this.#audit.close(), this.#telemetry?.close(TELEMETRY_MS)])
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
      loaded = await loadEverything(this.#options.configFile, this.#options.environment, Date.now(), { stores: this.#stores })
      if (isUsable(loaded)) {
        this.#renewTls(loaded)
        this.#snapshot = this.#compose(loaded)
        this.#reloads++
        this.#note(loaded, true)
        this.#own.learn().catch(() => {})
        return { swapped: true, problems: loaded.problems }
      }
    } catch (error) {
      this.#refusedReloads++
      this.#log.error({ err: error }, 'a reload failed; what was loaded before stays in force')
      return { swapped: false, problems: [] }
    }
    this.#refusedReloads++
    this.#note(loaded, false)
    return { swapped: false, problems: loaded.problems }
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
      policies: policies.clients,
      upstreams: upstreamsOf(config, links, policies),
      self: this.#own.self,
      trustedProxies: proxies.length === 0 ? undefined : compileNetworks(proxies),
      bodyLimitBytes: config.listen.bodyLimitBytes,
      bodyMemoryBytes: Math.max(config.listen.bodyMemoryBytes, 2 * config.listen.bodyLimitBytes)
    })
  }

  #note (loaded: Loaded, swapped: boolean): void {
    this.#watch.loaded(loaded.sources, loaded.hash)
    this.#refresh.loaded()
    this.#problems = loaded.problems
    for (const problem of loaded.problems) this.#log[problem.severity === 'error' ? 'error' : 'warn'](formatProblem(problem))
    if (!swapped) { this.#log.error('the change would not load; what was loaded before stays in force'); return }
    const restart = needsRestart(this.#config, loaded.config)
    if (restart !== undefined) this.#log.warn(`${restart} has changed: that takes effect at the next start`)
    if (loaded.config?.tokens.keys.length === 0 && (loaded.identities?.keyPairs.length ?? 0) > 0) {
      this.#log.warn('tokens.keys names no key: access tokens are signed with one of this process alone, so replicas, and this one after a restart, do not accept them')
    }
    this.#log.info({ snapshot: this.#snapshot.hash, clients: this.#snapshot.policies.size }, 'loaded')
  }

  #readiness (): Readiness {
    const credentials = [...this.#links.status()].map(({ upstream, provider }) => ({ upstream, ...provider.status() }))
    return {
      ready: !this.#draining,
      detail: {
        draining: this.#draining,
        snapshot: { hash: this.#snapshot.hash, loadedAt: new Date(this.#snapshot.loadedAt).toISOString(), clients: this.#snapshot.policies.size },
        lastLoad: { good: !hasErrors(this.#problems), problems: this.#problems.map(formatProblem) },
        credentials,
        secretStores: [...this.#stores.status()].map(({ store, name, good, reason }) => ({ store, secret: name, good, reason })),
        limits: this.#kept.status,
        audit: { healthy: this.#audit.healthy, made: this.#audit.made, sinks: this.#audit.sinks }
      }
    }
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
function isRealOrg (config: Config): boolean {
  return [...config.upstreams.values()].every(upstream => upstream.org.startsWith('https:'))
}

function upstreamsOf (config: Config, links: ReadonlyMap<string, UpstreamLink>, policies: PolicySet): Snapshot['upstreams'] {
  return new Map([...config.upstreams.values()].map(({ name, org, timeouts }) =>
    [name, composeUpstream(name, org, config.publicUrl, links.get(name)!, timeouts, config.limits, policies.catalog.operations, [...policies.clients.values()].filter(({ upstream }) => upstream === name).length)]))
}

/** What a running gate can't change: sockets that are open already, whether they speak TLS and ask for certificates, and sinks. */
function needsRestart (before: Config, now: Config | undefined): string | undefined {
  if (now === undefined) return undefined
  const fixed = ({ listen: { host, port, tls, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs }, admin, audit, telemetry, tokens }: Config): string[] =>
    [[host, port, tls !== undefined, tls?.clientCa !== undefined, maxConnections, maxConnectionsPerAddress, maxRequests, shedAfterMs], admin, audit, telemetry ?? null, tokens.onStoreLoss].map(value => JSON.stringify(value, (name, part: unknown) => name === 'place' ? undefined : part))
  const [listen, adminNow, auditNow, telemetry, loss] = fixed(now)
  const old = fixed(before)
  if (listen !== old[0]) return 'listen'
  if (adminNow !== old[1]) return 'admin'
  if (auditNow !== old[2]) return 'audit'
  if (telemetry !== old[3]) return 'telemetry'
  return loss !== old[4] ? 'tokens.onStoreLoss' : undefined
}

function urlOf (app: FastifyInstance, tls: boolean): string {
  const { address, port, family } = app.server.address() as AddressInfo
  return `${tls ? 'https' : 'http'}://${family === 'IPv6' ? `[${address}]` : address}:${port}`
}
