import type { Client, PendingProof } from '../domain/client.js'
import { isRejection, reject, type Rejection } from '../domain/rejection.js'
import { readAccessToken, type AccessTokens, type VerifiedToken } from './access-token.js'
import { isBearer, readAuthorization, readDpopAuthorization } from './authorization.js'
import { checkProof, type ProofKeys } from './dpop.js'
import type { ClientIndex } from './identify.js'
import { isJwtShaped } from './jwt.js'
import { keyIdOf } from './key-id.js'
import type { Certificate, CertificateIndex } from './mtls.js'
import type { KeyPairClient } from './private-key-jwt.js'
import { readWorkloadToken, type Workloads } from './workload.js'

/** What a call shows of its sender. */
export interface Presented {
  readonly authorization: string | undefined
  /** the DPoP header */
  readonly dpop: string | undefined
  readonly method: string
  /** without the query */
  readonly path: string
  /** of the connection, or of a balancer that is believed; why it is not; undefined: there is none. Only asked for when there is no Authorization header */
  readonly certificate: () => Certificate | Rejection | undefined
}

/** A known caller, and the proof that has still to be consumed. */
export interface Identified { readonly client: Client, readonly proof?: PendingProof }

/** Tells who is calling, by whatever they present. */
export interface Callers {
  /**
   * Keys, and tokens that were verified before, are answered at once; the rest takes a signature check.
   * @param now epoch milliseconds
   */
  identify (presented: Presented, now: number): Client | Rejection | Promise<Identified | Rejection>
  /** the key pairs of a client, for the token endpoint */
  entriesOf (client: string): readonly KeyPairClient[]
}

/** Everything that callers may be known by. */
export interface CallerParts {
  readonly publicUrl: string
  readonly skewSeconds: number
  readonly keys: ClientIndex
  readonly keyPairs: readonly KeyPairClient[]
  readonly tokens: AccessTokens
  readonly proofKeys: ProofKeys
  readonly workloads: Workloads
  readonly certificates: CertificateIndex
}

interface Holder { readonly client: Client, readonly entry: KeyPairClient }

const NO_ENTRIES: readonly KeyPairClient[] = []

/** A chain: each way of proving oneself says who it is, or no, or that what was presented is none of its business. */
export function createCallers ({ publicUrl, skewSeconds, keys, keyPairs, tokens, proofKeys, workloads, certificates }: CallerParts): Callers {
  const entries = new Map<string, KeyPairClient[]>()
  const holders = new Map<string, Holder>()
  for (const entry of keyPairs) {
    entries.set(entry.client, [...entries.get(entry.client) ?? [], entry])
    for (const { thumbprint } of entry.keys) {
      const name = `${entry.client} ${thumbprint}`
      if (!holders.has(name)) holders.set(name, { entry, client: { id: entry.client, keyId: keyIdOf(thumbprint), method: 'privateKeyJwt' } })
    }
  }

  /** The client of a token of the gate, as its policy stands now: a key that is gone takes its tokens with it. */
  function holderOf (token: VerifiedToken, bound: boolean): Holder | Rejection {
    const holder = holders.get(`${token.client} ${token.keyThumbprint}`)
    if (holder === undefined) return bad('the key pair that this access token was issued to is no longer registered', `client ${token.client}, key ${keyIdOf(token.keyThumbprint)}`)
    if (token.jkt !== undefined && !bound) return dpopNeeded('this access token is bound to a key: send it as "DPoP <token>" with a DPoP proof')
    if (token.jkt === undefined && bound) return bad('this access token is not bound to a key: send it as "Bearer <token>"')
    if (token.jkt === undefined && holder.entry.dpop === 'required') return dpopNeeded('the policy of this client requires DPoP: ask for a new access token with a DPoP proof')
    return holder
  }

  function bearer (token: string, now: number): Client | Rejection | Promise<Identified | Rejection> {
    const own = tokens.known(token, now)
    if (own !== undefined) {
      const holder = holderOf(own, false)
      return isRejection(holder) ? holder : holder.client
    }
    return workloads.known(token, now) ?? verifyBearer(token, now)
  }

  async function verifyBearer (token: string, now: number): Promise<Identified | Rejection> {
    const jwt = readWorkloadToken(token)
    if (typeof jwt === 'string') return bad(jwt)
    if (tokens.isOwn(jwt)) {
      const verified = await tokens.verify(jwt, now)
      if (isRejection(verified)) return verified
      const holder = holderOf(verified, false)
      return isRejection(holder) ? holder : { client: holder.client }
    }
    const issuer = workloads.issuerOf(jwt)
    if (issuer === undefined) return bad('this token comes from an issuer that this gate does not know; an access token of Okta is of no use here')
    const client = await workloads.verify(jwt, issuer, now)
    return isRejection(client) ? client : { client }
  }

  async function dpop (token: string, presented: Presented, now: number): Promise<Identified | Rejection> {
    let verified: VerifiedToken | Rejection | undefined = tokens.known(token, now)
    if (verified === undefined) {
      const jwt = readAccessToken(token)
      if (typeof jwt === 'string') return bad(jwt)
      if (!tokens.isOwn(jwt)) return bad('only access tokens of this gate come with the scheme DPoP')
      verified = await tokens.verify(jwt, now)
      if (isRejection(verified)) return verified
    }
    const holder = holderOf(verified, true)
    if (isRejection(holder)) return holder
    if (presented.dpop === undefined) return dpopNeeded('the DPoP proof is missing: send it in the header DPoP')
    const { method, path } = presented
    const proof = await checkProof(presented.dpop, { publicUrl, skewSeconds, method, path, now, accessToken: token }, proofKeys)
    if (typeof proof === 'string') return dpopNeeded(proof)
    if (proof.jkt !== verified.jkt) return dpopNeeded('the DPoP proof was made with another key than the one that the access token is bound to')
    return { client: holder.client, proof: { value: `proof ${proof.jkt} ${proof.jti}`, untilMs: proof.untilMs } }
  }

  return {
    entriesOf: client => entries.get(client) ?? NO_ENTRIES,
    identify (presented, now) {
      const { authorization } = presented
      if (authorization === undefined || authorization === '') {
        const certificate = certificates.size === 0 ? undefined : presented.certificate()
        if (certificate === undefined) return reject('no_credential')
        return isRejection(certificate) ? certificate : certificates.identify(certificate, now)
      }
      const bound = readDpopAuthorization(authorization)
      if (bound !== undefined && bound !== '' && isJwtShaped(bound)) return dpop(bound, presented, now)
      if (bound !== undefined) return bad(bound === '' ? 'the header names the scheme DPoP, but no token follows it' : 'what follows "DPoP" is no access token of this gate: did the token call of the SDK fail?')
      const key = readAuthorization(authorization)
      if (typeof key !== 'string') return key
      if (!isJwtShaped(key)) return keys.identifyKey(key, now)
      return isBearer(authorization) ? bearer(key, now) : bad('a token is sent as "Bearer <token>", not with SSWS')
    }
  }
}

function bad (cause: string, detail?: string): Rejection {
  return reject('bad_credential', { causes: [cause], detail })
}

/** RFC 9449 section 7.1: the error of the challenge is the same for every proof that is not good. */
function dpopNeeded (cause: string): Rejection {
  return reject('bad_credential', { causes: [cause], challenge: 'DPoP realm="narrowgate", error="invalid_dpop_proof", algs="RS256 ES256"' })
}

/** A proof that was consumed by an earlier call. */
export function proofUsed (): Rejection {
  return dpopNeeded('the jti of the DPoP proof has been used before: make a new proof for each call')
}
