import { clientAllowance } from './allowance.js'
import type { Level } from './store.js'

/** How long a client that has asked keeps its floor: a span, so that what was lent comes back within one. */
const ASKED_MS = 60_500

/** How much longer than its wait a refused call is expected back: clients wait whole seconds, rounded up. */
const BACK_MS = 2000

/** The floors of a bucket: what reserving clients have not used yet, of those that have asked within a span. */
export class Floors {
  readonly #asked = new Map<string, { floor: number, untilMs: number }>()

  ask (client: string, floor: number, now: number): void {
    this.#asked.set(client, { floor, untilMs: now + ASKED_MS })
  }

  /** Slots that are kept from `client` because they are others'. */
  kept (client: string, allowed: number, now: number, usedBy: (client: string) => number): number {
    let kept = 0
    for (const [other, { floor, untilMs }] of this.#asked) {
      if (untilMs <= now) this.#asked.delete(other)
      else if (other !== client) kept += Math.max(0, floorOf(floor, allowed) - usedBy(other))
    }
    return kept
  }
}

/** A client's floor in whole calls. */
export function floorOf (floor: number | undefined, allowed: number): number {
  return floor === undefined ? 0 : Math.min(clientAllowance(floor, allowed), Math.floor(floor * allowed + 1e-9))
}

/** Calls of high and normal priority that a dry bucket refused and that are expected back: lower ones leave them room. */
export class Turns {
  readonly #counts = [0, 0]
  readonly #untilMs = [0, 0]

  /** Slots that a call of `level` leaves to those before it. */
  before (level: Level, now: number): number {
    let count = 0
    for (let i = 0; i < level; i++) if (this.#untilMs[i]! > now) count += this.#counts[i]!
    return count
  }

  /** @param again it is counted already, unless that was too long ago */
  refused (level: Level, untilMs: number, allowed: number, now: number, again = false): void {
    if (level === 2) return
    const count = this.#untilMs[level]! > now ? this.#counts[level]! : 0
    this.#counts[level] = Math.min(allowed, again ? Math.max(1, count) : count + 1)
    this.#untilMs[level] = untilMs + BACK_MS
  }

  admitted (level: Level): void {
    if (level < 2 && this.#counts[level]! > 0) this.#counts[level]!--
  }
}
