import type { IncomingMessage } from 'node:http'
import { sourceAddress } from '../clients/networks.js'
import type { Road } from './road.js'
import type { Snapshot } from './snapshot.js'

/**
 * Where a request comes from: the address of its connection, or what trusted proxies say in X-Forwarded-For.
 *
 * @param headers of the request; absent when it never became one
 */
export function sourceOf (road: Road, snapshot: Snapshot, peer: string | undefined, headers?: IncomingMessage['headers']): string {
  const { trustedProxies } = snapshot
  if (trustedProxies === undefined) return sourceAddress(peer ?? '', undefined, road.nobody)
  const forwarded = headers?.['x-forwarded-for']
  return sourceAddress(peer ?? '', Array.isArray(forwarded) ? forwarded.join(',') : forwarded, trustedProxies)
}
