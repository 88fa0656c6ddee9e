import type { Dispatcher } from 'undici'
import type { Secret } from '../domain/secret.js'
import type { RateHeaders } from './answer-head.js'
import type { DPoPHandle } from 'oauth4webapi'
import { CredentialFault, type CredentialNotice, type CredentialProvider, type PresentedCredential } from './credential.js'
import { createProofKey, type ProofKey } from './dpop.js'
import { TokenAsker, type ScopePlan } from './token-asker.js'
import { BACKDATED_SECONDS, createTokenProofs, requestToken, type GrantedToken, type TokenRequest } from './token-request.js'

/** A token is renewed when this part of its life is over, less up to JITTER, so that gates do not renew together. */
const RENEW_AT = 0.8
const JITTER = 0.1
const SHORTEST_LIFE_MS = 5000
/** A token is not used in the last moments of its life: a call is under way for some time before Okta judges it. */
const MARGIN_MS = 2000
const MARGIN_SHARE = 0.05
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 60_000
/** A token that Okta refuses is replaced at once, but not more often than this: if new ones are refused, too, they don't help. */
const REMINT_MS = 10_000
/** How soon a first key that Okta refused is tried again while another one serves. */
const RETRY_FIRST_KEY_MS = 60_000

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
  /** tokens are bound to a key of this process, and each call carries a proof (RFC 9449) */
  readonly dpop?: boolean
  readonly timeoutMs?: number
  readonly clock: TokenClock
  readonly notice?: (notice: CredentialNotice) => void
  readonly observe?: (answer: { status: number, rate: RateHeaders, date?: string }) => void
}

export interface ServiceApp extends CredentialProvider {
  /** The scopes that the policies need now; when they have changed a token for them is fetched, the old one used till then. */
  readonly setScopes: (scopes: readonly string[], without?: ScopePlan['without']) => void
  /** The keys may have changed: a new first one is tried, the token of the old one serves till then. */
  readonly renewKeys: () => void
  /** Scopes that Okta refuses to this client: what needs them can't be called. */
  readonly refusedScopes: () => ReadonlySet<string>
  /** Resolves when no token request is under way, whatever came of it; starts one when there is no token. Never rejects. */
  readonly ready: () => Promise<void>
}

interface HeldToken extends GrantedToken, PresentedCredential {
  readonly obtainedAt: number
  readonly expiresAt: number
  /** a little before that */
  readonly usableUntil: number
}

/**
 * A provider of `Authorization: DPoP …` or `Bearer …` for an API service app: one token in memory, renewed ahead of its expiry
 * in the background, one request for any number of waiters, back-off with jitter after a failure while the old
 * token is used to its end.
 */
export function createServiceApp (options: ServiceAppOptions): ServiceApp {
  return new TokenKeeper(options)
}

class TokenKeeper implements ServiceApp {
  readonly #options: ServiceAppOptions
  readonly #asker: TokenAsker
  #plan: ScopePlan
  #proofKey: Promise<ProofKey> | undefined
  #tokenProofs: DPoPHandle | undefined
  /** what Okta asked for in the proof of a call */
  #nonce: string | undefined
  #firstKey = ''
  #remintedAt = -Infinity
  #held: HeldToken | undefined
  #flight: Promise<PresentedCredential | CredentialFault> | undefined
  #fault: CredentialFault | undefined
  #failures = 0
  #retryAt = -Infinity
  #generation = 0
  #cancelTimer: () => void = () => {}
  #closed = false
  /** the keys have changed while a request was under way */
  #again = false

