import { hash } from 'node:crypto'
import { crc32 } from 'node:zlib'

/**
 * A client key: `ngk_`, 43 base62 digits that hold 256 random bits, 6 base62 digits of the CRC-32 of all
 * that stands before them. The prefix is for secret scanners, the checksum tells a damaged key from an
 * unknown one without a look-up (the layout of GitHub's tokens). The pattern to scan for is:
 *
 *     ngk_[0-9A-Za-z]{49}
 */
export const KEY_PREFIX = 'ngk_'
export const KEY_LENGTH = 53

const RANDOM_BYTES = 32
const RANDOM_DIGITS = 43
const CHECK_DIGITS = 6
const CHECK_START = KEY_LENGTH - CHECK_DIGITS
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const SHAPE = /^ngk_[0-9A-Za-z]{49}$/

/**
 * Makes a new key.
 * @param randomBytes a cryptographically secure source, e.g. node:crypto's
 * @throws when the source gives fewer bytes than asked for
 * @returns the key, which is shown once, and its SHA-256 (64 lower-case hex digits), which the policy stores
 */
export function newKey (randomBytes: (count: number) => Uint8Array): { key: string, sha256: string } {
  const random = randomBytes(RANDOM_BYTES)
  if (random.length !== RANDOM_BYTES) throw new Error(`the random source gave ${random.length} bytes instead of ${RANDOM_BYTES}`)
  const number = BigInt(`0x${Buffer.from(random).toString('hex')}`)
  const body = KEY_PREFIX + base62(number, RANDOM_DIGITS)
  const key = body + checksum(body)
  return { key, sha256: hashKey(key) }
}

/** SHA-256 of a key, 64 lower-case hex digits. A key has 256 bits of entropy: no salt, no stretching. */
export function hashKey (key: string): string {
  return hash('sha256', key, 'hex')
}

/** Prefix, alphabet and length fit. Says nothing about the checksum. */
export function hasKeyShape (text: string): boolean {
  return text.length === KEY_LENGTH && SHAPE.test(text)
}

/** Prefix, alphabet, length and checksum fit. Compares no secret. */
export function isWellFormedKey (text: string): boolean {
  return hasKeyShape(text) && checksum(text.slice(0, CHECK_START)) === text.slice(CHECK_START)
}

function checksum (body: string): string {
  return base62(BigInt(crc32(body)), CHECK_DIGITS)
}

function base62 (number: bigint, digits: number): string {
  let text = ''
  for (let rest = number; text.length < digits; rest /= 62n) text = ALPHABET[Number(rest % 62n)]! + text
  return text
}
