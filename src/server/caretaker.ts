import type { Logger } from 'pino'
import type { ApiToken, TokenSlot } from '../upstream/api-token.js'
import type { Expiry } from './expiries.js'

const DAY_MS = 86_400_000
/** Okta kills a token after 30 days without use (facts.md, Credentials). */
const IDLE_MS = 20 * DAY_MS
/** How long before an end operators are told, days; once for each. */
const WARN_DAYS = [0, 1, 3, 7, 14, 30]

export interface CaretakerParts {
  readonly log: Logger
  readonly tokens: () => Iterable<{ readonly upstream: string, readonly token: ApiToken }>
  readonly expiries: () => readonly Expiry[]
  /** reads the token's own user with it; the status, undefined when there was no answer */
  readonly use: (upstream: string, slot: TokenSlot) => Promise<number | undefined>
}

/** Looks after what would end in silence: API tokens that nobody uses, and whatever has a last day. */
export class Caretaker {
  readonly #parts: CaretakerParts
  /** the nearest threshold that was told of, by what and when it ends */
  #told = new Map<string, number>()

  constructor (parts: CaretakerParts) { this.#parts = parts }

  /** One look; the gate takes one at its start and each hour. Never rejects. @param now epoch milliseconds */
  async look (now: number): Promise<void> {
    this.#warn(now)
    for (const { upstream, token } of this.#parts.tokens()) for (const slot of token.slots()) await this.#keepAlive(upstream, token, slot, now)
  }

  /** A token of which nothing is known is used, too: it may have been idle since long before this start. */
  async #keepAlive (upstream: string, token: ApiToken, slot: TokenSlot, now: number): Promise<void> {
    const { position, lastUsed } = slot
    if (lastUsed !== undefined && now - lastUsed < IDLE_MS) return
    const status = await this.#parts.use(upstream, slot)
    const { log } = this.#parts
    if (status === undefined) return
    token.used(position, now)
    if (status === 401) log.error({ upstream, alarm: 'token_refused', token: position }, 'Okta refuses an API token that was tried to keep it alive')
    else if (lastUsed === undefined) log.info({ upstream, token: position }, 'an API token was used once, because nothing is known of its last use: Okta drops it after 30 idle days')
    else log.warn({ upstream, token: position, idleDays: Math.floor((now - lastUsed) / DAY_MS) }, 'an API token had been idle for 20 days and was used to keep it alive: is it still needed?')
  }

  #warn (now: number): void {
    const told = new Map<string, number>()
    for (const { what, name, at } of this.#parts.expiries()) {
      const days = (at - now) / DAY_MS
      const threshold = WARN_DAYS.find(each => days <= each)
      if (threshold === undefined) continue
      const key = `${what} ${name} ${at}`
      const before = this.#told.get(key)
      told.set(key, threshold)
      if (before !== undefined && before <= threshold) continue
      const facts = { alarm: 'expiry', what, name, expires: new Date(at).toISOString() }
      if (days <= 0) this.#parts.log.error(facts, 'this has expired')
      else this.#parts.log.warn(facts, `this expires within ${threshold} ${threshold === 1 ? 'day' : 'days'}`)
    }
    this.#told = told
  }
}
