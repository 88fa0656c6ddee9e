/** The span that the promise speaks of: at most the allowance in any 60 seconds. */
export const SPAN_MS = 60_000

/**
 * Slots are held this much longer than the span: a request that was given up (timeout, client gone) may
 * still lie in socket buffers and reach Okta a little later than we stopped looking.
 */
export const GUARD_MS = 500

const HOLD_MS = SPAN_MS + GUARD_MS
const SMALLEST = 8
const NOTHING = new Float64Array(0)

/**
 * Exact log of one budget over any 60 seconds. A slot is held from its reservation until 60 s + guard after
 * the *answer*. Okta counts a request somewhere between our send and its answer, so every request counted in
 * a 60 s span is still held when the last of them is reserved: used ≤ limit then bounds the span, however it falls.
 *
 * Times are epoch milliseconds and must never decrease from call to call (the store clamps them); expiries
 * are then in order and form a queue: a ring of doubles, O(1) amortised, no allocation per request.
 */
export class SlidingWindow {
  #inFlight = 0
  #ring = NOTHING
  #head = 0
  #count = 0

  /** Slots held and not yet answered. */
  get inFlight (): number {
    return this.#inFlight
  }

  /** Slots held at `now`. */
  used (now: number): number {
    if (this.#count > 0 && this.#ring[this.#head]! <= now) this.#expire(now)
    return this.#inFlight + this.#count
  }

  /** Holds a slot. The caller has looked at `used` before. */
  take (): void {
    this.#inFlight++
  }

  /** The answer of a held slot came, or its call failed, at `now`: the slot expires one span later. */
  settle (now: number): void {
    this.#inFlight--
    this.#push(now + HOLD_MS)
  }

  /** Frees a slot at once. Only for a call of which no byte was sent. */
  giveBack (): void {
    this.#inFlight--
  }

  /** Holds `count` slots as if they had been answered at `now`: use that somebody else reports. */
  charge (count: number, now: number): void {
    for (let i = 0; i < count; i++) this.#push(now + HOLD_MS)
  }

  /** When each answered slot that is held at `now` expires, ascending. */
  expiries (now: number): number[] {
    this.used(now)
    const mask = this.#ring.length - 1
    return Array.from({ length: this.#count }, (_, i) => this.#ring[(this.#head + i) & mask]!)
  }

  /** When expiry alone brings `used` below `limit`; undefined when answers have to come first, or for a limit of 0. */
  freeAt (limit: number): number | undefined {
    const needed = Math.max(1, this.#inFlight + this.#count - limit + 1)
    if (limit <= 0 || needed > this.#count) return undefined
    return this.#ring[(this.#head + needed - 1) & (this.#ring.length - 1)]
  }

  #expire (now: number): void {
    const mask = this.#ring.length - 1
    while (this.#count > 0 && this.#ring[this.#head]! <= now) {
      this.#head = (this.#head + 1) & mask
      this.#count--
    }
    // A quarter, not a half, so that a queue around a power of two does not resize back and forth.
    if (this.#ring.length > SMALLEST && this.#count < this.#ring.length >> 2) {
      this.#resize(Math.max(SMALLEST, this.#ring.length >> 1))
    }
  }

  #push (expiry: number): void {
    if (this.#count === this.#ring.length) this.#resize(Math.max(SMALLEST, this.#ring.length << 1))
    this.#ring[(this.#head + this.#count) & (this.#ring.length - 1)] = expiry
    this.#count++
  }

  /** `size` is a power of two, so that an index wraps by a mask. */
  #resize (size: number): void {
    const ring = new Float64Array(size)
    const mask = this.#ring.length - 1
    for (let i = 0; i < this.#count; i++) ring[i] = this.#ring[(this.#head + i) & mask]!
    this.#ring = ring
    this.#head = 0
  }
}
