import { createHash, generateKeyPairSync, randomUUID, sign, type KeyObject } from 'node:crypto'
import { importJWK, type CryptoKey, type JWK } from 'jose'
import type { Secret } from '../domain/secret.js'

/**
 * A key pair that lives as long as the process, and signs DPoP proofs (RFC 9449) with ES256. Its private half is in
 * memory alone; access tokens are bound to it, so a token that leaks is of no use without this process.
 */
export interface ProofKey {
  /** for the proofs of the token endpoint, which oauth4webapi makes */
  readonly pair: { readonly privateKey: CryptoKey, readonly publicKey: CryptoKey }
  /** Makes the proofs that go with calls under one access token. */
  readonly proofsFor: (token: Secret) => Proofs
}

/** The proofs of one access token. */
export interface Proofs {
  /**
   * A new proof, for one call.
   *
   * @param url of the call: origin and path, without the query (`htu`)
   * @param nonce what Okta asked for last; undefined: nothing. Resource calls need none (facts.md, DPoP)
   * @param now epoch milliseconds
   */
  readonly prove: (method: string, url: string, nonce: string | undefined, now: number) => string
}

/** Makes a key pair. P-256: a proof costs a tenth of what one with RSA costs. */
export async function createProofKey (): Promise<ProofKey> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const publicJwk = publicKey.export({ format: 'jwk' }) as JWK
  const pair = {
    privateKey: await importJWK(privateKey.export({ format: 'jwk' }) as JWK, 'ES256', { extractable: false }) as CryptoKey,
    publicKey: await importJWK(publicJwk, 'ES256', { extractable: true }) as CryptoKey
  }
  const { kty, crv, x, y } = publicJwk
  const header = encode(JSON.stringify({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } }))
  return { pair, proofsFor: token => ({ prove: createProve(header, privateKey, hash(token.reveal())) }) }
}

/**
 * Signs in this very turn: WebCrypto's way over the thread pool costs three to four times as much CPU as the
 * signature itself (measured: Node 20.20 107 µs against 34, Node 24.21 84 against 26), and would make every call wait
 * for it. What does not change is encoded once.
 */
function createProve (header: string, key: KeyObject, ath: string): Proofs['prove'] {
  return (method, url, nonce, now) => {
    const asked = nonce === undefined ? '' : `,"nonce":${JSON.stringify(nonce)}`
    const claims = `{"htm":"${method}","htu":${JSON.stringify(url)},"iat":${Math.floor(now / 1000)},"jti":"${randomUUID()}","ath":"${ath}"${asked}}`
    const signed = `${header}.${encode(claims)}`
    // Asking node for the form that JWS wants (dsaEncoding: 'ieee-p1363') doubles the cost on Node 24.
    return `${signed}.${joseSignature(sign('sha256', Buffer.from(signed), key))}`
  }
}

/** A P-256 signature from DER, SEQUENCE { INTEGER r, INTEGER s }, to the two numbers side by side (RFC 7518 section 3.4). */
function joseSignature (der: Buffer): string {
  const both = Buffer.alloc(64)
  const endOfR = 4 + der[3]!
  place(der.subarray(4, endOfR), both, 32)
  place(der.subarray(endOfR + 2), both, 64)
  return both.toString('base64url')
}

/** Right-aligned before `end`, without the zero that keeps a DER integer positive. */
function place (number: Buffer, into: Buffer, end: number): void {
  const digits = number.length > 32 ? number.subarray(number.length - 32) : number
  digits.copy(into, end - digits.length)
}

function encode (text: string): string {
  return Buffer.from(text).toString('base64url')
}

/** `ath`: RFC 9449 section 4.2. */
function hash (token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
