/**
 * An amount that clients take parts of, none of them more than its share: a client in trouble can use up its own
 * part, and never all of it.
 */
export class Shares {
  readonly #taken = new Map<string, number>()
  #sum = 0

  /** taken by all */
  get sum (): number { return this.#sum }

  /**
   * Takes a part, or nothing.
   *
   * @param most what all may have together
   * @param share what this one may have
   */
  take (who: string, amount: number, most: number, share: number): boolean {
    const taken = (this.#taken.get(who) ?? 0) + amount
    if (this.#sum + amount > most || taken > share) return false
    this.#taken.set(who, taken)
    this.#sum += amount
    return true
  }

  giveBack (who: string, amount: number): void {
    if (amount === 0) return
    const left = this.#taken.get(who)! - amount
    if (left === 0) this.#taken.delete(who)
    else this.#taken.set(who, left)
    this.#sum -= amount
  }
}
