/** A map of bounded size that forgets what was used longest ago. */
export class Remembered<V> {
  readonly #entries = new Map<string, V>()

  constructor (readonly most: number) {}

  get size (): number { return this.#entries.size }

  get (key: string): V | undefined {
    const value = this.#entries.get(key)
    // Moving it to the end costs as much as the look-up: only where room gets scarce.
    if (value !== undefined && this.#entries.size * 2 > this.most) {
      this.#entries.delete(key)
      this.#entries.set(key, value)
    }
    return value
  }

  set (key: string, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size > this.most) this.#entries.delete(this.#entries.keys().next().value!)
  }

  delete (key: string): void { this.#entries.delete(key) }
}
