import { lookup as resolve } from 'node:dns'
import { isIP } from 'node:net'
import { Agent } from 'undici'
import { originAndPath } from '../domain/origin-and-path.js'
import { isPrivateAddress } from './private-address.js'
import { readKeySet, type PublicKey } from './public-key.js'
import type { FetchKeys } from './issuer-keys.js'

/** Where an issuer's keys are found. */
export interface IssuerSource {
  readonly issuer: string
  /** absent: `{issuer}/.well-known/openid-configuration` names it */
  readonly jwksUrl?: string
  /** true: the issuer stands in the operator's own network */
  readonly allowPrivateNetwork: boolean
  /** PEM, beside the system's trust anchors */
  readonly ca?: readonly string[]
}

const MAX_BYTES = 262_144
const TIMEOUT_MS = 5000

/**
 * Fetches the keys of an OIDC issuer (OpenID Connect Discovery 1.0). Follows no redirect, reads at most 256 kB within
 * five seconds, and connects to no private address unless the issuer is configured so: the address that was looked up
 * is the one that is dialled.
 */
export function fetchIssuerKeys ({ issuer, jwksUrl, allowPrivateNetwork, ca }: IssuerSource): FetchKeys {
  const agent = new Agent({
    connections: 1,
    keepAliveTimeout: 1000,
    connect: { timeout: TIMEOUT_MS, ...ca === undefined ? {} : { ca: [...ca] }, ...allowPrivateNetwork ? {} : { lookup: publicOnly } }
  })

  async function get (url: string): Promise<unknown> {
    const { hostname, protocol } = new URL(url)
    const address = hostname.replace(/^\[|\]$/g, '')
    if (!allowPrivateNetwork && isIP(address) !== 0 && isPrivateAddress(address)) throw new Error('the address is private')
    if (protocol !== 'https:' && !(protocol === 'http:' && allowPrivateNetwork)) throw new Error('the URL is not https')
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    const answer = await agent.request({ ...originAndPath(url), method: 'GET', signal, headers: { accept: 'application/json' }, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS })
    answer.body.on('error', () => {}) // destroyed on purpose
    if (answer.statusCode !== 200) { answer.body.destroy(); throw new Error(`answered ${answer.statusCode}`) }
    const pieces: Buffer[] = []
    let size = 0
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      size += piece.length
      if (size > MAX_BYTES) { answer.body.destroy(); throw new Error('answered more than 256 kB') }
      pieces.push(piece)
    }
    try {
      return JSON.parse(Buffer.concat(pieces).toString('utf8'))
    } catch {
      throw new Error('answered no JSON') // node's own message repeats the text
    }
  }

  async function discover (): Promise<string> {
    const found = await get(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`) as { issuer?: unknown, jwks_uri?: unknown } | null
    if (found?.issuer !== issuer) throw new Error('its discovery document names another issuer')
    if (typeof found.jwks_uri !== 'string' || !URL.canParse(found.jwks_uri)) throw new Error('its discovery document names no jwks_uri')
    return found.jwks_uri
  }

  return async (): Promise<readonly PublicKey[]> => {
    const { keys, problems } = await readKeySet(await get(jwksUrl ?? await discover()), true)
    if (problems.length > 0) throw new Error(problems[0]!.message)
    return keys
  }
}

type Lookup = (hostname: string, options: object, callback: (error: Error | null, address: unknown, family?: number) => void) => void

/** Node's look-up, but without the addresses that only this machine or its network knows. */
const publicOnly: Lookup = (hostname, options, callback) => {
  resolve(hostname, { ...options, all: true }, (error, addresses) => {
    if (error !== null) { callback(error, ''); return }
    const open = addresses.filter(({ address }) => !isPrivateAddress(address))
    if (open.length === 0) { callback(new Error('the name leads to a private address'), ''); return }
    if ((options as { all?: boolean }).all === true) callback(null, open)
    else callback(null, open[0]!.address, open[0]!.family)
  })
}
