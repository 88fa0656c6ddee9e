import { SeenOnceInMemory, seenName, type SeenOnce, type Use } from './seen-once.js'

/** A store that several gates share and that outlives them. */
export interface SeenStore {
  /**
   * Notes a name for so many milliseconds.
   * @returns true when it was not there before. Rejects when there is no answer in time: it may be noted all the same
   */
  note (name: string, ms: number): Promise<boolean>
}

/** What happens while the store does not answer: `refuse` what can't be told, or go by what this gate alone has seen. */
export type OnSeenLoss = 'refuse' | 'alone'

/** What operators get to know: the way to the store is lost, or there again. */
export type SeenEvent = { readonly kind: 'lost', readonly why: string } | { readonly kind: 'back' }

export interface SharedSeenOptions {
  readonly store: SeenStore
  readonly onLoss: OnSeenLoss
  readonly note: (event: SeenEvent) => void
  readonly memory?: SeenOnceInMemory
}

/** An entry outlives its value by this much: the clocks of gates and store need not agree on a millisecond. */
const MARGIN_MS = 2000

/**
 * Values that may be used once, at whichever gate. What this gate has seen it refuses by itself, also when the store
 * has lost it; for the rest the store is asked. A call that is refused because the store did not answer has used
 * nothing as far as this gate is concerned: its sender may try the same value again.
 */
export class SharedSeenOnce implements SeenOnce {
  readonly #options: SharedSeenOptions
  readonly #memory: SeenOnceInMemory
  #lost = false
  #unanswered = 0

  constructor (options: SharedSeenOptions) {
    this.#options = options
    this.#memory = options.memory ?? new SeenOnceInMemory()
  }

  /** for metrics; `unanswered` counts what the store did not answer in time */
  get status (): { readonly lost: boolean, readonly unanswered: number } { return { lost: this.#lost, unanswered: this.#unanswered } }

  async use (owner: string, value: string, untilMs: number, now: number): Promise<Use> {
    const { store, onLoss } = this.#options
    if (this.#memory.has(owner, value, now)) return 'again'
    let fresh
    try {
      fresh = await store.note(seenName(owner, value), Math.max(1, Math.ceil(untilMs - now)) + MARGIN_MS)
    } catch (error) {
      this.#lose(error)
      return onLoss === 'refuse' ? 'unknown' : this.#memory.use(owner, value, untilMs, now)
    }
    this.#back()
    if (!fresh) return 'again'
    // Room in memory is no condition here: the store has it.
    return this.#memory.use(owner, value, untilMs, now) === 'again' ? 'again' : 'first'
  }

  #lose (error: unknown): void {
    this.#unanswered++
    if (this.#lost) return
    this.#lost = true
    this.#options.note({ kind: 'lost', why: error instanceof Error ? error.message : 'no answer' })
  }

  #back (): void {
    if (!this.#lost) return
    this.#lost = false
    this.#options.note({ kind: 'back' })
  }
}
