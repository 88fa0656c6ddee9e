import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, type InputType, type ZlibOptions } from 'node:zlib'

/** Largest 401 that is held back to be read; Okta's error bodies have a few hundred bytes. */
export const MAX_REFUSAL_BYTES = 65_536

const decoders: ReadonlyMap<string, (body: InputType, options: ZlibOptions) => Promise<Buffer>> = new Map([
  ['gzip', promisify(gunzip)],
  ['x-gzip', promisify(gunzip)],
  ['deflate', promisify(inflate)],
  ['br', promisify(brotliDecompress)]
])

/**
 * Tells a 401 about the gate's own credential (E0000011, Okta's "invalid token") from one about the caller's data
 * (E0000004 of /authn) or a feature that is off (E0000015). The body is unpacked only to be looked at.
 *
 * @param body whole, as received
 * @param encoding its Content-Encoding; an unknown one can't be looked at and passes
 */
export async function isCredentialRefusal (body: Buffer, encoding: string | undefined): Promise<boolean> {
  try {
    const decode = encoding === undefined ? undefined : decoders.get(encoding.trim().toLowerCase())
    const plain = decode === undefined ? body : await decode(body, { maxOutputLength: MAX_REFUSAL_BYTES * 4 })
    const error = JSON.parse(plain.toString('utf8')) as { errorCode?: unknown } | null
    return error?.errorCode === 'E0000011'
  } catch {
    return false
  }
}
