const FIRST_BLOCK = 16_384
const LARGEST_BLOCK = 1_048_576

/**
 * Bytes that arrive piece by piece. The first piece, mostly the only one, stays as it is; the others are copied together:
 * a chunk of one byte is an object of more than a hundred, and holds on to all that was read with it.
 */
export class Pieces {
  readonly #done: Buffer[] = []
  #block: Buffer | undefined
  #used = 0
  #size = 0

  /** bytes so far */
  get size (): number { return this.#size }

  /** @param piece kept as it is where it is the first */
  add (piece: Buffer): void {
    this.#size += piece.length
    if (this.#size === piece.length) { this.#done.push(piece); return }
    for (let at = 0; at < piece.length;) {
      this.#block ??= Buffer.allocUnsafeSlow(Math.min(Math.max(FIRST_BLOCK, this.#size), LARGEST_BLOCK))
      const taken = piece.copy(this.#block, this.#used, at)
      at += taken
      this.#used += taken
      if (this.#used === this.#block.length) { this.#done.push(this.#block); this.#block = undefined; this.#used = 0 }
    }
  }

  /** All of it. */
  whole (): Buffer {
    if (this.#block !== undefined) {
      this.#done.push(this.#block.subarray(0, this.#used))
      this.#block = undefined
      this.#used = 0
    }
    if (this.#done.length !== 1) this.#done.splice(0, this.#done.length, Buffer.concat(this.#done))
    return this.#done[0]!
  }
}
