/** Half of the 4 sign-ins per second and user name that Okta takes (rate-limits.json, perUser). */
export const USER_CALLS = 2

/** A second, and half of one for a call that lies in socket buffers. */
const USER_MS = 1500

/** A call that is never settled, because its gate died, counts no longer than this. */
const LEASE_MS = 120_000

/** Above this many names the oldest is forgotten: that many sign-ins a second no bucket gives. */
const MOST_NAMES = 20_000

/** Sign-ins by user name, each counted from its reservation until a second after its answer. Keyed by hashes. */
export class Users {
  readonly #untilMs = new Map<string, number[]>()

  isFull (user: string, now: number, calls: number): boolean {
    return this.#live(user, now).length >= calls
  }

  /** Counts a call; the result is handed to `settle` or `giveBack`. */
  take (user: string, now: number): { untilMs: number } {
    const live = this.#live(user, now)
    const untilMs = now + LEASE_MS
    this.#untilMs.delete(user)
    this.#untilMs.set(user, [...live, untilMs])
    if (this.#untilMs.size > MOST_NAMES) this.#untilMs.delete(this.#untilMs.keys().next().value!)
    return { untilMs }
  }

  settle (user: string, taken: { untilMs: number }, now: number): void {
    this.#replace(user, taken, now + USER_MS)
  }

  giveBack (user: string, taken: { untilMs: number }): void {
    this.#replace(user, taken)
  }

  #replace (user: string, taken: { untilMs: number }, untilMs?: number): void {
    const list = this.#untilMs.get(user)
    const at = list?.indexOf(taken.untilMs) ?? -1
    if (at < 0) return
    if (untilMs === undefined) list!.splice(at, 1)
    else list![at] = taken.untilMs = untilMs
    if (list!.length === 0) this.#untilMs.delete(user)
  }

  /** Also drops a few others that have ended, oldest first. */
  #live (user: string, now: number): number[] {
    for (const [name, list] of this.#untilMs) {
      if (name === user) continue
      if (list.some(untilMs => untilMs > now)) break
      this.#untilMs.delete(name)
    }
    return (this.#untilMs.get(user) ?? []).filter(untilMs => untilMs > now)
  }
}
