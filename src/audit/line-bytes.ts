import { hash } from 'node:crypto'
import type { ChainState } from './chain.js'

const FIRST_BYTES = 16_384
/** Longest that stands before a line while it is hashed (hash, newline, number, newline), and behind it (its chain). */
const AROUND = 128
const CLOSING = 0x7d
const NEWLINE = '\n'

/**
 * Lines as the bytes of one write, each with its chain where that is wanted (chain.ts says what it is). A line is made
 * flat and encoded once, hashed in place, and the same memory serves every write: as texts, each of the three steps
 * would copy the line again.
 */
export class LineBytes {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES)
  #size = 0
  #ends: number[] = []
  #states: ChainState[] = []

  get size (): number { return this.#size }

  /** Valid until the next `clear`. */
  get bytes (): Uint8Array { return this.#bytes.subarray(0, this.#size) }

  /** Where each line ends. */
  get ends (): readonly number[] { return this.#ends }

  /** The chain behind each line, where there is one. */
  get states (): readonly ChainState[] { return this.#states }

  clear (): void {
    this.#size = 0
    this.#ends = []
    this.#states = []
  }

  /** @param line newline included */
  add (line: string): void {
    this.#reserve(line)
    this.#size += this.#bytes.write(line, this.#size)
    this.#ends.push(this.#size)
  }

  /** @param line a JSON object, newline included, without a chain */
  addChained (line: string, before: ChainState): ChainState {
    this.#reserve(line)
    const seq = before.seq + 1
    const bytes = this.#bytes
    const start = this.#size
    const from = start + bytes.write(before.hash + NEWLINE + seq + NEWLINE, start, 'latin1')
    const end = from + bytes.write(line, from) - 1
    const state = { seq, hash: hash('sha256', bytes.subarray(start, end), 'base64url') }
    const tail = bytes[end - 1] === CLOSING && bytes[end - 2] === CLOSING ? 2 : 1
    bytes.copyWithin(start, from, end - tail)
    const cut = start + end - tail - from
    this.#size = cut + bytes.write(',"chain":{"seq":' + seq + ',"hash":"' + state.hash + '"}' + (tail === 2 ? '}}\n' : '}\n'), cut, 'latin1')
    this.#ends.push(this.#size)
    this.#states.push(state)
    return state
  }

  #reserve (line: string): void {
    const needed = this.#size + line.length * 3 + AROUND * 2
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(needed * 2)
    larger.set(this.#bytes.subarray(0, this.#size))
    this.#bytes = larger
  }
}
