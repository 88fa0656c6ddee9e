import { timingSafeEqual } from 'node:crypto'
import type { Client } from '../domain/client.js'
import { reject, type Rejection } from '../domain/rejection.js'
import { hashKey, hasKeyShape, isWellFormedKey } from './api-key.js'
import { compileNetworks, type NetworkList } from './networks.js'
import { readAuthorization } from './authorization.js'

/** A client as its policy describes it. */
export interface ClientEntry {
  readonly client: string
  /** epoch milliseconds of the first refused moment */
  readonly expiresAt?: number
  /** checked CIDR texts; absent: any address, empty: none */
  readonly networks?: readonly string[]
  readonly keys: readonly ClientKey[]
}

export interface ClientKey {
  /** 64 lower-case hex digits */
  readonly sha256: string
  /** epoch milliseconds of the first refused moment */
  readonly expiresAt?: number
}

/** A key that several clients list. It names nobody, so it is refused. */
export interface KeyConflict {
  readonly keyId: string
  readonly clients: readonly string[]
}

/** Who the clients are. Immutable; part of a snapshot. */
export interface ClientIndex {
  /**
   * @param authorization the Authorization header as received
   * @param now epoch milliseconds
   * @returns the client, or `no_credential`, `bad_credential`, `policy_expired`
   */
  identify (authorization: string | undefined, now: number): Client | Rejection
  /** The same for a key that was taken out of its header. */
  identifyKey (key: string, now: number): Client | Rejection
  /** May this client call from this address? A client that the index does not know may not. */
  allows (client: Client, address: string): boolean
}

interface Known {
  readonly client: Client
  readonly sha256: string
  readonly keyExpiresAt: number
  readonly policyExpiresAt: number
}

const HEX_DIGITS = 64
const NOBODY = '-'.repeat(HEX_DIGITS)

/**
 * Builds the index of a snapshot, once per reload.
 * @throws when a client or a malformed hash occurs that the policy loader should have reported
 */
export function buildClientIndex (entries: readonly ClientEntry[]): { index: ClientIndex, conflicts: readonly KeyConflict[] } {
  const { known, conflicts } = indexKeys(entries)
  const networks = indexNetworks(entries)
  const presented = Buffer.alloc(HEX_DIGITS)
  const listed = Buffer.alloc(HEX_DIGITS)

  function identifyKey (key: string, now: number): Client | Rejection {
    if (!hasKeyShape(key)) return reject('bad_credential', { causes: ['it is not a key of this gate: those start with ngk_ and have 53 characters; an Okta token is of no use here'] })
    const sha256 = hashKey(key)
    presented.write(sha256, 'latin1')
    const found = known.get(sha256)
    // Compared when no client lists the key, too, so that an unknown key costs what a known one does.
    listed.write(found?.sha256 ?? NOBODY, 'latin1')
    if (!timingSafeEqual(presented, listed) || found === undefined) return unknownKey(key, sha256)
    if (now >= found.keyExpiresAt) return expiredKey(found)
    if (now >= found.policyExpiresAt) return expiredPolicy(found)
    return found.client
  }

  return {
    conflicts,
    index: {
      identifyKey,
      identify (authorization, now) {
        const key = readAuthorization(authorization)
        return typeof key === 'string' ? identifyKey(key, now) : key
      },
      allows (client, address) {
        const list = networks.get(client.id)
        return list !== undefined && (list === 'any' || list.contains(address))
      }
    }
  }
}

function indexKeys (entries: readonly ClientEntry[]): { known: Map<string, Known>, conflicts: KeyConflict[] } {
  const known = new Map<string, Known>()
  const owners = new Map<string, Set<string>>()
  for (const entry of entries) {
    for (const key of entry.keys) {
      if (!/^[0-9a-f]{64}$/.test(key.sha256)) throw new Error(`client ${entry.client} lists a key that is no SHA-256`)
      const earlier = known.get(key.sha256)
      if (earlier !== undefined) owners.set(key.sha256, (owners.get(key.sha256) ?? new Set([earlier.client.id])).add(entry.client))
      known.set(key.sha256, knownKey(entry, key, earlier))
    }
  }
  const conflicts: KeyConflict[] = []
  for (const [sha256, clients] of owners) {
    if (clients.size < 2) continue
    known.delete(sha256)
    conflicts.push({ keyId: sha256.slice(0, 8), clients: [...clients] })
  }
  return { known, conflicts }
}

/** A key that one client lists twice ends at the earlier of its two ends. */
function knownKey (entry: ClientEntry, key: ClientKey, earlier: Known | undefined): Known {
  return {
    client: { id: entry.client, keyId: key.sha256.slice(0, 8), method: 'apiKey' },
    sha256: key.sha256,
    keyExpiresAt: Math.min(key.expiresAt ?? Infinity, earlier?.keyExpiresAt ?? Infinity),
    policyExpiresAt: entry.expiresAt ?? Infinity
  }
}

/** Clients with the same list share one: ten thousand of them usually have a handful. */
function indexNetworks (entries: readonly ClientEntry[]): Map<string, NetworkList | 'any'> {
  const compiled = new Map<string, NetworkList>()
  const byClient = new Map<string, NetworkList | 'any'>()
  for (const { client, networks } of entries) {
    if (byClient.has(client)) throw new Error(`client ${client} occurs twice`)
    if (networks === undefined) { byClient.set(client, 'any'); continue }
    const text = networks.join(' ')
    const list = compiled.get(text) ?? compileNetworks(networks)
    compiled.set(text, list)
    byClient.set(client, list)
  }
  return byClient
}

function unknownKey (key: string, sha256: string): Rejection {
  if (!isWellFormedKey(key)) return reject('bad_credential', { causes: ['the key is damaged: its checksum does not fit'] })
  return reject('bad_credential', { causes: ['no policy lists this key'], detail: `unknown key ${sha256.slice(0, 8)}` })
}

/** Only who presents the whole key learns that it was one. */
function expiredKey (found: Known): Rejection {
  return reject('bad_credential', {
    causes: [`this key expired on ${lastDay(found.keyExpiresAt)}`],
    detail: `key ${found.client.keyId} of client ${found.client.id} has expired`,
    presenter: found.client
  })
}

function expiredPolicy (found: Known): Rejection {
  return reject('policy_expired', {
    causes: [`it expired on ${lastDay(found.policyExpiresAt)}`],
    presenter: found.client
  })
}

/** A date ends at 24:00 UTC: the day that held the last good millisecond. */
function lastDay (expiresAt: number): string {
  return new Date(expiresAt - 1).toISOString().slice(0, 10)
}
