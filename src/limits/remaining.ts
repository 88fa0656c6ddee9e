/** Reset is in whole seconds: the window may end up to this much after it. */
export const RESET_GUARD_MS = 1000

// Answers of one window may show a Reset that differs by a rounding; the next window's is a minute later.
const SAME_WINDOW_MS = 5000

/**
 * What Okta says is left for one credential in one bucket, less what is on its way: so the use of others of
 * the same credential counts, and a gate that has just started spends only what the last one left.
 *
 * Answers overtake each other, so the smallest Remaining of a window is the freshest. Every other answered
 * call of that window was counted before it and is contained in it; a call in flight may not be. What can
 * still be sent is therefore `least − inFlight − lost`, where `lost` are calls that ended without saying.
 * It is known until the window's Reset; a later window replaces it.
 */
export class Remaining {
  /** the first answer since the start has come */
  learned = false
  #inFlight = 0
  #least = 0
  #resetMs = 0
  #lost = 0
  #lostBy = 0
  #limit = 0
  #limitUntilMs = 0

  /** calls of this credential have gone, or one is on its way */
  get seen (): boolean {
    return this.learned || this.#inFlight > 0
  }

  get inFlight (): number {
    return this.#inFlight
  }

  take (): void {
    this.#inFlight++
  }

  giveBack (): void {
    this.#inFlight--
  }

  /**
   * A call ended and did not say what remains: it may have been counted after the freshest answer.
   *
   * @param countedBy the latest moment at which Okta can have counted it, epoch ms
   */
  lose (countedBy: number): void {
    this.#inFlight--
    this.#lost++
    this.#lostBy = countedBy
  }

  /**
   * An answer said what remains.
   *
   * @param sentAt when its call was reserved, epoch ms
   */
  observe (limit: number, remaining: number, resetMs: number, sentAt: number): void {
    this.#inFlight--
    if (resetMs < this.#resetMs - SAME_WINDOW_MS) return
    this.#limit = limit
    this.#limitUntilMs = resetMs
    const later = resetMs > this.#resetMs + SAME_WINDOW_MS
    this.#resetMs = later ? resetMs : Math.max(this.#resetMs, resetMs)
    if (!later && remaining > this.#least) return
    this.#least = remaining
    // What Okta can only have counted before this call was sent is contained in what it says.
    if (sentAt >= this.#lostBy) this.#lost = 0
  }

  /** How many calls can still be sent; Infinity when nothing is known of the window that runs at `now`. */
  left (now: number): number {
    return now < this.#resetMs + RESET_GUARD_MS ? this.#least - this.#inFlight - this.#lost : Infinity
  }

  /** What the window that runs at `now` is known to have left; undefined when nothing is. */
  known (now: number): { readonly limit: number, readonly least: number, readonly resetMs: number } | undefined {
    return now < this.#resetMs ? { limit: this.#limit, least: Math.max(0, this.#least - this.#lost), resetMs: this.#resetMs } : undefined
  }

  /** When `left` is lifted, epoch ms. */
  get liftedAt (): number {
    return this.#resetMs + RESET_GUARD_MS
  }

  /** What X-Rate-Limit-Limit last said while that header's Reset lies ahead, else Infinity. */
  headerLimit (now: number): number {
    return now < this.#limitUntilMs ? this.#limit : Infinity
  }
}
