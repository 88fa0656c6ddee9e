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

/** Longer texts are asked about anew each time. */
const LONGEST = 64

/**
 * A function of a text that remembers its answers: for what takes a while and is asked of the same few texts again and
 * again, such as the names of headers in the spellings of a handful of clients.
 *
 * @param most so many answers are kept, which bounds what strangers can make it hold
 */
export function remembered<T> (answer: (text: string) => T, most = 256): (text: string) => T {
  const answers = new Remembered<T>(most)
  return text => {
    const known = answers.get(text)
    if (known !== undefined) return known
    const found = answer(text)
    if (text.length <= LONGEST) answers.set(text, found)
    return found
  }
}
