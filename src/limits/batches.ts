import type { Later } from './probe.js'
import type { Step } from './wire.js'

/** Takes a step's result and the server's clock; undefined when there was no answer. */
export type Answer = (result: unknown, serverNow: number) => void

interface Batch {
  readonly steps: Step[]
  readonly answers: Array<Answer | undefined>
}

export interface BatchesOptions {
  readonly send: (steps: readonly Step[], sentAt: number) => Promise<string>
  readonly soon: (run: () => void) => void
  readonly later: Later
  readonly clock: () => number
  /** the store has answered: its state, and when the question went; false: it is no answer to go by */
  readonly heard: (state: string, sentAt: number) => boolean
  /** there was no answer */
  readonly lost: (error: unknown) => void
}

/** How long steps wait at most for the answer to those before them, ms. */
const HOLD_MS = 2

/**
 * Steps for the store, collected until the events at hand have been looked at and sent together, in order. While a batch
 * is on its way the next one waits for its answer, for a moment: the busier the store, the more each round trip carries.
 */
export class Batches {
  readonly #options: BatchesOptions
  readonly #sent = new Set<Batch>()
  #next: Batch = { steps: [], answers: [] }
  /** something will look at the end of this turn whether there is anything to send */
  #planned = false
  /** what has been collected waits for an answer */
  #held = false

  constructor (options: BatchesOptions) {
    this.#options = options
  }

  push (step: Step, answer?: Answer): void {
    this.#next.steps.push(step)
    this.#next.answers.push(answer)
    if (this.#planned || this.#held) return
    this.#planned = true
    this.#options.soon(() => { this.#planned = false; this.#flush() })
  }

  /** Whatever is on its way, or was about to go, has no answer. */
  fail (): void {
    const failed = [...this.#sent, this.#next]
    this.#sent.clear()
    this.#next = { steps: [], answers: [] }
    this.#held = false
    for (const { answers } of failed) for (const answer of answers) answer?.(undefined, 0)
  }

  #flush (): void {
    if (this.#sent.size === 0) { this.#send(); return }
    this.#held = true
    this.#options.later(HOLD_MS, () => { this.#sendHeld() })
  }

  #sendHeld (): void {
    if (!this.#held) return
    this.#held = false
    this.#send()
  }

  #send (): void {
    const batch = this.#next
    if (batch.steps.length === 0) return
    this.#next = { steps: [], answers: [] }
    this.#sent.add(batch)
    const sentAt = this.#options.clock()
    this.#options.send(batch.steps, sentAt)
      .then(text => { this.#received(batch, text, sentAt) }, (error: unknown) => { if (this.#sent.has(batch)) this.#options.lost(error) })
  }

  #received (batch: Batch, text: string, sentAt: number): void {
    if (!this.#sent.has(batch)) return
    let read: [number, string, ...unknown[]]
    try {
      read = JSON.parse(text) as typeof read
      if (!Array.isArray(read)) throw new Error('the answer is no list')
    } catch {
      this.#options.lost(new Error('the store\'s answer is not the script\'s'))
      return
    }
    const [serverNow, state, ...results] = read
    if (!this.#options.heard(state, sentAt)) return
    this.#sent.delete(batch)
    batch.answers.forEach((answer, i) => answer?.(results[i], serverNow))
    if (this.#sent.size === 0) this.#sendHeld()
  }
}
