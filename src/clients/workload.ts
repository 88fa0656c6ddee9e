import { hash } from 'node:crypto'
import type { Client } from '../domain/client.js'
import { isRejection, reject, type Rejection } from '../domain/rejection.js'
import type { IssuerKeys } from './issuer-keys.js'
import { checkTimes, isSignedBy, readJwt, type UnverifiedJwt } from './jwt.js'
import { candidates } from './public-key.js'
import { Remembered } from '../domain/remembered.js'

/** Whose tokens a client may present: an entry `workload` of its policy. */
export interface WorkloadClient {
  readonly client: string
  readonly issuer: string
  readonly audience: string
  /** claim → does its value fit? All have to */
  readonly claims: ReadonlyMap<string, (value: unknown) => boolean>
}

/** An issuer of narrowgate.yaml. */
export interface Issuer {
  readonly issuer: string
  readonly algorithms: ReadonlySet<string>
  readonly keys: IssuerKeys
}

/** Clients that present the tokens of their platform: CI jobs, service accounts. */
export interface Workloads {
  /** undefined: no issuer of these tokens is configured */
  issuerOf (jwt: UnverifiedJwt): Issuer | undefined
  /** @returns the client, or `bad_credential` */
  verify (jwt: UnverifiedJwt, issuer: Issuer, now: number): Promise<Client | Rejection>
  /** the answer for a token that was verified before and is still good */
  known (token: string, now: number): Client | undefined
}

/** What an issuer may sign with unless its configuration says less; never a symmetric algorithm. */
export const WORKLOAD_ALGORITHMS: readonly string[] = ['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384', 'ES512']
const ALL: ReadonlySet<string> = new Set(WORKLOAD_ALGORITHMS)

/** How long a verified token is believed without asking the issuer's keys again, milliseconds. */
const BELIEVE_MS = 300_000

/**
 * @param now epoch milliseconds at the time of each call
 */
export function createWorkloads (issuers: readonly Issuer[], entries: readonly WorkloadClient[], skewSeconds: number, most = 5000): Workloads {
  const byIssuer = new Map(issuers.map(issuer => [issuer.issuer, issuer]))
  const entriesByIssuer = new Map<string, WorkloadClient[]>()
  for (const entry of entries) entriesByIssuer.set(entry.issuer, [...entriesByIssuer.get(entry.issuer) ?? [], entry])
  const verified = new Remembered<{ client: Client, untilMs: number }>(most)

  return {
    issuerOf: ({ claims }) => typeof claims.iss === 'string' ? byIssuer.get(claims.iss) : undefined,

    known (token, now) {
      const found = verified.get(hash('sha256', token, 'base64'))
      return found !== undefined && now < found.untilMs ? found.client : undefined
    },

    async verify (jwt, issuer, now) {
      if (!issuer.algorithms.has(jwt.header.alg)) return bad(`the algorithm of the token is not accepted from its issuer: use ${[...issuer.algorithms].join(', ')}`)
      const times = checkTimes(jwt.claims, now, skewSeconds, 'token')
      if (times !== undefined) return bad(times)
      const { kid } = jwt.header
      if (kid !== undefined && (typeof kid !== 'string' || kid.length > 256)) return bad('kid of the token is no text')
      const keys = await issuer.keys.for(kid, now)
      if (keys.length === 0) return reject('bad_credential', { causes: ['the keys of the issuer of this token are not known at the moment'], detail: `no keys of ${issuer.issuer}: ${issuer.keys.status.failure ?? 'none yet'}` })
      let signed = false
      for (const key of candidates(keys, kid, jwt.header.alg)) signed ||= await isSignedBy(jwt, key.key)
      if (!signed) return bad('no key of its issuer signed this token')
      const client = clientOf(jwt, entriesByIssuer.get(issuer.issuer) ?? [])
      if (isRejection(client)) return client
      verified.set(hash('sha256', jwt.text, 'base64'), { client, untilMs: Math.min((jwt.claims.exp! + skewSeconds) * 1000, now + BELIEVE_MS) })
      return client
    }
  }
}

/** Reads what may be a workload's token. */
export function readWorkloadToken (text: string): UnverifiedJwt | string {
  return readJwt(text, ALL, 'token')
}

/** Only whose token is genuine gets here, so it may learn which of its own claims do not fit. */
function clientOf ({ claims }: UnverifiedJwt, entries: readonly WorkloadClient[]): Client | Rejection {
  const audiences: readonly unknown[] = Array.isArray(claims.aud) ? claims.aud : [claims.aud]
  const addressed = entries.filter(({ audience }) => audiences.includes(audience))
  if (addressed.length === 0) return bad('the token is for another audience (aud) than this gate expects')
  const fitting = addressed.filter(entry => [...entry.claims].every(([name, fits]) => Object.hasOwn(claims, name) && fits(claims[name])))
  const clients = new Set(fitting.map(({ client }) => client))
  if (clients.size === 0) return bad('no policy admits a workload with these claims')
  if (clients.size > 1) return reject('bad_credential', { causes: ['more than one policy admits a workload with these claims: the operators of the gate have to tell them apart'], detail: `the token fits ${[...clients].sort().join(', ')}` })
  return { id: fitting[0]!.client, keyId: hash('sha256', `${claims.iss}\n${String(claims.sub)}`, 'hex').slice(0, 8), method: 'workload' }
}

function bad (cause: string): Rejection {
  return reject('bad_credential', { causes: [cause] })
}
