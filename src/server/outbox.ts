/**
 * Answers that are ready, until this turn of the event loop ends: then they go out one after the other, behind the
 * audit lines of the turn (which are scheduled first: push after the event was recorded). Written each at its own
 * time, every answer would wake up its reader once more, and where that one sleeps on another core of this machine
 * (a sidecar, a proxy in front) that costs more than the writing.
 */
export class Outbox {
  readonly #soon: (run: () => void) => void
  #waiting: (() => void)[] = []

  /** @param soon runs something when this turn ends, what was scheduled first coming first */
  constructor (soon: (run: () => void) => void) { this.#soon = soon }

  push (send: () => void): void {
    if (this.#waiting.push(send) === 1) this.#soon(this.flush)
  }

  /** Sends them now: a connection is about to be closed, and the answer to what came before may be among them. */
  readonly flush = (): void => {
    const waiting = this.#waiting
    this.#waiting = []
    let next = 0
    try {
      while (next < waiting.length) waiting[next++]!()
    } finally {
      // One that throws ends nothing but itself: the others go out with the next turn.
      if (next < waiting.length) {
        this.#waiting = [...waiting.slice(next), ...this.#waiting]
        this.#soon(this.flush)
      }
    }
  }
}
