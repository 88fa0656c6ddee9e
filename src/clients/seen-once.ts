import { hash } from 'node:crypto'

/** What became of a value that may be used once: `full` and `unknown` mean that nobody can tell. */
export type Use = 'first' | 'again' | 'full' | 'unknown'

/** Values that may be used once (`jti`): in memory here, shared by gates in seen-shared.ts. */
export interface SeenOnce {
  /**
   * @param owner the client; a value of another owner is another value
   * @param untilMs epoch milliseconds from which on the value would be refused for its age anyway
   * @returns `full` when no more can be remembered, `unknown` when the store does not answer: the caller refuses, since it can't tell
   */
  use (owner: string, value: string, untilMs: number, now: number): Use | Promise<Use>
}

/** A value's name: nothing of it can be read there. */
export function seenName (owner: string, value: string): string {
  return hash('sha256', `${owner}\n${value}`, 'base64url').slice(0, 32)
}

/** In memory, for one process. Bounded in all and by owner, so that one client can't take the room of the others. */
export class SeenOnceInMemory implements SeenOnce {
  readonly #seen = new Map<string, string>()
  /** what to forget, by the minute of its end */
  readonly #ends = new Map<number, string[]>()
  readonly #counts = new Map<string, number>()
  readonly #most: number
  readonly #mostByOwner: number
  #purgedUpTo = 0

  /** @param most values in all: 100 bytes each, or about */
  constructor (most = 200_000, mostByOwner: number = Math.ceil(most / 4)) {
    this.#most = most
    this.#mostByOwner = mostByOwner
  }

  get size (): number { return this.#seen.size }

  /** Looks, and notes nothing. */
  has (owner: string, value: string, now: number): boolean {
    this.#purge(now)
    return this.#seen.has(seenName(owner, value))
  }

  use (owner: string, value: string, untilMs: number, now: number): Use {
    this.#purge(now)
    const key = seenName(owner, value)
    if (this.#seen.has(key)) return 'again'
    const count = this.#counts.get(owner) ?? 0
    if (this.#seen.size >= this.#most || count >= this.#mostByOwner) return 'full'
    this.#seen.set(key, owner)
    this.#counts.set(owner, count + 1)
    const minute = minuteOf(untilMs) + 1
    const ends = this.#ends.get(minute)
    if (ends === undefined) this.#ends.set(minute, [key])
    else ends.push(key)
    return 'first'
  }

  #purge (now: number): void {
    const minute = minuteOf(now)
    if (minute <= this.#purgedUpTo) return
    this.#purgedUpTo = minute
    for (const [end, keys] of this.#ends) {
      if (end > minute) continue
      for (const key of keys) this.#forget(key)
      this.#ends.delete(end)
    }
  }

  #forget (key: string): void {
    const owner = this.#seen.get(key)!
    this.#seen.delete(key)
    const left = this.#counts.get(owner)! - 1
    if (left === 0) this.#counts.delete(owner)
    else this.#counts.set(owner, left)
  }
}

function minuteOf (milliseconds: number): number {
  return Math.floor(milliseconds / 60_000)
}
