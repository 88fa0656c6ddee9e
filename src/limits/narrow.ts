import { GUARD_MS, SPAN_MS } from './window.js'

/** What a gate last saw of a bucket in the shared store. */
export interface Seen {
  readonly used: number
  /** of used: in flight through other gates */
  readonly othersInFlight: number
  readonly allowance: number
}

/** What holds for a gate alone, while the shared store is lost. */
export interface Loss {
  /** epoch ms, on the gate's own steady clock */
  readonly at: number
  /** gates that shared the store */
  readonly replicas: number
  /** the longest a call of another gate may have gone on after the loss, ms */
  readonly longestCallMs: number
  /** no view was ever had: the first span is spent by shares too */
  readonly unseen?: boolean
}

/**
 * One bucket while the store is lost. For a span the gate spends half of its share of what it last saw unused: the store
 * has kept just that aside for it (script.ts, `aside`). Then it keeps to its share of the allowance, less what others
 * had in flight as long as those calls may still count.
 */
export class Narrowed {
  #left: number

  constructor (readonly loss: Loss, readonly seen: Seen | undefined, allowed: number) {
    const unused = seen === undefined ? allowed : Math.min(allowed, seen.allowance) - seen.used
    this.#left = loss.unseen === true ? Infinity : Math.max(0, Math.floor(unused / (2 * loss.replicas)))
  }

  /** Epoch ms until which the first span lasts. */
  get untilMs (): number {
    return this.loss.at + SPAN_MS + GUARD_MS
  }

  /** How many calls are left of the first span; Infinity after it. */
  left (now: number): number {
    return now < this.untilMs ? this.#left : Infinity
  }

  take (): void {
    this.#left--
  }

  giveBack (): void {
    this.#left++
  }

  /** What this gate may have used in any span; in the first one `left` says more. */
  allowed (allowed: number, now: number): number {
    if (this.loss.unseen !== true && now < this.untilMs) return allowed
    const others = this.seen !== undefined && now < this.untilMs + this.loss.longestCallMs ? this.seen.othersInFlight : 0
    return Math.max(0, Math.floor((allowed - others) / this.loss.replicas))
  }
}
