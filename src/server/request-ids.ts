import { randomFillSync } from 'node:crypto'

const POOL_BYTES = 4096
const ID_BYTES = 16
const LENGTH = 36
/** Where each byte's two digits stand in the text (RFC 9562 section 4). */
const PLACES = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34]
const DIGITS = Uint8Array.from('0123456789abcdef', digit => digit.charCodeAt(0))

const pool = Buffer.alloc(POOL_BYTES)
const text = Buffer.alloc(LENGTH, '-')
let used = POOL_BYTES

/**
 * A random UUID (version 4). The same as node's randomUUID, as one text instead of twenty that become one at their
 * first use: each request has one, and it is used at once.
 */
export function newRequestId (): string {
  if (used === POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  for (let i = 0; i < ID_BYTES; i++) {
    const byte = pool[used + i]!
    const value = i === 6 ? 0x40 | (byte & 0x0f) : i === 8 ? 0x80 | (byte & 0x3f) : byte
    const at = PLACES[i]!
    text[at] = DIGITS[value >> 4]!
    text[at + 1] = DIGITS[value & 15]!
  }
  used += ID_BYTES
  return text.toString('latin1')
}
