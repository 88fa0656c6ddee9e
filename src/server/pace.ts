import type { IncomingMessage } from 'node:http'

/** What one client's request bodies may bring in a second, at least; Okta's bodies have some kilobytes. */
const BYTES_PER_SECOND = 16_777_216
/** What a piece costs beside its bytes: as much as reading so many, so that a body in chunks of one byte is no cheaper than it is. */
const PIECE_BYTES = 1024
/** How far ahead of that a client may be: bodies that come now and then are read as fast as they arrive. */
const AHEAD_MS = 125
/** When so many have been seen, those who are no longer ahead are forgotten. */
const SWEEP_AT = 1000

/**
 * How fast request bodies are read, by client: reading costs CPU, of which nobody else has a share, so a client that
 * sends megabytes without an end is read slowly (its connections are paused, TCP holds it back), and others are not.
 */
export class Pace {
  readonly #clock: () => number
  /** until when what was read so far keeps a client busy at its pace */
  readonly #until = new Map<string, number>()
  #sweepAt = SWEEP_AT

  /** @param clock monotonic milliseconds */
  constructor (clock: () => number) { this.#clock = clock }

  /** those who have been read faster than their pace */
  get size (): number { return this.#until.size }

  /**
   * Notes a piece that was read.
   *
   * @param largest body that is taken: one of them in a second is always read
   * @returns how long to read nothing more, milliseconds; 0: go on
   */
  spend (who: string, bytes: number, largest: number): number {
    const now = this.#clock()
    const until = Math.max(now, this.#until.get(who) ?? 0) + (bytes + PIECE_BYTES) * 1000 / Math.max(BYTES_PER_SECOND, largest)
    this.#until.set(who, until)
    if (this.#until.size >= this.#sweepAt) this.#sweep(now)
    return Math.max(0, until - now - AHEAD_MS)
  }

  #sweep (now: number): void {
    for (const [who, until] of this.#until) if (until <= now) this.#until.delete(who)
    this.#sweepAt = Math.max(SWEEP_AT, 2 * this.#until.size)
  }
}

/** Reads nothing more of a request for a time; its connection's buffers fill up, and its sender waits. */
export function rest (request: IncomingMessage, ms: number): void {
  request.pause()
  setTimeout(() => { request.resume() }, ms)
}
