/** A learned limit is tried one higher after each of these. */
const RAISE_MS = 60_000

/** Half of the smallest limit that Okta has published (15, free orgs in 2025): below it others are to blame. */
const LEAST = 7

/** Calls of one upstream that are in flight, from their reservation to the end of their response. */
export class Concurrency {
  #inFlight = 0
  #learned = Infinity
  #learnedAt = 0

  get inFlight (): number {
    return this.#inFlight
  }

  take (): void {
    this.#inFlight++
  }

  giveBack (): void {
    this.#inFlight--
  }

  /** How many may be in flight: the configured number, or what Okta's concurrency 429s have taught. */
  allowed (configured: number, now: number): number {
    return Math.min(configured, this.#learned + Math.floor((now - this.#learnedAt) / RAISE_MS))
  }

  /** Okta refused for its concurrency: what was in flight was too much, half of it goes on. */
  learn (configured: number, now: number): void {
    this.#learned = Math.max(LEAST, Math.floor(Math.min(this.allowed(configured, now), this.#inFlight) / 2))
    this.#learnedAt = now
  }
}
