import { createPrivateKey } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { readRevocationLists } from '../clients/revocation.js'
import type { Config, SecretReference } from '../config/config.js'
import type { Problem } from '../domain/problem.js'
import type { Secret } from '../domain/secret.js'
import { readSigningKey } from '../upstream/signing-key.js'
import { isUsableTls, revocationLists, tlsOf } from './listener-tls.js'

/**
 * Secrets that were read and can't be used: a signing key that is none, a certificate that does not fit its key.
 * Said at load, so that the gate does not start with them and a reload keeps what it has. Repeats nothing of them.
 */
export async function unusableSecrets (config: Config, secrets: ReadonlyMap<SecretReference, Secret>): Promise<Problem[]> {
  const problems: Problem[] = []
  const say = (reference: SecretReference, message: string, hint: string): void => { problems.push({ severity: 'error', ...reference.place, message, hint }) }
  for (const { ca, credential, authnToken } of config.upstreams.values()) {
    for (const { value, next } of [credential, authnToken].filter(token => token !== undefined && 'value' in token)) {
      for (const reference of [value, next]) {
        const token = reference === undefined ? undefined : secrets.get(reference)
        if (token !== undefined && !isToken(token.reveal())) say(reference!, 'this is no API token', 'give the token alone: one word, without "SSWS" before it')
      }
    }
    const pem = ca === undefined ? undefined : secrets.get(ca)
    if (pem !== undefined && !isContext({ ca: pem.reveal() })) say(ca!, 'this is no certificate', 'give a PEM file of trust anchors')
    for (const reference of credential.kind === 'serviceApp' ? credential.keys : []) {
      const key = secrets.get(reference)
      if (key !== undefined && !await isSigningKey(key)) say(reference, 'this is no signing key', 'give a private key as PEM or JWK, RSA (RS256) or P-256 (ES256)')
    }
  }
  for (const [reference, what] of [[config.listen.tls?.clientCa, 'ca'], [config.listen.tls?.crl, 'crl']] as const) {
    const pem = reference === undefined ? undefined : secrets.get(reference)
    if (pem === undefined) continue
    if (what === 'ca' && !isContext({ ca: pem.reveal() })) say(reference!, 'this is no certificate', 'give a PEM file of the authorities that issue client certificates')
    if (what === 'crl' && !isRevocationList(pem.reveal())) say(reference!, 'this is no revocation list', 'give a PEM file (-----BEGIN X509 CRL-----)')
  }
  const tls = tlsOf(config, secrets)
  if (tls !== undefined && !isUsableTls({ cert: tls.cert, key: tls.key })) say(config.listen.tls!.cert, 'the certificate and its key are not a pair, or one of them is no PEM', 'give the certificate chain and the private key of its first certificate')
  const { key: auditKey } = config.audit
  const auditPem = auditKey === undefined ? undefined : secrets.get(auditKey)
  if (auditPem !== undefined && !isEd25519(auditPem)) say(auditKey!, 'this is no Ed25519 private key', 'make one: openssl genpkey -algorithm ed25519')
  const { store } = config.limits
  if (store !== 'memory') {
    const url = secrets.get(store.url)
    if (url !== undefined && !isStoreUrl(url.reveal())) say(store.url, 'this is no URL of a Redis or Valkey', 'write redis://user:password@host:6379/0, or rediss:// for TLS')
    const pem = store.ca === undefined ? undefined : secrets.get(store.ca)
    if (pem !== undefined && !isContext({ ca: pem.reveal() })) say(store.ca!, 'this is no certificate', 'give a PEM file of trust anchors')
  }
  return problems
}

/** What can stand in a header as it is (RFC 9110 section 11.2, without the padding that no token of Okta's has). */
function isToken (text: string): boolean {
  return /^[A-Za-z0-9._~+/-]+=*$/.test(text)
}

function isStoreUrl (text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, pathname, search, hash } = new URL(text)
  return ['redis:', 'rediss:'].includes(protocol) && hostname !== '' && /^(?:\/\d{0,5})?$/.test(pathname) && search === '' && hash === ''
}

function isEd25519 (key: Secret): boolean {
  try {
    return createPrivateKey(key.reveal()).asymmetricKeyType === 'ed25519'
  } catch {
    return false
  }
}

function isContext (options: { ca: string }): boolean {
  try {
    createSecureContext(options)
    return options.ca.includes('-----BEGIN CERTIFICATE-----')
  } catch {
    return false
  }
}

/** An empty file would be no list at all to node, and nobody revoked. */
function isRevocationList (text: string): boolean {
  const crl = revocationLists(text)
  try {
    createSecureContext({ crl })
    readRevocationLists(crl)
    return crl.length > 0
  } catch {
    return false
  }
}

async function isSigningKey (key: Secret): Promise<boolean> {
  try {
    await readSigningKey(key, true)
    return true
  } catch {
    return false
  }
}
