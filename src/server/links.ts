import type { Logger } from 'pino'
import type { Config, SecretReference, TokenConfig, UpstreamConfig } from '../config/config.js'
import type { Operation } from '../domain/operation.js'
import type { Secret } from '../domain/secret.js'
import { scopesFor, scopesOf } from '../okta/permissions.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { neededOperations, operationsNeeded, type NeededOperation } from '../policy/needed.js'
import { createUpstreamPool } from '../upstream/agent.js'
import { createApiToken, type ApiToken } from '../upstream/api-token.js'
import { Breaker } from '../upstream/breaker.js'
import type { CredentialNotice, CredentialProvider } from '../upstream/credential.js'
import { handOver } from '../upstream/handover.js'
import { injectCredential } from '../upstream/inject.js'
import { createServiceApp, type ServiceApp, type TokenClock } from '../upstream/service-app.js'
import { CredentialNotices, type AlarmCount } from './credential-notices.js'
import { SecretBook } from './secret-book.js'
import type { UpstreamLink } from './upstreams.js'

interface Held extends UpstreamLink {
  readonly key: string
  readonly org: string
  readonly serviceApp?: ServiceApp
  /** references of the service app's keys; a reload may bring others */
  readonly keys: { current: readonly SecretReference[] }
  readonly providers: readonly CredentialProvider[]
  /** of the service app */
  readonly clientId?: string
  /** API tokens, which die when nobody uses them */
  readonly tokens: readonly ApiToken[]
}

/** How long connections of an upstream that a reload has dropped may finish their calls, milliseconds. */
const RETIRE_MS = 120_000

/**
 * Connections and credentials of the upstreams. They outlive snapshots: a reload that leaves an upstream's part of
 * the configuration alone leaves its pool and its token alone, too, and so do new keys and other scopes.
 */
export class Links {
  readonly #held = new Map<string, Held>()
  readonly #secrets = new SecretBook()
  readonly #notices: CredentialNotices
  readonly #clock: TokenClock
  readonly #log: Logger
  readonly #refused: () => void
  #policies: readonly CompiledPolicy[] = []

  /** @param refused called when Okta refuses a credential: perhaps it was replaced where it is kept */
  constructor (clock: TokenClock, log: Logger, refused: () => void = () => {}) {
    this.#refused = refused
    this.#clock = clock
    this.#log = log
    this.#notices = new CredentialNotices(log)
  }

