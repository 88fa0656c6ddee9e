import { quote } from './text.js'

/** A part of lines that was made before: its bytes as they stand in the line. */
export interface Piece {
  readonly bytes: Uint8Array
  /** no character takes more than one byte */
  readonly narrow: boolean
}

/** Keeps a text as a piece. */
export function piece (text: string): Piece {
  const bytes = Buffer.from(text)
  return { bytes, narrow: bytes.length === text.length }
}

const FIRST_BYTES = 8192
const NEEDS_ESCAPE = /[^\x20-\x21\x23-\x5b\x5d-\x7e]/
const QUOTE = 0x22
const DOT = 0x2e
const ZERO = 0x30

/**
 * Puts a line together in memory of its own. As a text of sixty texts it would be copied once more when it is
 * written, after it had lain about as sixty objects.
 */
export class LineWriter {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES)
  #size = 0
  #narrow = true

  /** Where the line has got to. */
  get size (): number { return this.#size }

  /** Forgets what a line has left that was not finished. */
  begin (): void {
    this.#size = 0
    this.#narrow = true
  }

  piece ({ bytes, narrow }: Piece): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#size)
    this.#size += bytes.length
    if (!narrow) this.#narrow = false
  }

  /** A text as it is. */
  text (text: string): void {
    this.#reserve(text.length * 3)
    const taken = this.#bytes.write(text, this.#size)
    this.#size += taken
    if (taken !== text.length) this.#narrow = false
  }

  /** A JSON string. */
  quoted (value: string): void {
    if (NEEDS_ESCAPE.test(value)) { this.text(quote(value)); return }
    this.#reserve(value.length + 2)
    const bytes = this.#bytes
    bytes[this.#size] = QUOTE
    bytes.write(value, this.#size + 1, 'latin1')
    bytes[this.#size + 1 + value.length] = QUOTE
    this.#size += value.length + 2
  }

  /** What stands between two places of the line, once more. */
  again (from: number, to: number): void {
    this.#reserve(to - from)
    this.#bytes.copyWithin(this.#size, from, to)
    this.#size += to - from
  }

  /** A number as JSON has it; integers, and those with up to three decimals, digit by digit. */
  number (value: number): void {
    const thousandths = Math.round(value * 1000)
    if (!(value >= 0 && value < 1e9) || thousandths / 1000 !== value) { this.text(String(value)); return }
    this.#reserve(16)
    const whole = Math.trunc(thousandths / 1000)
    this.#digits(whole)
    let rest = thousandths - whole * 1000
    if (rest === 0) return
    const bytes = this.#bytes
    bytes[this.#size++] = DOT
    for (let unit = 100; rest > 0; unit /= 10) {
      const digit = Math.trunc(rest / unit)
      bytes[this.#size++] = ZERO + digit
      rest -= digit * unit
    }
  }

  /** The line; the writer begins anew. */
  take (): string {
    const line = this.#bytes.toString(this.#narrow ? 'latin1' : 'utf8', 0, this.#size)
    this.begin()
    return line
  }

  #digits (value: number): void {
    let places = 1
    for (let bound = 10; value >= bound; bound *= 10) places++
    const bytes = this.#bytes
    for (let at = this.#size + places - 1; at >= this.#size; at--) {
      const tenth = Math.trunc(value / 10)
      bytes[at] = ZERO + (value - tenth * 10)
      value = tenth
    }
    this.#size += places
  }

  #reserve (more: number): void {
    if (this.#size + more <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow((this.#size + more) * 2)
    larger.set(this.#bytes.subarray(0, this.#size))
    this.#bytes = larger
  }
}
