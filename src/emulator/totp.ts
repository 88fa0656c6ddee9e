import { createHmac } from 'node:crypto'

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const STEP_SECONDS = 30
const DIGITS = 6

/** A shared secret as authenticator apps read it: 16 base32 characters. */
export function sharedSecretFrom (bytes: Uint8Array): string {
  return [...bytes.subarray(0, 16)].map(byte => BASE32.charAt(byte & 31)).join('')
}

/** The code of a moment (RFC 6238, SHA-1, 30 seconds, 6 digits). `now` in epoch milliseconds. */
export function totp (sharedSecret: string, now: number): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(now / 1000 / STEP_SECONDS)))
  const digest = createHmac('sha1', decodeBase32(sharedSecret)).update(counter).digest()
  const offset = digest[digest.length - 1]! & 0xf
  return String((digest.readUInt32BE(offset) & 0x7fffffff) % 10 ** DIGITS).padStart(DIGITS, '0')
}

/** True when the code is that of now or of a neighbouring step (RFC 6238 section 5.2). */
export function totpMatches (sharedSecret: string, passCode: string, now: number): boolean {
  return [-1, 0, 1].some(step => totp(sharedSecret, now + step * STEP_SECONDS * 1000) === passCode)
}

function decodeBase32 (text: string): Buffer {
  const bytes: number[] = []
  let bits = 0
  let value = 0
  for (const character of text) {
    value = (value << 5) | BASE32.indexOf(character)
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes.push((value >>> bits) & 0xff)
    value &= (1 << bits) - 1
  }
  return Buffer.from(bytes)
}
