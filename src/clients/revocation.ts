/** Who issued a certificate, and its number there: what a revocation list names it by. Both are the bytes of DER, as latin1. */
export interface IssuedAs { readonly issuer: string, readonly serial: string }

/** Why a certificate is not to be believed, in words for its holder. */
export type Revocation = 'the client certificate is revoked' | 'the revocation list of this gate is out of date: tell its operators'

/** The certificates that authorities have taken back. */
export interface RevocationLists {
  /** @param now epoch milliseconds. @returns undefined when nothing speaks against it: it is on no list, or its authority has none here */
  whyNot (certificate: IssuedAs, now: number): Revocation | undefined
}

/** One value of DER: a tag, and the bytes from `start` (of the content) to `end`; `from` is where the tag stands. */
interface Value { readonly tag: number, readonly from: number, readonly start: number, readonly end: number }

const INTEGER = 0x02
const SEQUENCE = 0x30
const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18
const VERSION = 0xa0

/** Reads one value (X.690 section 8.1). @throws for what is no DER, or too long for these bytes */
function valueAt (bytes: Buffer, from: number, limit: number): Value {
  const tag = bytes[from]
  const first = bytes[from + 1]
  if (tag === undefined || first === undefined || from + 2 > limit) throw new Error('the DER ends too soon')
  const more = first < 0x80 ? 0 : first & 0x7f
  if (more > 4 || first === 0x80) throw new Error('a length is not one of DER')
  const start = from + 2 + more
  const length = more === 0 ? first : bytes.readUIntBE(from + 2, more)
  if (start + length > limit) throw new Error('the DER ends too soon')
  return { tag, from, start, end: start + length }
}

/** The values within a SEQUENCE. @param sequence undefined: what holds it ended before */
function * within (bytes: Buffer, sequence: Value | undefined): Generator<Value> {
  if (sequence?.tag !== SEQUENCE) throw new Error('this is no SEQUENCE')
  for (let at = sequence.start; at < sequence.end;) {
    const value = valueAt(bytes, at, sequence.end)
    yield value
    at = value.end
  }
}

const textOf = (bytes: Buffer, from: number, to: number): string => bytes.toString('latin1', from, to)

/** Issuer and serial number of a certificate (RFC 5280 section 4.1). @throws for what is no certificate */
export function issuedAs (der: Buffer): IssuedAs {
  const [tbs] = within(der, valueAt(der, 0, der.length))
  const parts = [...within(der, tbs)]
  const [serial, , issuer] = parts[0]?.tag === VERSION ? parts.slice(1) : parts
  if (serial?.tag !== INTEGER || issuer?.tag !== SEQUENCE) throw new Error('this is no certificate')
  return { issuer: textOf(der, issuer.from, issuer.end), serial: textOf(der, serial.start, serial.end) }
}

interface List { readonly until: number, readonly serials: ReadonlySet<string> }

/**
 * Reads revocation lists (RFC 5280 section 5.1) that the operators of this gate have put beside it, so their signatures
 * are not verified here; node does that where it uses them itself. Indirect and delta lists are read as plain ones.
 *
 * @param pem each one list
 * @throws for what is no list
 */
export function readRevocationLists (pem: readonly string[]): RevocationLists {
  const lists = new Map<string, List[]>()
  for (const text of pem) {
    const { issuer, ...list } = readList(Buffer.from(text.replace(/-----[^-]+-----/g, ''), 'base64'))
    lists.set(issuer, [...lists.get(issuer) ?? [], list])
  }
  return {
    whyNot ({ issuer, serial }, now) {
      const known = lists.get(issuer)
      if (known === undefined) return undefined
      if (known.some(({ serials }) => serials.has(serial))) return 'the client certificate is revoked'
      return known.every(({ until }) => now >= until) ? 'the revocation list of this gate is out of date: tell its operators' : undefined
    }
  }
}

function readList (der: Buffer): List & { readonly issuer: string } {
  const [tbs] = within(der, valueAt(der, 0, der.length))
  const parts = [...within(der, tbs)]
  const [, issuer, , ...rest] = parts[0]?.tag === INTEGER ? parts.slice(1) : parts
  if (issuer?.tag !== SEQUENCE) throw new Error('this is no revocation list')
  const next = rest[0]?.tag === UTC_TIME || rest[0]?.tag === GENERALIZED_TIME ? rest[0] : undefined
  const entries = rest[next === undefined ? 0 : 1]
  const serials = new Set<string>()
  if (entries?.tag === SEQUENCE) {
    for (const entry of within(der, entries)) {
      const [serial] = within(der, entry)
      if (serial?.tag !== INTEGER) throw new Error('this is no revocation list')
      serials.add(textOf(der, serial.start, serial.end))
    }
  }
  return { issuer: textOf(der, issuer.from, issuer.end), until: next === undefined ? Infinity : timeOf(der, next), serials }
}

/** RFC 5280 section 4.1.2.5: always in UTC, with seconds; two digits of a year from 50 on are of the last century. */
function timeOf (der: Buffer, { tag, start, end }: Value): number {
  const text = textOf(der, start, end)
  const full = tag === UTC_TIME ? `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}` : text
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full)
  if (parts === null) throw new Error('a time of the revocation list is malformed')
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [number, number, number, number, number, number]
  return Date.UTC(year, month - 1, day, hour, minute, second)
}
