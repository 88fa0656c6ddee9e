import { unreachable } from '../domain/rejection.js'
import type { Observation } from './headers.js'
import type { LimitCall, RefusedBy, UpstreamView } from './store.js'

/** What calls of one client by one rule have in common: told to the primary once, named by a number from then on. */
export type CallShape = Pick<LimitCall, 'plan' | 'credential' | 'client' | 'share' | 'rule' | 'floor' | 'level'>

/** What a header taught: kind, was it a 429, limit, remaining, milliseconds until the Reset. Clocks of processes differ. */
export type Taught = readonly [] | readonly [number, 0 | 1] | readonly [number, 0 | 1, number, number, number]

/** From a worker to the primary. Ids are the worker's own. */
export type RelayStep =
  | readonly ['define', number, CallShape]
  | readonly ['forget']
  | readonly ['reserve', number, number, string | null, number | null, (0 | 1)?]
  | readonly ['settle', number, Taught]
  /** settle and release in one */
  | readonly ['done', number, Taught]
  /** wants slots for calls of a shape: the shape, the first of their ids, how many */
  | readonly ['lease', number, number, number]
  /** what lay unused has been cancelled before this */
  | readonly ['recalled', number]
  | readonly ['release', number]
  | readonly ['cancel', number]
  | readonly ['left', number]
  | readonly ['view', number]

/** From the primary to a worker. A refusal says how many milliseconds ahead its wait ends. */
export type RelayAnswer =
  | readonly ['admitted', number]
  | readonly ['waits', number]
  | readonly ['refused', number, RefusedBy, number, number]
  | readonly ['viewed', number, readonly UpstreamView[]]
  /** the shape, the first of the ids, how many of those that were wanted */
  | readonly ['leased', number, number, number]
  /** slots of all upstreams or one, of one bucket, of one client in it, are wanted back */
  | readonly ['recall', number, string | null, string | null, string | null]

export function shapeOf ({ plan, credential, client, share, rule, floor, level }: LimitCall): CallShape {
  return { plan, credential, client, share, rule, floor, level }
}

export function teach (observation: Observation | undefined, now: number): Taught {
  if (observation === undefined) return []
  const tooMany = observation.tooMany ? 1 : 0
  switch (observation.kind) {
    case 'window': return [0, tooMany, observation.limit, observation.remaining, Math.ceil(observation.resetMs - now)]
    case 'concurrency': return [1, tooMany, 0, 0, Math.ceil(observation.resetMs - now)]
    case 'silent': return [2, tooMany]
    case 'nonsense': return [3, tooMany]
    default: return unreachable(observation)
  }
}

export function learn (taught: Taught, now: number): Observation | undefined {
  const [kind, late, limit = 0, remaining = 0, ahead = 0] = taught
  if (kind === undefined) return undefined
  const tooMany = late === 1
  if (kind === 0) return { kind: 'window', tooMany, limit, remaining, resetMs: now + ahead }
  if (kind === 1) return { kind: 'concurrency', tooMany: true, resetMs: now + ahead }
  return { kind: kind === 2 ? 'silent' : 'nonsense', tooMany }
}
