import type { Logger } from 'pino'
import type { Config, SecretReference, TokenConfig, UpstreamConfig } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import { scopesFor } from '../okta/permissions.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { neededOperations } from '../policy/needed.js'
import { createUpstreamPool } from '../upstream/agent.js'
import { createApiToken } from '../upstream/api-token.js'
import type { CredentialProvider } from '../upstream/credential.js'
import { injectCredential } from '../upstream/inject.js'
import { createServiceApp, type ServiceApp, type TokenClock } from '../upstream/service-app.js'
import type { UpstreamLink } from './upstreams.js'

/** Secrets as they are now: references are looked up by what they say, so that a reload may bring new objects. */
class SecretBook {
  #secrets = new Map<string, Secret>()

  renew (secrets: ReadonlyMap<SecretReference, Secret>): void {
    this.#secrets = new Map([...secrets].map(([reference, secret]) => [nameOf(reference), secret]))
  }

  get (reference: SecretReference): Secret {
    const secret = this.#secrets.get(nameOf(reference))
    if (secret === undefined) throw new Error('a secret was asked for that is not loaded')
    return secret
  }
}

interface Held extends UpstreamLink {
  readonly key: string
  readonly serviceApp?: ServiceApp
  readonly providers: readonly CredentialProvider[]
}

/** How long connections of an upstream that a reload has dropped may finish their calls, milliseconds. */
const RETIRE_MS = 120_000

/**
 * Connections and credentials of the upstreams. They outlive snapshots: a reload that leaves an upstream's part of
 * the configuration alone leaves its pool and its token alone, too.
 */
export class Links {
  readonly #held = new Map<string, Held>()
  readonly #secrets = new SecretBook()
  readonly #clock: TokenClock
  readonly #log: Logger

  constructor (clock: TokenClock, log: Logger) {
    this.#clock = clock
    this.#log = log
  }

  /**
   * The links of a configuration; those of upstreams that are gone or changed are retired.
   * @throws for a CA or key that can't be read, before anything has changed
   */
  renew (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, policies: Iterable<CompiledPolicy>): ReadonlyMap<string, UpstreamLink> {
    const needed = [...neededOperations(policies)]
    const next = new Map<string, Held>()
    for (const upstream of config.upstreams.values()) {
      const key = keyOf(upstream, config, secrets)
      const old = this.#held.get(upstream.name)
      next.set(upstream.name, old?.key === key ? old : this.#open(upstream, config, secrets, scopesOf(upstream, needed), key))
    }
    this.#secrets.renew(secrets)
    for (const upstream of config.upstreams.values()) next.get(upstream.name)!.serviceApp?.setScopes(scopesOf(upstream, needed))
    for (const [name, held] of this.#held) if (next.get(name) !== held) this.#retire(held)
    this.#held.clear()
    for (const [name, held] of next) this.#held.set(name, held)
    return next
  }

  /** The service apps' first tokens, so that the first calls need not wait. Never rejects. */
  async warm (): Promise<void> {
    await Promise.all([...this.#held.values()].map(async held => await held.serviceApp?.ready()))
  }

  /** What metrics and /readyz may know of the credentials. */
  * status (): Iterable<{ upstream: string, provider: CredentialProvider }> {
    for (const [upstream, held] of this.#held) for (const provider of held.providers) yield { upstream, provider }
  }

  async close (): Promise<void> {
    await Promise.all([...this.#held.values()].map(async held => {
      for (const provider of held.providers) provider.close()
      await held.pool.destroy()
    }))
  }

  #open (upstream: UpstreamConfig, config: Config, secrets: ReadonlyMap<SecretReference, Secret>, scopes: readonly string[], key: string): Held {
    const { connectMs, headersMs, idleMs } = upstream.timeouts
    const ca = upstream.ca === undefined ? undefined : [secrets.get(upstream.ca)!.reveal()]
    const connections = Math.max(1, Math.floor(config.limits.ceiling * config.limits.concurrency)) + 1
    const pool = createUpstreamPool({ org: upstream.org, ca, connections, connectMs, headersMs, idleMs })
    const { credential } = upstream
    let serviceApp: ServiceApp | undefined
    let main: CredentialProvider
    if (credential.kind === 'serviceApp') {
      main = serviceApp = createServiceApp({
        dispatcher: pool,
        org: upstream.org,
        clientId: credential.clientId,
        keys: () => credential.keys.map(reference => this.#secrets.get(reference)),
        scopes,
        clock: this.#clock
      })
    } else main = this.#token(credential)
    const authnToken = upstream.authnToken === undefined ? undefined : this.#token(upstream.authnToken)
    const credentials = { upstream: main, authnToken }
    const dispatch = injectCredential(credentials)((options, handler) => pool.dispatch(options, handler))
    return { key, pool, dispatch, credentials, serviceApp, providers: authnToken === undefined ? [main] : [main, authnToken] }
  }

  #token ({ value, exception }: TokenConfig): CredentialProvider {
    return createApiToken({ token: () => this.#secrets.get(value), exceptionExpiresAt: exception.expiresAt, now: this.#clock.now })
  }

  #retire (held: Held): void {
    for (const provider of held.providers) provider.close()
    const timer = setTimeout(() => { held.pool.destroy().catch(() => {}) }, RETIRE_MS)
    timer.unref()
    held.pool.close().then(() => { clearTimeout(timer) }, (error: unknown) => { this.#log.debug({ err: error }, 'a retired upstream did not close in time') })
  }
}

function scopesOf (upstream: UpstreamConfig, needed: ReadonlyArray<{ upstream: string, credential: string, operation: Parameters<typeof scopesFor>[0] extends Iterable<infer O> ? O : never }>): readonly string[] {
  if (upstream.credential.kind !== 'serviceApp') return []
  if (upstream.credential.scopes !== 'auto') return upstream.credential.scopes
  return scopesFor(needed.filter(one => one.upstream === upstream.name && one.credential === 'upstream').map(one => one.operation))
}

/** Everything of an upstream's configuration that its link is made of; the texts of CAs, but only the names of secrets. */
function keyOf (upstream: UpstreamConfig, config: Config, secrets: ReadonlyMap<SecretReference, Secret>): string {
  const { scopes: _scopes, ...credential } = { scopes: undefined, ...upstream.credential }
  const withoutPlaces = (name: string, value: unknown): unknown => name === 'place' ? undefined : value
  const ca = upstream.ca === undefined ? '' : secrets.get(upstream.ca)?.reveal()
  return JSON.stringify([upstream.org, credential, upstream.authnToken, upstream.timeouts, ca, config.limits.ceiling, config.limits.concurrency], withoutPlaces)
}

function nameOf (reference: SecretReference): string {
  return reference.kind === 'env' ? `env ${reference.name}` : `file ${reference.path}`
}
