/** Requests of one client that go on in a turn of the event loop: what it sends beyond waits for the next ones. */
const PER_TURN = 16

/**
 * Whose request goes on next. The loop hands over all that has arrived since its last turn, so that a client with
 * hundreds of connections would fill a turn with its own requests, and everybody else would wait for its end. Here a
 * client has its part of a turn; what it sends beyond waits, in order, and those who wait take turns.
 */
export class Turns {
  readonly #soon: (run: () => void) => void
  /** gone on in this turn */
  readonly #gone = new Map<string, number>()
  readonly #waiting = new Map<string, Array<() => void>>()
  #count = 0
  #scheduled = false

  /** @param soon runs something when this turn ends */
  constructor (soon: (run: () => void) => void) { this.#soon = soon }

  /** how many wait */
  get count (): number { return this.#count }

  /** True: go on. False: `wait`, this one has had its part of the turn. */
  take (who: string): boolean {
    this.#schedule()
    const gone = this.#gone.get(who) ?? 0
    if (gone >= PER_TURN || (this.#waiting.size > 0 && this.#waiting.has(who))) return false
    this.#gone.set(who, gone + 1)
    return true
  }

  /**
   * Runs it in a later turn.
   *
   * @param most may wait, one client's half of them
   * @returns false: too many wait, it is not run
   */
  wait (who: string, run: () => void, most: number): boolean {
    const queue = this.#waiting.get(who)
    if (this.#count >= most || (queue !== undefined && queue.length >= most / 2)) return false
    this.#count++
    if (queue === undefined) this.#waiting.set(who, [run])
    else queue.push(run)
    return true
  }

  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#soon(this.#next)
  }

  /** A new turn: its first part is for those who wait, one client after the other, together no more than one may have alone. */
  readonly #next = (): void => {
    this.#scheduled = false
    this.#gone.clear()
    if (this.#waiting.size === 0) return
    this.#schedule()
    for (let left = PER_TURN; left > 0 && this.#waiting.size > 0; left--) {
      const [who, queue] = this.#waiting.entries().next().value!
      this.#waiting.delete(who)
      const run = queue.shift()!
      this.#count--
      if (queue.length > 0) this.#waiting.set(who, queue)
      this.#gone.set(who, (this.#gone.get(who) ?? 0) + 1)
      run()
    }
  }
}
