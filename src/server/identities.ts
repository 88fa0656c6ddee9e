import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createAccessTokens, TokenCache } from '../clients/access-token.js'
import { createCallers, type Callers } from '../clients/callers.js'
import { ProofKeys } from '../clients/dpop.js'
import { fetchIssuerKeys } from '../clients/https.js'
import { buildClientIndex, type ClientEntry, type ClientIndex } from '../clients/identify.js'
import { createIssuerKeys, fixedIssuerKeys, type IssuerKeys } from '../clients/issuer-keys.js'
import { Certificates, indexCertificates, type CertificateClient } from '../clients/mtls.js'
import { createNonces, type Nonces } from '../clients/nonce.js'
import type { KeyPairClient } from '../clients/private-key-jwt.js'
import { readKeySet, type PublicKey } from '../clients/public-key.js'
import type { SeenOnce } from '../clients/seen-once.js'
import type { TokenDesk } from '../clients/token-endpoint.js'
import { readTokenKeys, TokenKeyError, type TokenKeys } from '../clients/token-keys.js'
import { createWorkloads, type WorkloadClient } from '../clients/workload.js'
import type { Config, IssuerConfig, SecretReference } from '../config/config.js'
import type { Problem } from '../domain/problem.js'
import type { Secret } from '../domain/secret.js'
import { scopesFor } from '../okta/permissions.js'
import type { PolicySet } from '../policy/load.js'
import { neededOperations } from '../policy/needed.js'

/** Keys that a load has read, and what is wrong with them. */
export interface ReadIdentities {
  readonly keyPairs: readonly KeyPairClient[]
  readonly apiKeys: readonly ClientEntry[]
  readonly workloads: readonly WorkloadClient[]
  readonly certificates: readonly CertificateClient[]
  /** undefined: none are configured */
  readonly tokenKeys?: TokenKeys
  /** of issuers whose keys stand in a file */
  readonly issuerKeys: ReadonlyMap<string, readonly PublicKey[]>
  readonly problems: readonly Problem[]
}

/** How many clients are looked at in one turn of the event loop. */
const CLIENTS_A_TURN = 200

/** Key sets that were read before, by the entry of the policy that holds them. */
export type KeySets = WeakMap<object, Awaited<ReturnType<typeof readKeySet>>>

/** Reads what callers are known by. Repeats nothing of a key. */
export async function readIdentities (config: Config | undefined, policies: PolicySet, secrets: ReadonlyMap<SecretReference, Secret>, withSecrets: boolean, known: KeySets = new WeakMap()): Promise<ReadIdentities> {
  const problems: Problem[] = []
  const say = (place: { file: string, line: number, column: number }, message: string, hint?: string): void => {
    problems.push({ severity: 'error', file: place.file, line: place.line, column: place.column, message, hint })
  }
  const keyPairs: KeyPairClient[] = []
  const apiKeys: ClientEntry[] = []
  const workloads: WorkloadClient[] = []
  const certificates: CertificateClient[] = []
  for (const { client, expiresAt, networks, authenticate } of policies.clients.values()) {
    if (apiKeys.length % CLIENTS_A_TURN === CLIENTS_A_TURN - 1) await turn()
    apiKeys.push({ client, expiresAt, networks, keys: authenticate.filter(entry => entry.kind === 'apiKey') })
    for (const entry of authenticate) {
      if (entry.kind === 'workload') workloads.push({ client, ...entry })
      if (entry.kind === 'mtls') certificates.push({ client, ...entry })
      if (entry.kind !== 'privateKeyJwt' || entry.jwks === undefined) continue
      const set = known.get(entry) ?? await readKeySet(entry.jwks)
      known.set(entry, set)
      const { keys, problems: wrong } = set
      for (const { message } of wrong) say(entry.place, message)
      keyPairs.push({ client, policyExpiresAt: expiresAt, keys, dpop: entry.dpop, requireJti: entry.requireJti })
    }
  }
  const tokenKeys = withSecrets && config !== undefined ? await readOwnKeys(config, secrets, say) : undefined
  const issuerKeys = new Map<string, readonly PublicKey[]>()
  for (const { issuer, jwks } of withSecrets ? config?.issuers ?? [] : []) {
    const text = jwks?.kind === 'file' ? secrets.get(jwks.reference) : undefined
    if (jwks?.kind !== 'file' || text === undefined) continue
    const { keys, problems: wrong } = await readKeySet(parse(text.reveal()), true)
    for (const { message } of wrong) say(jwks.reference.place, message)
    issuerKeys.set(issuer, keys)
  }
  return { keyPairs, apiKeys, workloads, certificates, tokenKeys, issuerKeys, problems }
}

async function readOwnKeys ({ tokens }: Config, secrets: ReadonlyMap<SecretReference, Secret>, say: (place: SecretReference['place'], message: string, hint?: string) => void): Promise<TokenKeys | undefined> {
  const texts: Secret[] = []
  for (const reference of tokens.keys) {
    const text = secrets.get(reference)
    if (text === undefined) continue
    try {
      await readTokenKeys([text])
      texts.push(text)
    } catch (error) {
      say(reference.place, `this key can't sign tokens: ${error instanceof TokenKeyError ? error.message : 'it is malformed'}`, 'make one with: openssl ecparam -name prime256v1 -genkey -noout')
    }
  }
  return texts.length === 0 ? undefined : await readTokenKeys(texts)
}

function parse (text: string): unknown {
  try { return JSON.parse(text) } catch { return undefined }
}

/** The gate's token endpoint, as a snapshot has it. */
export interface TokenService {
  /** @param source address that the request came from */
  desk (source: string, seen: SeenOnce): TokenDesk
}

