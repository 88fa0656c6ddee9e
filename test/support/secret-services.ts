import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { makeCertificate } from '../upstream/certificates.js'
import type { Teardown } from './gate.js'

/** Small servers that speak the documented wire formats of the services that keep secrets. */
export interface SecretService {
  readonly origin: string
  readonly secrets: Map<string, string>
  /** request lines, with what tells who asks */
  readonly seen: string[]
  /** set: every call is answered with it */
  down?: number
}

async function serve (t: Teardown, handle: (request: IncomingMessage, body: string, response: ServerResponse) => void, tls?: { cert: string, key: string }): Promise<string> {
  const listener: RequestListener = (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => { body += text }).on('end', () => { handle(request, body, response) })
  }
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function json (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value))
}

export interface VaultService extends SecretService {
  /** valid tokens, and the seconds they live */
  readonly tokens: Map<string, number>
  readonly secretIds: Set<string>
}

/** KV version 2 at `secret/`, keyed `path`, each secret a JSON object; tokens, AppRole and Kubernetes sign-ins (developer.hashicorp.com/vault/api-docs). */
export async function startVault (t: Teardown, namespace?: string): Promise<VaultService> {
  const service = { origin: '', secrets: new Map<string, string>(), seen: [] as string[], tokens: new Map<string, number>(), secretIds: new Set<string>(), down: undefined as number | undefined }
  let count = 0
  const origin = await serve(t, (request, body, response) => {
    const { method, url = '' } = request
    service.seen.push(`${method} ${url}`)
    const fail = (status: number): void => { json(response, status, { errors: status === 404 ? [] : ['CANARY of the server'] }) }
    if (service.down !== undefined) { fail(service.down); return }
    if (request.headers['x-vault-namespace'] !== namespace || request.headers['x-vault-request'] !== 'true') { fail(404); return }
    const login = (): void => {
      const token = `hvs.CANARY${count++}`
      service.tokens.set(token, 3600)
      json(response, 200, { auth: { client_token: token, lease_duration: 3600, renewable: true, policies: ['narrowgate'] } })
    }
    if (method === 'POST' && url === '/v1/auth/approle/login') {
      const { role_id: role, secret_id: id } = JSON.parse(body) as Record<string, string>
      if (role === 'role-1' && service.secretIds.has(id!)) login()
      else fail(400)
      return
    }
    if (method === 'POST' && url === '/v1/auth/clusters/eu/login') {
      const { role, jwt } = JSON.parse(body) as Record<string, string>
      if (role === 'narrowgate' && jwt === 'CANARY.jwt') login()
      else fail(403)
      return
    }
    const ttl = service.tokens.get(String(request.headers['x-vault-token']))
    if (ttl === undefined) { fail(403); return }
    if (url === '/v1/auth/token/lookup-self') { json(response, 200, { data: { ttl, renewable: ttl > 0 } }); return }
    if (method === 'POST' && url === '/v1/auth/token/renew-self') { json(response, 200, { auth: { lease_duration: ttl, renewable: true } }); return }
    const text = method === 'GET' && url.startsWith('/v1/secret/data/') ? service.secrets.get(decodeURIComponent(url.slice('/v1/secret/data/'.length))) : undefined
    if (text === undefined) fail(404)
    else json(response, 200, { data: { data: JSON.parse(text), metadata: { version: 3 } } })
  })
  return Object.assign(service, { origin })
}

/** AWS Secrets Manager's GetSecretValue (JSON 1.1). */
export async function startAws (t: Teardown): Promise<SecretService> {
  const service: SecretService & { origin: string } = { origin: '', secrets: new Map(), seen: [] }
  service.origin = await serve(t, (request, body, response) => {
    const { authorization = '', 'x-amz-target': target } = request.headers
    service.seen.push(`${String(target)} ${authorization.replace(/Signature=.*/, '')}`)
    const fail = (status: number, type: string): void => { json(response, status, { __type: type, Message: 'CANARY of the server' }, { 'content-type': 'application/x-amz-json-1.1' }) }
    if (service.down !== undefined) { fail(service.down, 'InternalServiceError'); return }
    if (target !== 'secretsmanager.GetSecretValue' || !/^AWS4-HMAC-SHA256 Credential=AKIDTEST\/\d{8}\/eu-central-1\/secretsmanager\/aws4_request, SignedHeaders=\S+, Signature=[0-9a-f]{64}$/.test(authorization)) { fail(400, 'AccessDeniedException'); return }
    const { SecretId: id } = JSON.parse(body) as { SecretId: string }
    const text = service.secrets.get(id)
    if (text === undefined) fail(400, 'ResourceNotFoundException')
    else json(response, 200, { ARN: `arn:aws:secretsmanager:eu-central-1:1:secret:${id}`, Name: id, VersionId: 'v', ...text.startsWith('binary:') ? { SecretBinary: Buffer.from(text.slice(7)).toString('base64') } : { SecretString: text } }, { 'content-type': 'application/x-amz-json-1.1' })
  })
  return service
}

