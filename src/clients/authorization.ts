import { reject, type Rejection } from '../domain/rejection.js'

/**
 * What programs send when they have no token, and why. Lower case.
 * `undefined` and the like are what string templates make of a token call that failed.
 */
const NOT_A_TOKEN: ReadonlyMap<string, string> = new Map([
  ['undefined', "the token is the word \"undefined\": the SDK's token call failed, or its setting is missing"],
  ['null', "the token is the word \"null\": the SDK's token call failed, or its setting is missing"],
  ['none', "the token is the word \"None\": the SDK's token call failed, or its setting is missing"],
  ['nil', "the token is the word \"nil\": the SDK's token call failed, or its setting is missing"],
  ['[object object]', 'the token is "[object Object]": an object was sent where a text belongs'],
  ['[object promise]', 'the token is "[object Promise]": the program did not wait for its token']
])

const KEY_START = /^ngk_/i
const UNUSABLE_SCHEME = /^(basic|digest|negotiate) /i

/**
 * Takes the key out of an Authorization header: `SSWS <key>`, `SSWS<key>` (Okta's Python SDK sends no
 * space) or `Bearer <key>`; the scheme in any case (RFC 9110 section 11.1). Never repeats what was sent.
 *
 * @returns the key, or `no_credential`, `bad_credential`
 */
export function readAuthorization (header: string | undefined): string | Rejection {
  if (header === undefined || header === '') return reject('no_credential')
  const key = afterScheme(header)
  if (key === undefined) return wrongScheme(header)
  if (key === '') return reject('no_credential', { causes: ['the header names a scheme, but no key follows it: is the setting or environment variable empty?'] })
  const why = key.length > 20 ? undefined : NOT_A_TOKEN.get(key.toLowerCase())
  return why === undefined ? key : reject('bad_credential', { causes: [why] })
}

function afterScheme (header: string): string | undefined {
  if (startsWithScheme(header, 'ssws')) return header.slice(4).trim()
  if (!startsWithScheme(header, 'bearer')) return undefined
  return header.length === 6 || header.charCodeAt(6) === 0x20 ? header.slice(7).trim() : undefined
}

function startsWithScheme (header: string, scheme: string): boolean {
  return header.length >= scheme.length && header.slice(0, scheme.length).toLowerCase() === scheme
}

function wrongScheme (header: string): Rejection {
  if (KEY_START.test(header)) return reject('bad_credential', { causes: ['the key came without a scheme: write "SSWS " before it'] })
  if (startsWithScheme(header, 'bearer')) return reject('bad_credential', { causes: ['a space belongs between "Bearer" and the key'] })
  if (startsWithScheme(header, 'dpop')) return reject('bad_credential', { causes: ['a token belongs after "DPoP"'] })
  const scheme = UNUSABLE_SCHEME.exec(header)?.[1]
  return reject('bad_credential', { causes: [scheme === undefined ? 'the scheme is neither SSWS nor Bearer' : `the scheme ${scheme} is not accepted here: send SSWS or Bearer`] })
}

/** The token of `Authorization: DPoP <token>` (RFC 9449 section 7.1); undefined: another scheme. */
export function readDpopAuthorization (header: string): string | undefined {
  return startsWithScheme(header, 'dpop') && header.charCodeAt(4) === 0x20 ? header.slice(5).trim() : undefined
}

/** True for `Authorization: Bearer …`. */
export function isBearer (header: string): boolean {
  return startsWithScheme(header, 'bearer')
}