/** What a snapshot knows of callers. */
export interface Identity {
  readonly clients: Pick<Callers, 'identify'> & Pick<ClientIndex, 'allows'>
  readonly tokens: TokenService
  readonly certificates?: Certificates
}

interface HeldIssuer { readonly text: string, readonly keys: IssuerKeys }

/** What outlives snapshots: verified tokens, proof keys, the issuers' keys, nonces. */
export class Identities {
  readonly #cache = new TokenCache()
  readonly #proofKeys = new ProofKeys()
  readonly #certificates = new Certificates()
  readonly #ephemeral: TokenKeys
  #issuers = new Map<string, HeldIssuer>()
  #nonces: { readonly keys: TokenKeys, readonly publicUrl: string, readonly nonces: Nonces } | undefined

  readonly #log: Pick<Logger, 'warn' | 'info'>

  /** @param ephemeral signs tokens while the configuration names no key */
  constructor (ephemeral: TokenKeys, log: Pick<Logger, 'warn' | 'info'>) {
    this.#ephemeral = ephemeral
    this.#log = log
  }

  /** Issuers whose keys are fetched, and how that went. */
  * issuerStatus (): Iterable<{ issuer: string, status: IssuerKeys['status'] }> {
    for (const [issuer, { keys }] of this.#issuers) yield { issuer, status: keys.status }
  }

  renew (config: Config, policies: PolicySet, secrets: ReadonlyMap<SecretReference, Secret>, read: ReadIdentities): Identity {
    const { publicUrl, tokens: { lifetimeSeconds, clockSkewSeconds: skewSeconds } } = config
    const keys = read.tokenKeys ?? this.#ephemeral
    const tokens = createAccessTokens({ publicUrl, lifetimeSeconds, skewSeconds, keys, cache: this.#cache })
    const { apiKeys, workloads, certificates } = read
    const index = buildClientIndex(apiKeys).index
    const callers = createCallers({
      publicUrl,
      skewSeconds,
      keys: index,
      keyPairs: read.keyPairs,
      tokens,
      proofKeys: this.#proofKeys,
      workloads: createWorkloads(this.#renewIssuers(config, secrets, read), workloads, skewSeconds),
      certificates: indexCertificates(certificates)
    })
    const nonces = this.#renewNonces(publicUrl, keys)
    const scopes = new Map<string, ReadonlySet<string>>()
    const scopesOf = (client: string): ReadonlySet<string> => {
      let known = scopes.get(client)
      if (known === undefined) scopes.set(client, known = scopesOfPolicy(policies, client))
      return known
    }
    const desk = { publicUrl, skewSeconds, entriesOf: callers.entriesOf, scopesOf, tokens, nonces, proofKeys: this.#proofKeys, jti: randomUUID }
    return {
      clients: { identify: callers.identify, allows: index.allows },
      tokens: { desk: (source, seen) => ({ ...desk, seen, allowsSource: client => index.allows(client, source) }) },
      certificates: certificates.length === 0 ? undefined : this.#certificates
    }
  }

  #renewNonces (publicUrl: string, keys: TokenKeys): Nonces {
    if (this.#nonces?.publicUrl === publicUrl && this.#nonces.keys.signing.kid === keys.signing.kid && this.#nonces.keys.verifying.size === keys.verifying.size) return this.#nonces.nonces
    const nonces = createNonces(publicUrl, keys, randomUUID)
    this.#nonces = { publicUrl, keys, nonces }
    return nonces
  }

  #renewIssuers ({ issuers }: Config, secrets: ReadonlyMap<SecretReference, Secret>, read: ReadIdentities): Parameters<typeof createWorkloads>[0] {
    const next = new Map<string, HeldIssuer>()
    for (const config of issuers) {
      const ca = config.ca === undefined ? undefined : secrets.get(config.ca)?.reveal()
      const text = JSON.stringify([config.jwks?.kind === 'url' ? config.jwks.url : config.jwks?.kind, config.allowPrivateNetwork, ca])
      const held = this.#issuers.get(config.issuer)
      const fixed = read.issuerKeys.get(config.issuer)
      next.set(config.issuer, fixed !== undefined ? { text: '', keys: fixedIssuerKeys(fixed) } : held?.text === text ? held : { text, keys: openIssuer(config, ca, this.#log) })
    }
    this.#issuers = next
    return issuers.map(({ issuer, algorithms }) => ({ issuer, algorithms: new Set(algorithms), keys: next.get(issuer)!.keys }))
  }
}

function openIssuer ({ issuer, jwks, allowPrivateNetwork }: IssuerConfig, ca: string | undefined, log: Pick<Logger, 'warn' | 'info'>): IssuerKeys {
  const fetchKeys = fetchIssuerKeys({ issuer, jwksUrl: jwks?.kind === 'url' ? jwks.url : undefined, allowPrivateNetwork, ca: ca === undefined ? undefined : [ca] })
  return createIssuerKeys(fetchKeys, undefined, undefined, (failure, kept) => {
    if (failure === undefined) log.info({ issuer, keys: kept }, 'the keys of this issuer could be fetched again')
    else log.warn({ issuer, failure, kept }, kept === 0 ? 'the keys of this issuer could not be fetched: its tokens are refused' : 'the keys of this issuer could not be fetched: the last ones stay in force')
  })
}

function scopesOfPolicy (policies: PolicySet, client: string): ReadonlySet<string> {
  const policy = policies.clients.get(client)
  return new Set(policy === undefined ? [] : scopesFor([...neededOperations([policy])].map(({ operation }) => operation)))
}
