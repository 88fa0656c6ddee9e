import { generateKeyPairSync, createHash, randomUUID, type KeyObject, type JsonWebKey } from 'node:crypto'
import { SignJWT, type JWTHeaderParameters } from 'jose'
import { createAccessTokens, TokenCache } from '../../src/clients/access-token.js'
import { createCallers, type Callers } from '../../src/clients/callers.js'
import { ProofKeys } from '../../src/clients/dpop.js'
import { buildClientIndex, type ClientEntry } from '../../src/clients/identify.js'
import { fixedIssuerKeys } from '../../src/clients/issuer-keys.js'
import { indexCertificates, type CertificateClient } from '../../src/clients/mtls.js'
import { createNonces } from '../../src/clients/nonce.js'
import type { KeyPairClient } from '../../src/clients/private-key-jwt.js'
import { readKeySet, type PublicKey } from '../../src/clients/public-key.js'
import { SeenOnceInMemory } from '../../src/clients/seen-once.js'
import { answerTokenRequest, type TokenAnswer, type TokenDesk, type TokenRequest } from '../../src/clients/token-endpoint.js'
import { newTokenKey, readTokenKeys, type TokenKeys } from '../../src/clients/token-keys.js'
import { createWorkloads, type WorkloadClient } from '../../src/clients/workload.js'

export const PUBLIC_URL = 'https://gate.example.com'
export const TOKEN_URL = `${PUBLIC_URL}/oauth2/v1/token`
export const NOW = Date.UTC(2026, 10, 22, 12)
export const SECONDS = NOW / 1000
export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

export interface Pair { readonly secret: KeyObject, readonly jwk: JsonWebKey, readonly alg: string }

export function makePair (alg: 'RS256' | 'ES256' | 'ES384' | 'ES512' | 'PS256' | 'RS512' = 'ES256', bits = 2048): Pair {
  const { privateKey, publicKey } = /^[RP]S/.test(alg)
    ? generateKeyPairSync('rsa', { modulusLength: bits })
    : generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg as 'ES256'] })
  return { secret: privateKey, jwk: publicKey.export({ format: 'jwk' }), alg }
}

/** Claims with `undefined` left out, signed; a header of any kind. */
export async function sign (pair: Pair, claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
  const clean = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined))
  return await new SignJWT(clean).setProtectedHeader({ alg: pair.alg, ...header } as JWTHeaderParameters).sign(pair.secret)
}

/** A compact JWS without a true signature. */
export function forge (header: unknown, claims: unknown, signature = 'AAAA'): string {
  const part = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
  return `${part(header)}.${part(claims)}.${signature}`
}

export function assertionClaims (client: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { iss: client, sub: client, aud: TOKEN_URL, iat: SECONDS, exp: SECONDS + 300, ...more }
}

export async function proof (pair: Pair, claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
  return await sign(pair, { htm: 'POST', htu: TOKEN_URL, iat: SECONDS, jti: randomUUID(), ...claims }, { typ: 'dpop+jwt', jwk: pair.jwk, ...header })
}

export const athOf = (token: string): string => createHash('sha256').update(token).digest('base64url')

export interface World {
  readonly desk: TokenDesk
  readonly callers: Callers
  readonly tokenKeys: TokenKeys
  token (request: Partial<TokenRequest> & { readonly parameters?: Record<string, string | undefined>, readonly now?: number }): Promise<TokenAnswer>
}

export interface WorldParts {
  readonly keyPairs: ReadonlyArray<Omit<KeyPairClient, 'keys' | 'requireJti'> & { readonly keys: readonly JsonWebKey[], readonly requireJti?: boolean }>
  readonly workloads?: readonly WorkloadClient[]
  readonly issuers?: ReadonlyArray<{ readonly issuer: string, readonly keys: readonly JsonWebKey[], readonly algorithms?: readonly string[] }>
  readonly certificates?: readonly CertificateClient[]
  readonly keys?: readonly ClientEntry[]
  readonly tokenKeys?: TokenKeys
  readonly allows?: boolean
}

/** The whole room, put together as the server does it. */
export async function makeWorld (parts: WorldParts): Promise<World> {
  const set = async (keys: readonly JsonWebKey[]): Promise<readonly PublicKey[]> => (await readKeySet({ keys }, true)).keys
  const tokenKeys = parts.tokenKeys ?? await readTokenKeys([await newTokenKey()])
  const tokens = createAccessTokens({ publicUrl: PUBLIC_URL, lifetimeSeconds: 600, skewSeconds: 60, keys: tokenKeys, cache: new TokenCache() })
  const proofKeys = new ProofKeys()
  const keyPairs = await Promise.all(parts.keyPairs.map(async entry => ({ ...entry, requireJti: entry.requireJti ?? false, keys: await set(entry.keys) })))
  const issuers = await Promise.all((parts.issuers ?? []).map(async ({ issuer, keys, algorithms }) => ({ issuer, algorithms: new Set(algorithms ?? ['RS256', 'ES256']), keys: fixedIssuerKeys(await set(keys)) })))
  const { index } = buildClientIndex(parts.keys ?? [])
  const callers = createCallers({
    publicUrl: PUBLIC_URL, skewSeconds: 60, keys: index, keyPairs, tokens, proofKeys, workloads: createWorkloads(issuers, parts.workloads ?? [], 60), certificates: indexCertificates(parts.certificates ?? [])
  })
  const desk: TokenDesk = {
    publicUrl: PUBLIC_URL,
    skewSeconds: 60,
    entriesOf: callers.entriesOf,
    allowsSource: () => parts.allows ?? true,
    scopesOf: () => new Set(['okta.users.manage', 'okta.groups.read']),
    tokens,
    nonces: createNonces(PUBLIC_URL, tokenKeys, randomUUID),
    seen: new SeenOnceInMemory(),
    proofKeys,
    jti: randomUUID
  }
  return {
    desk,
    callers,
    tokenKeys,
    async token ({ parameters = {}, now = NOW, ...request }) {
      const form = Object.entries({ grant_type: 'client_credentials', scope: 'okta.users.read', client_assertion_type: ASSERTION_TYPE, ...parameters })
        .flatMap(([name, value]) => value === undefined ? [] : [{ name, value, ambiguous: false }])
      return await answerTokenRequest({ form, query: [], ...request }, desk, now)
    }
  }
}
