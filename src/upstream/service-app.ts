import type { Dispatcher } from 'undici'
import type { Secret } from '../domain/secret.js'
import type { RateHeaders } from './answer-head.js'
import { CredentialFault, type CredentialProvider, type PresentedCredential } from './credential.js'
import { readSigningKey } from './signing-key.js'
import { requestToken, type GrantedToken } from './token-request.js'

/** A token is renewed when this part of its life is over, less up to JITTER, so that gates do not renew together. */
const RENEW_AT = 0.8
const JITTER = 0.1
const SHORTEST_LIFE_MS = 5000
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 60_000
/** A token refused sooner than this after it was obtained would be refused again: a new one would not help. */
const SETTLED_MS = 10_000

/** Clocks and timers, so that a test can turn an hour into a step. */
export interface TokenClock {
  /** epoch milliseconds: only for `iat`, `exp` and for what is shown */
  readonly now: () => number
  /** milliseconds of a clock that never jumps: ages, expiries, back-off */
  readonly monotonic: () => number
  /** calls back once after so many milliseconds, without keeping the process alive; returns what cancels it */
  readonly after: (ms: number, callback: () => void) => () => void
  /** 0 ≤ x < 1 */
  readonly random: () => number
}

export interface ServiceAppOptions {
  readonly dispatcher: Dispatcher
  /** origin of the org */
  readonly org: string
  readonly clientId: string
  /** the keys as the configuration holds them now; the first signs */
  readonly keys: () => readonly Secret[]
  readonly scopes: readonly string[]
  readonly timeoutMs?: number
  readonly clock: TokenClock
  readonly observe?: (answer: { status: number, rate: RateHeaders, date?: string }) => void
}

export interface ServiceApp extends CredentialProvider {
  /** The scopes that the policies need now; when they have changed a token for them is fetched, the old one used till then. */
  readonly setScopes: (scopes: readonly string[]) => void
  /** Resolves when no token request is under way, whatever came of it; starts one when there is no token. Never rejects. */
  readonly ready: () => Promise<void>
}

interface HeldToken extends GrantedToken, PresentedCredential {
  readonly obtainedAt: number
  readonly expiresAt: number
}

/**
 * A provider of `Authorization: Bearer …` for an API service app: one token in memory, renewed ahead of its expiry
 * in the background, one request for any number of waiters, back-off with jitter after a failure while the old
 * token is used to its end.
 */
export function createServiceApp (options: ServiceAppOptions): ServiceApp {
  return new TokenKeeper(options)
}

class TokenKeeper implements ServiceApp {
  readonly #options: ServiceAppOptions
  #scopes: readonly string[]
  #held: HeldToken | undefined
  #flight: Promise<PresentedCredential | CredentialFault> | undefined
  #fault: CredentialFault | undefined
  #failures = 0
  #retryAt = -Infinity
  #generation = 0
  #cancelTimer: () => void = () => {}
  #closed = false

  constructor (options: ServiceAppOptions) {
    this.#options = options
    this.#scopes = normalized(options.scopes)
  }

