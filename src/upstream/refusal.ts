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
  const error = await errorOf(body, contentEncoding)
  const { okta, oauth } = error ?? {}
  // RFC 9449 section 9 and facts.md, DPoP: what asks for a nonce has refused the call before it did anything.
  if (dpopNonce !== undefined && (oauth === 'use_dpop_nonce' || challenge?.includes('error="use_dpop_nonce"') === true)) return { kind: 'nonce', nonce: dpopNonce }
  const unnamed = error !== undefined && okta === undefined && oauth === undefined
  const refused = (status === 401 && (okta === 'E0000011' || unnamed || oauth === 'invalid_token' || challenge?.includes('error="invalid_token"') === true)) || oauth === 'invalid_dpop_proof' || oauth === 'use_dpop_nonce'
  return refused ? { kind: 'refused' } : undefined
}

/**
 * A 401 to a call that carried the gate's credential is about that credential, unless a code of Okta's says otherwise:
 * RFC 9110 section 15.5.2 gives the status no other meaning, and RFC 6750 section 3.1 lets it come without a body. Such
 * a call was not executed. E0000011, Okta's "invalid token", is about the gate's own credential; E0000004 of /authn and E0000015, a feature
 * that is off, are about the caller's data. The body is unpacked only to be looked at.
 *
 * @param encoding Content-Encoding
 * @returns undefined: what came can't be unpacked, so it may hold a code of Okta's, and says nothing
 */
async function errorOf (body: Buffer, encoding: string | undefined): Promise<{ okta?: unknown, oauth?: unknown } | undefined> {
  if (body.length === 0) return {}
  const name = encoding?.trim().toLowerCase() ?? 'identity'
  const decode = decoders.get(name)
  if (decode === undefined && name !== 'identity') return undefined
  let plain
  try { plain = decode === undefined ? body : await decode(body, { maxOutputLength: MAX_REFUSAL_BYTES * 4 }) } catch { return undefined }
  try {
    const error = JSON.parse(plain.toString('utf8')) as { errorCode?: unknown, error?: unknown } | null
    return { okta: error?.errorCode, oauth: error?.error }
  } catch {
    return {}
  }
}
