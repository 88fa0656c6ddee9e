import { SocketAddress, isIPv4, isIPv6 } from 'node:net'

/** A block of addresses. IPv4-mapped IPv6 blocks (`::ffff:10.0.0.0/104`) are kept as the IPv4 block that they mean. */
export interface Cidr {
  readonly family: 'ipv4' | 'ipv6'
  /** canonical text of the first address */
  readonly address: string
  readonly prefix: number
}

/** Why a text is not a block, and what was probably meant. */
export interface CidrProblem {
  readonly problem: string
  readonly hint?: string
}

const PREFIX = /^(?:0|[1-9][0-9]{0,2})$/
const MAPPED_BITS = 96

/**
 * Parses `10.0.0.0/8`, `2001:db8::/32` or a single address. Strict: bits beyond the prefix, zone ids,
 * leading zeros and prefixes out of range are problems, since each has more than one reading.
 */
export function parseCidr (text: string): Cidr | CidrProblem {
  if (text.includes('%')) return { problem: `${show(text)} has a zone id`, hint: 'write the address without % and what follows it' }
  const slash = text.indexOf('/')
  const written = slash < 0 ? text : text.slice(0, slash)
  const bytes = addressBytes(written)
  if (bytes === undefined) return { problem: `${show(text)} is not an IP address or CIDR block`, hint: 'write e.g. 10.20.0.0/16 or 2001:db8::/32' }
  const bits = bytes.length * 8
  const prefixText = slash < 0 ? String(bits) : text.slice(slash + 1)
  const prefix = Number(prefixText)
  if (!PREFIX.test(prefixText) || prefix > bits) return { problem: `${show(text)} has a prefix that is not 0 to ${bits}` }
  const first = masked(bytes, prefix)
  if (!first.every((byte, i) => byte === bytes[i])) {
    return { problem: `${show(text)} has bits set beyond its prefix`, hint: `write ${formatAddress(first)}/${prefix} for the network, or ${formatAddress(bytes)} for the one address` }
  }
  if (isMapped(bytes) && prefix >= MAPPED_BITS) return { family: 'ipv4', address: formatAddress(bytes.subarray(12)), prefix: prefix - MAPPED_BITS }
  return { family: bits === 32 ? 'ipv4' : 'ipv6', address: formatAddress(first), prefix }
}

/** Tells a problem from a block. */
export function isCidrProblem (value: Cidr | CidrProblem): value is CidrProblem {
  return 'problem' in value
}

/**
 * One spelling per address: IPv4-mapped IPv6 becomes IPv4, IPv6 is written as RFC 5952 says.
 * @returns undefined when the text is no IP address, or has a zone id
 */
export function canonicalAddress (text: string): string | undefined {
  if (isIPv4(text)) return text
  const bytes = addressBytes(text)
  if (bytes === undefined) return undefined
  return formatAddress(isMapped(bytes) ? bytes.subarray(12) : bytes)
}

/** 4 or 16 bytes; undefined when the text is no IP address, or has a zone id. */
export function addressBytes (text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number)
  if (!isIPv6(text) || text.includes('%')) return undefined
  const [head = '', tail] = text.split('::')
  const before = groups(head)
  const after = tail === undefined ? [] : groups(tail)
  const all = tail === undefined ? before : [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after]
  return Uint8Array.from(all.flatMap(group => [group >> 8, group & 0xff]))
}

function groups (text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const [a, b, c, d] = group.split('.').map(Number) as [number, number, number, number]
    return [a << 8 | b, c << 8 | d]
  })
}

/** True for `::ffff:0:0/96` (RFC 4291 section 2.5.5.2). */
function isMapped (bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every(byte => byte === 0)
}

function masked (bytes: Uint8Array, prefix: number): Uint8Array {
  return bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - i * 8))) & 0xff)
}

function formatAddress (bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  const hex = Buffer.from(bytes).toString('hex').match(/.{4}/g)!.join(':')
  return new SocketAddress({ address: hex, family: 'ipv6' }).address
}

/** Repeats only what looks like an address: narrowgate.yaml's problems are read by more people than the file, and a secret may stand in the wrong line. */
function show (text: string): string {
  return text.length <= 60 && /^[0-9A-Fa-f:./]*[.:][0-9A-Fa-f:./]*$/.test(text) ? `"${text}"` : 'this'
}
