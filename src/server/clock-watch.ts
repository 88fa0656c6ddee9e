import type { Logger } from 'pino'

const LOOK_MS = 1000
/** Less is what a time service corrects in a step, now and then. */
const JUMP_MS = 5000

/**
 * Says when the wall clock jumps. Limits, time-outs and waits go by a clock that does not; what signatures, tokens,
 * expiries and Okta's Reset mean depends on the wall clock, and an operator has to know that it was put right, or wrong.
 */
export class ClockWatch {
  readonly #log: Logger
  readonly #now: () => number
  readonly #clock: () => number
  #apart: number
  #timer: NodeJS.Timeout | undefined

  /**
   * @param now epoch milliseconds of the wall clock
   * @param clock monotonic milliseconds
   */
  constructor (log: Logger, now: () => number, clock: () => number) {
    this.#log = log
    this.#now = now
    this.#clock = clock
    this.#apart = now() - clock()
  }

  start (): void { this.#timer = setInterval(() => { this.look() }, LOOK_MS).unref() }

  stop (): void { clearInterval(this.#timer) }

  /** Compares the two clocks with what they were apart at the last look. */
  look (): void {
    const apart = this.#now() - this.#clock()
    const jumpMs = Math.round(apart - this.#apart)
    this.#apart = apart
    if (Math.abs(jumpMs) > JUMP_MS) this.#log.warn({ jumpMs }, 'the wall clock has jumped: tokens, proofs and Okta\'s rate limit resets are judged by it; limits and time-outs are not')
  }
}