  /**
   * The links of a configuration; those of upstreams that are gone or changed are retired.
   * @throws for a CA or key that can't be read, before anything has changed
   */
  renew (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, policies: Iterable<CompiledPolicy>): ReadonlyMap<string, UpstreamLink> {
    const all = [...policies]
    const next = new Map<string, Held>()
    for (const upstream of config.upstreams.values()) {
      const key = keyOf(upstream, config, secrets)
      const old = this.#held.get(upstream.name)
      next.set(upstream.name, old?.key === key ? old : this.#open(upstream, config, secrets, key, old, all))
    }
    this.#policies = all
    this.#secrets.renew(secrets)
    for (const [name, held] of this.#held) if (next.get(name) !== held) this.#retire(held, next.get(name))
    this.#held.clear()
    for (const [name, held] of next) this.#held.set(name, held)
    for (const upstream of config.upstreams.values()) this.#refresh(upstream, next.get(upstream.name)!)
    return next
  }

  /** The service apps' first tokens, so that the first calls need not wait. Never rejects. */
  async warm (): Promise<void> {
    await Promise.all([...this.#held.values()].map(async held => await held.serviceApp?.ready()))
  }

  /** What metrics and /readyz may know of the credentials. */
  * status (): Iterable<{ upstream: string, provider: CredentialProvider, breakerOpen: boolean }> {
    for (const [upstream, { providers, breaker }] of this.#held) for (const provider of providers) yield { upstream, provider, breakerOpen: breaker.open }
  }

  /** The API tokens, by upstream. */
  * tokens (): Iterable<{ upstream: string, link: UpstreamLink, token: ApiToken }> {
    for (const [upstream, held] of this.#held) for (const token of held.tokens) yield { upstream, link: held, token }
  }

  /** The gate's own credentials, for what it asks Okta about itself. */
  * own (): Iterable<{ upstream: string, link: UpstreamLink, kind: 'upstream' | 'authnToken', clientId?: string, provider: CredentialProvider }> {
    for (const [upstream, held] of this.#held) {
      const { credentials, clientId } = held
      yield { upstream, link: held, kind: 'upstream', clientId, provider: credentials.upstream }
      if (credentials.authnToken !== undefined) yield { upstream, link: held, kind: 'authnToken', provider: credentials.authnToken }
    }
  }

  /** How often there was something for operators to look into. */
  alarms (): Iterable<AlarmCount> { return this.#notices.alarms() }

  async close (): Promise<void> {
    await Promise.all([...this.#held.values()].map(async held => {
      for (const provider of held.providers) provider.close()
      await held.pool.destroy()
    }))
  }

  /** Of each client; only asked for when there is something to tell. */
  get #needed (): readonly NeededOperation[] { return [...neededOperations(this.#policies)] }

  #open (upstream: UpstreamConfig, config: Config, secrets: ReadonlyMap<SecretReference, Secret>, key: string, old: Held | undefined, policies: readonly CompiledPolicy[]): Held {
    const { name, org, credential, timeouts: { connectMs, headersMs, idleMs }, proxy } = upstream
    const ca = upstream.ca === undefined ? undefined : [secrets.get(upstream.ca)!.reveal()]
    const connections = Math.max(1, Math.floor(config.limits.ceiling * config.limits.concurrency)) + 1
    const way = proxy === undefined ? undefined : { url: proxy.url, authorization: proxy.authorization === undefined ? undefined : this.#secrets.reader(proxy.authorization) }
    const pool = createUpstreamPool({ org, ca, connections, connectMs, headersMs, idleMs, proxy: way })
    const keys = { current: credential.kind === 'serviceApp' ? credential.keys : [] }
    const serviceApp = credential.kind !== 'serviceApp'
      ? undefined
      : createServiceApp({
        dispatcher: pool,
        org,
        clientId: credential.clientId,
        keys: () => keys.current.map(reference => this.#secrets.get(reference)),
        scopes: scopesNeeded(upstream, policies),
        dpop: credential.dpop,
        clock: this.#clock,
        notice: notice => { this.#noted(name, notice) }
      })
    const apiToken = credential.kind === 'apiToken' ? this.#token(name, credential) : undefined
    const authnToken = upstream.authnToken === undefined ? undefined : this.#token(name, upstream.authnToken)
    const own: CredentialProvider = serviceApp ?? apiToken!
    // Of another org, or once retired, the credential before is of no use here.
    const main = old !== undefined && old.org === org ? handOver(own, old.credentials.upstream) : own
    const credentials = { upstream: main, authnToken }
    const tokens = [apiToken, authnToken].filter(token => token !== undefined)
    const dispatch = injectCredential(credentials)((options, handler) => pool.dispatch(options, handler))
    const missingScope = serviceApp === undefined ? () => undefined : (operation: Operation) => refusedScope(operation, serviceApp.refusedScopes())
    return { key, org, pool, dispatch, credentials, breaker: new Breaker(this.#clock.monotonic, open => { this.#toldOfBreaker(name, open) }), missingScope, serviceApp, clientId: credential.kind === 'serviceApp' ? credential.clientId : undefined, keys, tokens, providers: authnToken === undefined ? [main] : [main, authnToken] }
  }

  #token (upstream: string, { value, next, exception }: TokenConfig): ApiToken {
    return createApiToken({
      token: this.#secrets.reader(value),
      next: next === undefined ? undefined : this.#secrets.reader(next),
      exceptionExpiresAt: exception.expiresAt,
      now: this.#clock.now,
      notice: notice => { this.#noted(upstream, notice) }
    })
  }

  #noted (upstream: string, notice: CredentialNotice): void {
    this.#notices.note(upstream, notice, this.#needed)
    if (notice.kind === 'key_refused' || notice.kind === 'token_refused' || notice.kind === 'no_token') this.#refused()
  }

  /** Keys and scopes as they are now. What they are for is asked for in the background. */
  #refresh (upstream: UpstreamConfig, { serviceApp, keys }: Held): void {
    if (serviceApp === undefined || upstream.credential.kind !== 'serviceApp') return
    keys.current = upstream.credential.keys
    const mine = needsOf(upstream, this.#policies)
    const without = upstream.credential.scopes !== 'auto' ? undefined : (refused: ReadonlySet<string>) => scopesFor(mine.filter(operation => refusedScope(operation, refused) === undefined))
    serviceApp.setScopes(scopesNeeded(upstream, this.#policies), without)
    serviceApp.renewKeys()
    const refused = serviceApp.refusedScopes()
    if (refused.size > 0) this.#notices.scopes(upstream.name, [...refused], this.#needed)
  }

  #toldOfBreaker (upstream: string, open: boolean): void {
    if (open) this.#log.error({ upstream, alarm: 'breaker_open' }, 'five calls in a row ended without an answer: calls to this org are refused at once, and one is let through now and then')
    else this.#log.info({ upstream }, 'this org answers again')
  }

  /** The provider that was handed over is closed by the one that took over. */
  #retire (held: Held, successor: Held | undefined): void {
    for (const provider of held.providers) if (successor?.org !== held.org || provider !== held.credentials.upstream) provider.close()
    const timer = setTimeout(() => { held.pool.destroy().catch(() => {}) }, RETIRE_MS)
    timer.unref()
    held.pool.close().then(() => { clearTimeout(timer) }, (error: unknown) => { this.#log.debug({ err: error }, 'a retired upstream did not close in time') })
  }
}

function needsOf (upstream: UpstreamConfig, policies: readonly CompiledPolicy[]): readonly Operation[] {
  return operationsNeeded(policies.filter(policy => policy.upstream === upstream.name), 'upstream')
}

function scopesNeeded (upstream: UpstreamConfig, policies: readonly CompiledPolicy[]): readonly string[] {
  if (upstream.credential.kind !== 'serviceApp') return []
  return upstream.credential.scopes === 'auto' ? scopesFor(needsOf(upstream, policies)) : upstream.credential.scopes
}

/** The scope that keeps an operation from being called. */
function refusedScope (operation: Operation, refused: ReadonlySet<string>): string | undefined {
  return refused.size === 0 ? undefined : scopesOf(operation).find(scope => refused.has(scope))
}

/** Everything of an upstream's configuration that its link is made of; the texts of CAs, but only the names of secrets. Keys are renewed in place. */
function keyOf (upstream: UpstreamConfig, config: Config, secrets: ReadonlyMap<SecretReference, Secret>): string {
  const { scopes: _scopes, keys: _keys, ...credential } = { scopes: undefined, keys: undefined, ...upstream.credential }
  const withoutPlaces = (name: string, value: unknown): unknown => name === 'place' ? undefined : value
  const ca = upstream.ca === undefined ? '' : secrets.get(upstream.ca)?.reveal()
  return JSON.stringify([upstream.org, credential, upstream.authnToken, upstream.timeouts, upstream.proxy, ca, config.limits.ceiling, config.limits.concurrency], withoutPlaces)
}
