import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, type InputType, type ZlibOptions } from 'node:zlib'
import type { AnswerHead } from './answer-head.js'

/** Largest 400 or 401 that is held back to be read; Okta's error bodies have a few hundred bytes. */
export const MAX_REFUSAL_BYTES = 65_536

const decoders: ReadonlyMap<string, (body: InputType, options: ZlibOptions) => Promise<Buffer>> = new Map([
  ['gzip', promisify(gunzip)],
  ['x-gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
  ['br', promisify(brotliDecompress)]
])

/** What a complete answer says about the gate's own credential; undefined: it is about something else. */
export type Refusal = { readonly kind: 'refused' } | { readonly kind: 'nonce', readonly nonce: string }

/**
 * Reads an answer 400 or 401 to a call that carried the gate's credential.
 *
 * @param head its `DPoP-Nonce` and `WWW-Authenticate`
 */
export async function readRefusal (status: number, body: Buffer, { contentEncoding, dpopNonce, challenge }: Pick<AnswerHead, 'contentEncoding' | 'dpopNonce' | 'challenge'>): Promise<Refusal | undefined> {
  const { okta, oauth } = await errorOf(body, contentEncoding)
  // RFC 9449 section 9 and facts.md, DPoP: what asks for a nonce has refused the call before it did anything.
  if (dpopNonce !== undefined && (oauth === 'use_dpop_nonce' || challenge?.includes('error="use_dpop_nonce"') === true)) return { kind: 'nonce', nonce: dpopNonce }
  const refused = (status === 401 && okta === 'E0000011') || oauth === 'invalid_dpop_proof' || oauth === 'use_dpop_nonce'
  return refused ? { kind: 'refused' } : undefined
}

/**
 * E0000011, Okta's "invalid token", is about the gate's own credential; E0000004 of /authn and E0000015, a feature
 * that is off, are about the caller's data. The body is unpacked only to be looked at.
 *
 * @param encoding Content-Encoding; an unknown one can't be looked at and says nothing
 */
async function errorOf (body: Buffer, encoding: string | undefined): Promise<{ okta?: unknown, oauth?: unknown }> {
  try {
    const decode = encoding === undefined ? undefined : decoders.get(encoding.trim().toLowerCase())
    const plain = decode === undefined ? body : await decode(body, { maxOutputLength: MAX_REFUSAL_BYTES * 4 })
    const error = JSON.parse(plain.toString('utf8')) as { errorCode?: unknown, error?: unknown } | null
    return { okta: error?.errorCode, oauth: error?.error }
  } catch {
    return {}
  }
}
