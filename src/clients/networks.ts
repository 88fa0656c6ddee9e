import { BlockList } from 'node:net'
import { canonicalAddress, isCidrProblem, parseCidr } from '../domain/cidr.js'
import { remembered } from '../domain/remembered.js'

/** A set of addresses. An empty one holds none. */
export interface NetworkList {
  /** @param address IPv4 or IPv6, IPv4-mapped IPv6 counting as IPv4; anything else is in no network */
  contains (address: string): boolean
  /** contains() for a text that canonicalAddress() returned */
  containsCanonical (address: string): boolean
}

/** More hops than any real chain of balancers; bounds the work that one header can cause. */
const MAX_HOPS = 32

/**
 * Compiles CIDR blocks that the loader has checked.
 * @throws when a text is no CIDR block: the loader should have reported it
 */
export function compileNetworks (cidrs: readonly string[]): NetworkList {
  // One list per family: BlockList finds every IPv4 address in ::/0.
  const blocks = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const text of cidrs) {
    const cidr = parseCidr(text)
    if (isCidrProblem(cidr)) throw new Error(cidr.problem)
    blocks[cidr.family].addSubnet(cidr.address, cidr.prefix, cidr.family)
  }
  const containsCanonical = cidrs.length === 0
    ? () => false
    // BlockList.check builds a native object per call, about 1 µs; the same few addresses come again and again.
    : remembered(address => {
      const family = address.includes(':') ? 'ipv6' : 'ipv4'
      return blocks[family].check(address, family)
    })
  return {
    containsCanonical,
    contains (address) {
      const canonical = canonicalAddress(address)
      return canonical !== undefined && containsCanonical(canonical)
    }
  }
}

/**
 * The address that a request comes from: the peer, or, behind trusted proxies, the right-most address
 * of X-Forwarded-For that is no trusted proxy. What a client wrote itself stands to the left of what
 * the first trusted proxy appended and is never reached. An entry that is no address ends the walk at
 * the last trusted one.
 *
 * @param peer the socket's remote address
 * @param forwardedFor the header, several lines joined by commas
 * @returns canonical text; the peer as it stands when it is no IP address
 */
export function sourceAddress (peer: string, forwardedFor: string | undefined, trusted: NetworkList): string {
  let current = canonicalAddress(peer)
  if (current === undefined) return peer
  if (forwardedFor === undefined) return current
  let end = forwardedFor.length
  for (let hops = 0; hops < MAX_HOPS && end >= 0 && trusted.containsCanonical(current); hops++) {
    const comma = end === 0 ? -1 : forwardedFor.lastIndexOf(',', end - 1)
    const next = canonicalAddress(withoutPort(forwardedFor.slice(comma + 1, end).trim()))
    if (next === undefined) return current
    current = next
    end = comma
  }
  return current
}

/** Some balancers append the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function withoutPort (entry: string): string {
  if (entry.startsWith('[')) return /^\[([^\]]*)\](?::[0-9]{1,5})?$/.exec(entry)?.[1] ?? ''
  const colon = entry.indexOf(':')
  if (colon < 0 || !entry.includes('.') || colon !== entry.lastIndexOf(':')) return entry
  return /^[0-9]{1,5}$/.test(entry.slice(colon + 1)) ? entry.slice(0, colon) : ''
}
