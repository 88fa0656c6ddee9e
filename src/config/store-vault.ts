import { rootCertificates } from 'node:tls'
import { Agent } from 'undici'
import { originAndPath } from '../domain/origin-and-path.js'
import type { Secret } from '../domain/secret.js'
import type { LocalReference, VaultConfig } from './config.js'
import { SOURCE_TIMEOUT_MS, SourceFault, textOf, type SecretSource } from './secret-source.js'

const CAP_BYTES = 262_144
/** A token is renewed, or a new one fetched, when this part of its life is over. */
const RENEW_AT = 0.5

interface Answer { readonly status: number, readonly json: unknown }
interface Held { readonly token: string, /** monotonic milliseconds */ readonly renewAt: number, readonly renewable: boolean }

/**
 * HashiCorp Vault, and OpenBao, which speaks the same: KV version 2 by the documented HTTP API. HashiCorp has no
 * client for Node, so this is undici. Signs in with a token, an AppRole or a Kubernetes service account
 * (developer.hashicorp.com/vault/api-docs: secret/kv/kv-v2, auth/token, auth/approle, auth/kubernetes).
 *
 * @param local what a reference of the settings stands for now
 * @param clock monotonic milliseconds
 */
export function openVault ({ address, namespace, ca, auth }: VaultConfig, local: (reference: LocalReference) => Secret, clock: () => number): SecretSource {
  const trust = ca === undefined ? {} : { ca: [...rootCertificates, local(ca).reveal()] }
  const agent = new Agent({ connections: 4, keepAliveTimeout: 4000, connect: { timeout: SOURCE_TIMEOUT_MS, ...trust } })
  let held: Held | undefined
  let signingIn: Promise<Held> | undefined

  async function ask (method: 'GET' | 'POST', path: string, token?: string, body?: object): Promise<Answer> {
    const headers = {
      accept: 'application/json',
      'x-vault-request': 'true',
      ...namespace === undefined ? {} : { 'x-vault-namespace': namespace },
      ...token === undefined ? {} : { 'x-vault-token': token },
      ...body === undefined ? {} : { 'content-type': 'application/json' }
    }
    const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), headersTimeout: SOURCE_TIMEOUT_MS, bodyTimeout: SOURCE_TIMEOUT_MS, signal: AbortSignal.timeout(SOURCE_TIMEOUT_MS) }
    const answer = await agent.request({ ...originAndPath(`${address}/v1/${path}`), ...options }).catch((error: unknown) => { throw new SourceFault(`Vault cannot be reached (${String((error as { code?: unknown }).code ?? 'no answer')})`) })
    return { status: answer.statusCode, json: parse(await readBody(answer.body)) }
  }

  async function signIn (): Promise<Held> {
    if (auth.kind === 'token') return await lookUp(local(auth.token).reveal())
    const [path, body] = auth.kind === 'appRole'
      ? [auth.mount, { role_id: auth.roleId, secret_id: local(auth.secretId).reveal() }]
      : [auth.mount, { role: auth.role, jwt: local(auth.token).reveal() }]
    const { status, json } = await ask('POST', `auth/${escaped(path)}/login`, undefined, body)
    if (status !== 200) throw new SourceFault(`Vault refuses the sign-in at auth/${path} (${status})`)
    const { client_token: token, lease_duration: seconds } = at(json, 'auth') as { client_token?: unknown, lease_duration?: unknown }
    if (typeof token !== 'string' || token === '') throw new SourceFault(`Vault's answer to the sign-in at auth/${path} holds no token`)
    return { token, renewAt: later(seconds), renewable: false }
  }

  /** How long a token that was given lives. A token may not be allowed to ask that: then it is used as it is. */
  async function lookUp (token: string): Promise<Held> {
    const { json } = await ask('GET', 'auth/token/lookup-self', token)
    const { ttl, renewable } = at(json, 'data') as { ttl?: unknown, renewable?: unknown }
    return { token, renewAt: later(ttl), renewable: renewable === true }
  }

  function later (seconds: unknown): number {
    return typeof seconds === 'number' && seconds > 0 ? clock() + seconds * 1000 * RENEW_AT : Infinity
  }

  /** One sign-in for all that wait for it. */
  async function fresh (): Promise<Held> {
    signingIn ??= signIn().then(now => { held = now; return now }).finally(() => { signingIn = undefined })
    return await signingIn
  }

  async function token (): Promise<string> {
    // A file that Vault's agent keeps may hold another token by now.
    if (held === undefined || (auth.kind === 'token' && held.token !== local(auth.token).reveal())) return (await fresh()).token
    if (clock() < held.renewAt) return held.token
    if (held.renewable) await ask('POST', 'auth/token/renew-self', held.token, {})
    return (await fresh()).token
  }

  return {
    async read (reference) {
      if (reference.kind !== 'vault') throw new SourceFault('this is no secret of Vault')
      const { mount, path, field } = reference
      const where = `${escaped(mount)}/data/${escaped(path)}`
      let answer = await ask('GET', where, await token())
      // A token that was revoked, or outlived its parent: once more with a new one.
      if (answer.status === 403 && auth.kind !== 'token') answer = await ask('GET', where, (await fresh()).token)
      if (answer.status !== 200) throw new SourceFault(reasonOf(answer.status, mount, path))
      return textOf(at(answer.json, 'data', 'data'), field)
    },
    close () { agent.destroy().catch(() => {}) }
  }
}

function reasonOf (status: number, mount: string, path: string): string {
  switch (status) {
    case 403: return `Vault does not permit to read ${mount}/data/${path} (403)`
    case 404: return `Vault has no ${path} in the KV version 2 mount ${mount}, or its newest version is deleted (404); write the path without data/`
    case 503: return 'Vault is sealed or down for maintenance (503)'
    default: return `Vault answers ${status}`
  }
}

function escaped (path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

async function readBody (body: AsyncIterable<Buffer> & { destroy (): void, on (event: 'error', listener: () => void): unknown }): Promise<string> {
  body.on('error', () => {}) // destroyed on purpose
  const pieces: Buffer[] = []
  let size = 0
  try {
    for await (const piece of body) {
      size += piece.length
      if (size > CAP_BYTES) { body.destroy(); throw new SourceFault('Vault answers more than 256 kB') }
      pieces.push(piece)
    }
  } catch (error) {
    throw error instanceof SourceFault ? error : new SourceFault('Vault\'s answer broke off')
  }
  return Buffer.concat(pieces).toString('utf8')
}

function parse (text: string): unknown {
  try { return JSON.parse(text) } catch { return undefined }
}

/** A mapping inside an answer; an empty one where there is none. */
function at (value: unknown, ...path: string[]): object {
  let current = value
  for (const name of path) current = typeof current === 'object' && current !== null ? (current as Record<string, unknown>)[name] : undefined
  return typeof current === 'object' && current !== null ? current : {}
}