  constructor (options: ServiceAppOptions) {
    this.#options = options
    this.#plan = { scopes: normalized(options.scopes) }
    this.#asker = new TokenAsker({
      keys: options.keys,
      request: async wanted => await this.#request(wanted),
      notice: notice => { options.notice?.(notice) }
    })
  }

  readonly get = (): PresentedCredential | CredentialFault | Promise<PresentedCredential | CredentialFault> => {
    const { monotonic } = this.#options.clock
    if (this.#held !== undefined && monotonic() < this.#held.usableUntil) return this.#held
    if (this.#closed) return new CredentialFault('closed')
    if (this.#flight !== undefined) return this.#flight
    if (this.#fault !== undefined && monotonic() < this.#retryAt) return this.#fault
    return this.#fetch()
  }

  readonly invalidate = (generation: number, nonce?: string): boolean => {
    if (nonce !== undefined) {
      this.#nonce = nonce
      return this.#held !== undefined
    }
    if (generation !== this.#held?.generation) return this.#generation > generation || this.#flight !== undefined
    const { monotonic } = this.#options.clock
    if (monotonic() - this.#remintedAt < REMINT_MS) return false
    this.#remintedAt = monotonic()
    this.#held = undefined
    if (this.#flight === undefined) this.#fetch()
    return true
  }

  readonly setScopes = (scopes: readonly string[], without?: ScopePlan['without']): void => {
    const wanted = normalized(scopes)
    const same = wanted.join(' ') === this.#plan.scopes.join(' ')
    if (same) {
      // Another way to do without is not worth a token unless something is refused.
      this.#plan = Object.assign(this.#plan, { without })
      return
    }
    this.#plan = { scopes: wanted, without }
    if (this.#held !== undefined || wanted.length > 0) this.#fetchAnew()
  }

  readonly renewKeys = (): void => {
    // Nothing was asked for yet: the first request will be with the new key anyway.
    if (this.#firstKey === '' || this.#firstKey === this.#asker.firstKey) return
    this.#again = this.#flight !== undefined
    this.#fetchAnew()
  }

  readonly refusedScopes = (): ReadonlySet<string> => this.#asker.refused

  #fetchAnew (): void {
    this.#failures = 0
    this.#retryAt = -Infinity
    this.#fault = undefined
    // A flight for the old scopes or keys starts the next one when it lands.
    if (this.#flight === undefined) this.#fetch()
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
      available: held !== undefined && at < held.usableUntil,
      ageMs: held === undefined ? undefined : at - held.obtainedAt,
      expiresAt: held === undefined ? undefined : now() + held.expiresAt - at,
      lastError: this.#fault?.reason,
      lastErrorDetail: this.#fault?.detail,
      scopes: held?.scopes,
      refusedScopes: this.#asker.refused.size === 0 ? undefined : [...this.#asker.refused].sort(),
      position: held === undefined ? undefined : this.#asker.position,
      dpop: this.#options.dpop === true
    }
  }

  readonly close = (): void => {
    this.#closed = true
    this.#cancelTimer()
    this.#held = undefined
  }

  #fetch (): Promise<PresentedCredential | CredentialFault> {
    this.#cancelTimer()
    const plan = this.#plan
    const flight = this.#obtain(plan).then(found => {
      this.#flight = undefined
      if (this.#closed) return new CredentialFault('closed')
      if (plan !== this.#plan || this.#again) {
        this.#again = false
        const next = this.#fetch()
        return found instanceof CredentialFault ? next : found
      }
      this.#schedule(found)
      return found
    })
    this.#flight = flight
    return flight
  }

  async #obtain (plan: ScopePlan): Promise<PresentedCredential | CredentialFault> {
    const { clock } = this.#options
    // Counted from before the request: the token is never thought younger than Okta thinks it.
    const obtainedAt = clock.monotonic()
    this.#firstKey = this.#asker.firstKey
    const failedBefore = this.#fault !== undefined
    try {
      const granted = await this.#asker.ask(plan)
      // Renewing all the time would spend the token endpoint's limit and help nobody.
      if (granted.lifetimeMs < SHORTEST_LIFE_MS) throw new CredentialFault('token_invalid', 'expires_in')
      this.#fault = undefined
      this.#failures = 0
      const expiresAt = obtainedAt + granted.lifetimeMs
      this.#held = { ...await this.#presented(granted), generation: ++this.#generation, obtainedAt, expiresAt, usableUntil: expiresAt - Math.min(MARGIN_MS, granted.lifetimeMs * MARGIN_SHARE) }
      if (failedBefore) this.#options.notice?.({ kind: 'token_again', alarm: false })
      return this.#held
    } catch (error) {
      this.#fault = error instanceof CredentialFault ? error : new CredentialFault('token_invalid')
      this.#failures++
      if (!failedBefore && this.#fault.reason !== 'no_scopes') this.#options.notice?.({ kind: 'no_token', alarm: true, reason: this.#fault.reason, detail: this.#fault.detail })
      return this.#fault
    }
  }

  async #presented (granted: GrantedToken): Promise<GrantedToken & Pick<PresentedCredential, 'scheme' | 'prove'>> {
    if (this.#proofKey === undefined) return { ...granted, scheme: 'Bearer' }
    const { org, clock } = this.#options
    const { prove } = (await this.#proofKey).proofsFor(granted.token)
    return { ...granted, scheme: 'DPoP', prove: (method, path) => prove(method, org + path, this.#nonce, clock.now() - BACKDATED_SECONDS * 1000) }
  }

  async #request (wanted: Pick<TokenRequest, 'key' | 'scopes'>): Promise<GrantedToken> {
    const { clock, dispatcher, org, clientId, observe, timeoutMs, dpop } = this.#options
    if (dpop === true) this.#tokenProofs ??= createTokenProofs(await (this.#proofKey ??= createProofKey()), clock.now)
    return await requestToken({ dispatcher, org, clientId, ...wanted, now: clock.now(), timeoutMs: timeoutMs ?? 10_000, proofs: this.#tokenProofs, observe })
  }

  /** Sets the timer of the next request: ahead of the expiry, or after the back-off. */
  #schedule (found: PresentedCredential | CredentialFault): void {
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
      if (this.#asker.position > 1) waitMs = Math.min(waitMs, RETRY_FIRST_KEY_MS)
    }
    this.#cancelTimer = after(Math.max(0, waitMs), () => { if (!this.#closed && this.#flight === undefined) this.#fetch() })
  }
}

function normalized (scopes: readonly string[]): readonly string[] {
  return [...new Set(scopes)].sort()
}