  readonly get = (): PresentedCredential | CredentialFault | Promise<PresentedCredential | CredentialFault> => {
    const { monotonic } = this.#options.clock
    if (this.#held !== undefined && monotonic() < this.#held.expiresAt) return this.#held
    if (this.#closed) return new CredentialFault('closed')
    if (this.#flight !== undefined) return this.#flight
    if (this.#fault !== undefined && monotonic() < this.#retryAt) return this.#fault
    return this.#fetch()
  }

  readonly invalidate = (generation: number): boolean => {
    if (generation !== this.#held?.generation) return this.#generation > generation || this.#flight !== undefined
    if (this.#options.clock.monotonic() - this.#held.obtainedAt < SETTLED_MS) return false
    this.#held = undefined
    if (this.#flight === undefined) this.#fetch()
    return true
  }

  readonly setScopes = (scopes: readonly string[]): void => {
    const wanted = normalized(scopes)
    if (wanted.join(' ') === this.#scopes.join(' ')) return
    this.#scopes = wanted
    this.#failures = 0
    this.#retryAt = -Infinity
    this.#fault = undefined
    // A flight for the old scopes starts the next one when it lands.
    if (this.#flight === undefined && (this.#held !== undefined || wanted.length > 0)) this.#fetch()
  }

  readonly ready = async (): Promise<void> => {
    await this.get()
    while (this.#flight !== undefined) await this.#flight
  }

  readonly status = (): ReturnType<CredentialProvider['status']> => {
    const { now, monotonic } = this.#options.clock
    const held = this.#held
    const at = monotonic()
    return {
      kind: 'serviceApp',
      available: held !== undefined && at < held.expiresAt,
      ageMs: held === undefined ? undefined : at - held.obtainedAt,
      expiresAt: held === undefined ? undefined : now() + held.expiresAt - at,
      lastError: this.#fault?.reason,
      lastErrorDetail: this.#fault?.detail,
      scopes: held?.scopes
    }
  }

  readonly close = (): void => {
    this.#closed = true
    this.#cancelTimer()
    this.#held = undefined
  }

  #fetch (): Promise<PresentedCredential | CredentialFault> {
    this.#cancelTimer()
    const scopes = this.#scopes
    const flight = this.#request(scopes).then(found => {
      this.#flight = undefined
      if (this.#closed) return new CredentialFault('closed')
      if (scopes !== this.#scopes) {
        const next = this.#fetch()
        return found instanceof CredentialFault ? next : found
      }
      this.#plan(found)
      return found
    })
    this.#flight = flight
    return flight
  }

  async #request (scopes: readonly string[]): Promise<PresentedCredential | CredentialFault> {
    const { clock, dispatcher, org, clientId, keys, observe, timeoutMs } = this.#options
    // Counted from before the request: the token is never thought younger than Okta thinks it.
    const obtainedAt = clock.monotonic()
    try {
      if (scopes.length === 0) throw new CredentialFault('no_scopes')
      const [first, ...others] = keys()
      if (first === undefined) throw new CredentialFault('bad_key')
      const key = await readSigningKey(first, others.length > 0).catch(() => { throw new CredentialFault('bad_key') })
      const granted = await requestToken({ dispatcher, org, clientId, key, scopes, now: clock.now(), timeoutMs: timeoutMs ?? 10_000, observe })
      // Renewing all the time would spend the token endpoint's limit and help nobody.
      if (granted.lifetimeMs < SHORTEST_LIFE_MS) throw new CredentialFault('token_invalid', 'expires_in')
      this.#fault = undefined
      this.#failures = 0
      this.#held = { ...granted, scheme: 'Bearer', generation: ++this.#generation, obtainedAt, expiresAt: obtainedAt + granted.lifetimeMs }
      return this.#held
    } catch (error) {
      this.#fault = error instanceof CredentialFault ? error : new CredentialFault('token_invalid')
      this.#failures++
      return this.#fault
    }
  }

  /** Sets the timer of the next request: ahead of the expiry, or after the back-off. */
  #plan (found: PresentedCredential | CredentialFault): void {
    const { random, monotonic, after } = this.#options.clock
    let waitMs
    if (found instanceof CredentialFault) {
      const step = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 10))
      waitMs = step * (0.5 + random() / 2)
      this.#retryAt = monotonic() + waitMs
      if (found.reason === 'no_scopes') return
    } else {
      const { obtainedAt, expiresAt } = found as HeldToken
      waitMs = obtainedAt + (expiresAt - obtainedAt) * (RENEW_AT - JITTER * random()) - monotonic()
    }
    this.#cancelTimer = after(Math.max(0, waitMs), () => { if (!this.#closed && this.#flight === undefined) this.#fetch() })
  }
}

function normalized (scopes: readonly string[]): readonly string[] {
  return [...new Set(scopes)].sort()
}
