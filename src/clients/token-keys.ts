import { createPrivateKey, createPublicKey, type JsonWebKeyInput, type KeyObject } from 'node:crypto'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose'
import { Secret } from '../domain/secret.js'

/** The gate's keys for its own tokens: the first signs, all verify. */
export interface TokenKeys {
  readonly signing: { readonly kid: string, readonly key: KeyObject }
  readonly verifying: ReadonlyMap<string, KeyObject>
}

/** A signing key that can't be used; the message holds nothing of it. */
export class TokenKeyError extends Error {}

/**
 * Reads the keys of `tokens.keys`: private, P-256 (ES256), as PEM or JWK.
 * @throws TokenKeyError
 */
export async function readTokenKeys (texts: readonly Secret[]): Promise<TokenKeys> {
  return await assemble(texts.map(text => open(text.reveal().trim())))
}

/** A key that lives as long as the process, or its workers: other replicas, and this one after a restart, don't accept its tokens. */
export async function newTokenKey (): Promise<Secret> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  return new Secret(JSON.stringify(await exportJWK(privateKey)))
}

async function assemble (keys: readonly KeyObject[]): Promise<TokenKeys> {
  const verifying = new Map<string, KeyObject>()
  let signing: TokenKeys['signing'] | undefined
  for (const key of keys) {
    const open = createPublicKey(key)
    const kid = (await calculateJwkThumbprint(open.export({ format: 'jwk' }) as JWK)).slice(0, 16)
    verifying.set(kid, open)
    signing ??= { kid, key }
  }
  if (signing === undefined) throw new TokenKeyError('no signing key is given')
  return { signing, verifying }
}

function open (text: string): KeyObject {
  let key
  try {
    key = text.startsWith('{') ? createPrivateKey({ key: JSON.parse(text) as JWK, format: 'jwk' } as JsonWebKeyInput) : createPrivateKey(text)
  } catch {
    throw new TokenKeyError('it is not an unencrypted private key in PEM or JWK form')
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TokenKeyError('it is no P-256 key: tokens are signed with ES256')
  return key
}
