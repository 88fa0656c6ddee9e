import type { FailureCode } from './failure.js'

/** So many calls in a row have to end without an answer before the upstream counts as gone. */
const OPENS_AFTER = 5
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 30_000

/** What of a call says that the upstream, or the way there, is at fault. Okta's answers never do, whatever their status. */
const TRANSPORT: ReadonlySet<FailureCode> = new Set<FailureCode>(['unreachable', 'tls', 'timeout', 'reset', 'bad_response'])

/**
 * A circuit breaker: when several calls in a row have failed on the way, further ones are refused at once, for a time
 * that doubles with each probe that fails, so that callers need not wait for what will not come; then one call is let
 * through to see. Calls that were under way when it opened do not lengthen that time. One per upstream.
 */
export class Breaker {
  readonly #now: () => number
  readonly #told: (open: boolean) => void
  #failures = 0
  /** probes that have failed since it opened */
  #probes = 0
  #closedAgainAt = -Infinity
  #probing = false

  /**
   * @param now milliseconds of a clock that never jumps
   * @param told hears when it opens, and when an answer has closed it
   */
  constructor (now: () => number, told: (open: boolean) => void = () => {}) {
    this.#now = now
    this.#told = told
  }

  /** True while calls are refused. */
  get open (): boolean { return this.#failures >= OPENS_AFTER }

  /** Whether a call may be sent. One that may while the breaker is open is the probe: its outcome must be told. */
  permit (): boolean {
    if (!this.open) return true
    if (this.#probing || this.#now() < this.#closedAgainAt) return false
    this.#probing = true
    return true
  }

  /** An answer has come, of whatever status. */
  answered (): void {
    const wasOpen = this.open
    this.#failures = 0
    this.#probing = false
    if (wasOpen) this.#told(false)
  }

  /** A call that was permitted has ended without an answer. */
  failed (code: FailureCode): void {
    const wasProbe = this.#probing
    this.#probing = false
    if (!TRANSPORT.has(code)) return
    if (this.open) {
      if (!wasProbe) return
      this.#probes++
    } else {
      this.#failures++
      if (!this.open) return
      this.#probes = 0
    }
    this.#closedAgainAt = this.#now() + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#probes, 10))
    if (this.#probes === 0) this.#told(true)
  }

  /** A call that was permitted was given up before its outcome was known: its caller has left. */
  abandoned (): void { this.#probing = false }
}
