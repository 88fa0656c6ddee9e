import type { CallBody } from '../domain/decision.js'

/** Deepest nesting that is read. Okta's deepest documented body has about ten levels. */
export const MAX_JSON_DEPTH = 64

/** A body that arrived whole; one that can't be judged says which refusal of the catalogue fits it. */
export type StrictBody =
  | Exclude<CallBody, { kind: 'unjudgeable' }>
  | { readonly kind: 'unjudgeable', readonly why: string, readonly code: 'bad_body' | 'unsupported_body' }

const ABSENT: StrictBody = { kind: 'absent' }
// RFC 9110 section 8.3.1, anchored: a list or a second type after the first is how content-type checks get
// fooled. The only parameters are charset=utf-8 and Okta's own okta-response.
const JSON_TYPE = /^application\/json(?:[ \t]*;[ \t]*(?:charset=(?:utf-8|"utf-8")|okta-response=(?:[A-Za-z]+|"[A-Za-z, ]+")))*[ \t]*$/i

/**
 * Reads a request body for judging. Strict, so that no other parser can see something else in the same
 * bytes: UTF-8 without BOM, one JSON text (RFC 8259), no duplicate key at any depth, no `__proto__`, no lone
 * surrogate, no number that a double cannot hold, at most MAX_JSON_DEPTH levels. Size is the caller's limit.
 *
 * @param bytes the whole body as received
 * @param contentType value of Content-Type; JSON is needed unless the body is empty
 * @param contentEncoding value of Content-Encoding; only absent or `identity`
 */
export function parseStrictJson (bytes: Uint8Array, contentType: string | undefined, contentEncoding: string | undefined): StrictBody {
  if (bytes.length === 0) return ABSENT
  if (contentEncoding !== undefined && !/^identity$/i.test(contentEncoding)) return unsupported('the body is compressed')
  if (contentType === undefined || !JSON_TYPE.test(contentType)) return unsupported('Content-Type is not application/json in UTF-8')
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) return bad('the body starts with a byte order mark')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return bad('the body is not UTF-8')
  }
  try {
    return { kind: 'json', value: parseJson(text) }
  } catch (error) {
    if (error instanceof JsonError) return bad(error.message)
    throw error
  }
}

function bad (why: string): StrictBody {
  return { kind: 'unjudgeable', why, code: 'bad_body' }
}

function unsupported (why: string): StrictBody {
  return { kind: 'unjudgeable', why, code: 'unsupported_body' }
}

/** Thrown inside this file only. */
class JsonError extends Error {}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
/** Digits that tell any double from its neighbours (IEEE 754, binary64); what has more may be another number elsewhere. */
const MAX_DIGITS = 17
/** No honest number is longer, and the zeros of a very long one would have to be searched again and again. */
const MAX_NUMBER = 64
const ESCAPES: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** More digits than a double keeps, or so few that nothing is left: `1.00000000000000001` is 1 here, and not for all. */
function isRounded (digits: string, value: number): boolean {
  if (digits.length > MAX_NUMBER) return true
  const significant = digits.replace(/[eE].*$/, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
  return significant.length > MAX_DIGITS || (value === 0 && significant !== '')
}

function parseJson (text: string): unknown {
  const reader = new Reader(text)
  const value = reader.value(0)
  reader.end()
  return value
}

class Reader {
  readonly #text: string
  #at = 0

  constructor (text: string) {
    this.#text = text
  }

  value (depth: number): unknown {
    this.#space()
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x7b: return this.#object(depth + 1)
      case 0x5b: return this.#array(depth + 1)
      case 0x22: return this.#string()
      case 0x74: return this.#word('true', true)
      case 0x66: return this.#word('false', false)
      case 0x6e: return this.#word('null', null)
      default: return this.#number()
    }
  }

  end (): void {
    this.#space()
    if (this.#at < this.#text.length) throw new JsonError('the body has something after its JSON value')
  }

  #object (depth: number): Record<string, unknown> {
    this.#deeper(depth)
    const object: Record<string, unknown> = {}
    this.#at++
    this.#space()
    if (this.#take(0x7d)) return object
    for (;;) {
      this.#space()
      if (this.#text.charCodeAt(this.#at) !== 0x22) throw this.#unexpected()
      const key = this.#string()
      if (key === '__proto__') throw new JsonError('the body has a key __proto__')
      if (Object.hasOwn(object, key)) throw new JsonError('the body has a key twice in one object')
      this.#space()
      if (!this.#take(0x3a)) throw this.#unexpected()
      object[key] = this.value(depth)
      this.#space()
      if (this.#take(0x2c)) continue
      if (this.#take(0x7d)) return object
      throw this.#unexpected()
    }
  }

  #array (depth: number): unknown[] {
    this.#deeper(depth)
    const array: unknown[] = []
    this.#at++
    this.#space()
    if (this.#take(0x5d)) return array
    for (;;) {
      array.push(this.value(depth))
      this.#space()
      if (this.#take(0x2c)) continue
      if (this.#take(0x5d)) return array
      throw this.#unexpected()
    }
  }

  #string (): string {
    const start = ++this.#at
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === 0x22) return this.#text.slice(start, this.#at++)
      if (code === 0x5c) return this.#escaped(start)
      if (code < 0x20 || Number.isNaN(code)) throw this.#unexpected()
      this.#at++
    }
  }

  #escaped (start: number): string {
    let value = this.#text.slice(start, this.#at)
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code === 0x22) { this.#at++; break }
      if (code < 0x20 || Number.isNaN(code)) throw this.#unexpected()
      if (code === 0x5c) value += this.#escape()
      else value += this.#text[this.#at++]!
    }
    // UTF-8 has no lone surrogates, so only escapes can bring one in; Okta could not store it either.
    if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)) throw new JsonError('the body has half a surrogate pair')
    return value
  }

  #escape (): string {
    const letter = this.#text[this.#at + 1] ?? ''
    if (letter === 'u') {
      const hex = this.#text.slice(this.#at + 2, this.#at + 6)
      if (!/^[0-9A-Fa-f]{4}$/.test(hex)) throw this.#unexpected()
      this.#at += 6
      return String.fromCharCode(Number.parseInt(hex, 16))
    }
    const character = Object.hasOwn(ESCAPES, letter) ? ESCAPES[letter] : undefined
    if (character === undefined) throw this.#unexpected()
    this.#at += 2
    return character
  }

  #number (): number {
    NUMBER.lastIndex = this.#at
    const digits = NUMBER.exec(this.#text)?.[0]
    if (digits === undefined) throw this.#unexpected()
    this.#at += digits.length
    const value = Number(digits)
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)) || ((value === 0 || digits.length > MAX_DIGITS) && isRounded(digits, value))) {
      throw new JsonError('the body has a number that different parsers read as different numbers')
    }
    return value
  }

  #word<T> (word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#unexpected()
    this.#at += word.length
    return value
  }

  #take (code: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== code) return false
    this.#at++
    return true
  }

  #space (): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }

  #deeper (depth: number): void {
    if (depth > MAX_JSON_DEPTH) throw new JsonError(`the body is nested deeper than ${MAX_JSON_DEPTH} levels`)
  }

  #unexpected (): JsonError {
    return new JsonError(this.#at >= this.#text.length ? 'the body ends in the middle of its JSON' : `the body is not JSON at character ${this.#at + 1}`)
  }
}
