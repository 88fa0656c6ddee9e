/** How late the event loop is: `none`, or who is to be refused so that the others are served. */
export type Shedding = 'none' | 'strangers' | 'everyone'

const SAMPLE_MS = 20
/** Samples that all have to be late: one long turn (a reload, a collection) is no overload. */
const SAMPLES = 8
/** So many times `shedAfterMs` late, nobody's request is taken any more. */
const EVERYONE = 4

/**
 * The standing delay of the event loop: the least lateness of the last samples. Load that comes in bursts is worked
 * off and leaves some sample on time; load that is too much does not.
 */
export class LoopDelay {
  readonly #afterMs: number
  readonly #clock: () => number
  readonly #samples: number[] = []
  #due = Infinity
  #timer: NodeJS.Timeout | undefined
  #standing = 0

  /**
   * @param afterMs standing delay from which strangers are refused, milliseconds
   * @param clock monotonic milliseconds
   */
  constructor (afterMs: number, clock: () => number) {
    this.#afterMs = afterMs
    this.#clock = clock
  }

  get shedding (): Shedding {
    if (this.#standing < this.#afterMs) return 'none'
    return this.#standing < this.#afterMs * EVERYONE ? 'strangers' : 'everyone'
  }

  start (): void {
    this.#due = this.#clock() + SAMPLE_MS
    this.#timer = setInterval(() => { this.sample() }, SAMPLE_MS).unref()
  }

  stop (): void { clearInterval(this.#timer) }

  /** Notes how late this call of it is. */
  sample (): void {
    const now = this.#clock()
    this.#samples.push(Math.max(0, now - this.#due))
    if (this.#samples.length > SAMPLES) this.#samples.shift()
    this.#due = now + SAMPLE_MS
    this.#standing = this.#samples.length < SAMPLES ? 0 : Math.min(...this.#samples)
  }
}