/** Secret Manager's versions.access (REST v1), and the machine's metadata server, which gives tokens. */
export async function startGoogle (t: Teardown): Promise<SecretService> {
  const service: SecretService & { origin: string } = { origin: '', secrets: new Map(), seen: [] }
  service.origin = await serve(t, (request, _, response) => {
    const { url = '' } = request
    service.seen.push(`${request.method} ${url}`)
    if (service.down !== undefined) { json(response, service.down, { error: { code: service.down, status: 'UNAVAILABLE', message: 'CANARY of the server' } }); return }
    if (url.startsWith('/computeMetadata/')) {
      const good = request.headers['metadata-flavor'] === 'Google' && url.startsWith('/computeMetadata/v1/instance/service-accounts/default/token')
      json(response, good ? 200 : 404, good ? { access_token: 'ya29.CANARY', expires_in: 3600, token_type: 'Bearer' } : {}, { 'metadata-flavor': 'Google' })
      return
    }
    const found = /^\/v1\/(projects\/[^/]+\/secrets\/[^/]+)\/versions\/([^/:]+):access(?:\?|$)/.exec(url)
    const text = found === null ? undefined : service.secrets.get(found[2] === 'latest' ? found[1]! : `${found[1]!}/versions/${found[2]!}`)
    if (request.headers.authorization !== 'Bearer ya29.CANARY') json(response, 401, { error: { code: 401, status: 'UNAUTHENTICATED' } })
    else if (text === undefined) json(response, 404, { error: { code: 404, status: 'NOT_FOUND', message: 'CANARY of the server' } })
    else json(response, 200, { name: `${found![1]!}/versions/1`, payload: { data: Buffer.from(text).toString('base64') } })
  })
  return service
}

/** Azure Key Vault's getSecret over TLS, with its challenge, and the endpoint of a managed identity (App Service's form). */
export async function startAzure (t: Teardown): Promise<SecretService & { readonly ca: string, readonly identity: string }> {
  const authority = makeCertificate({ commonName: 'Test CA', authority: true })
  const { cert, key } = makeCertificate({ commonName: 'vault', names: ['127.0.0.1'], issuer: authority })
  const service: SecretService & { origin: string } = { origin: '', secrets: new Map(), seen: [] }
  const identity = await serve(t, (request, _, response) => {
    service.seen.push(`identity ${new URL(request.url!, 'http://x').searchParams.get('resource')} ${String(request.headers['x-identity-header'])}`)
    json(response, 200, { access_token: 'azure.CANARY', expires_on: String(Math.floor(Date.now() / 1000) + 3600), resource: 'https://vault.azure.net', token_type: 'Bearer' })
  })
  service.origin = await serve(t, (request, _, response) => {
    const { pathname } = new URL(request.url!, 'http://x')
    service.seen.push(`${request.method} ${pathname}`)
    if (service.down !== undefined) { json(response, service.down, { error: { code: 'ServiceUnavailable', message: 'CANARY of the server' } }); return }
    if (request.headers.authorization !== 'Bearer azure.CANARY') {
      json(response, 401, { error: { code: 'Unauthorized' } }, { 'www-authenticate': 'Bearer authorization="https://login.microsoftonline.com/22222222-2222-2222-2222-222222222222", resource="https://vault.azure.net"' })
      return
    }
    const name = /^\/secrets\/([^/]+)\/?$/.exec(pathname)?.[1]
    const text = name === undefined ? undefined : service.secrets.get(name)
    if (text === undefined) json(response, 404, { error: { code: 'SecretNotFound', message: 'CANARY of the server' } })
    else json(response, 200, { value: text, id: `${service.origin}/secrets/${name!}/v1`, attributes: { enabled: true } })
  }, { cert, key })
  return { ...service, ca: authority.cert, identity: `${identity}/msi`, get down () { return service.down }, set down (status) { service.down = status } }
}
