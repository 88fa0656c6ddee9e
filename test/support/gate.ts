import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { pino } from 'pino'
import { newKey } from '../../src/clients/api-key.js'
import type { Gate } from '../../src/server/gate.js'
import { startGate } from '../../src/server/start.js'
import { checkAuditFile } from './audit-check.js'
import { RawClient, type RawAnswer } from './raw-client.js'
import { Sweep } from './sweep.js'

export type Teardown = { teardown: (end: () => unknown) => void }

export const later = (ms: number): Promise<void> => new Promise(resolve => { setTimeout(resolve, ms) })

/** Waits until something is true; says whether it became so. */
export async function until (test: () => boolean | Promise<boolean>, ms = 5000): Promise<boolean> {
  for (const end = Date.now() + ms; Date.now() < end; await later(10)) if (await test()) return true
  return await test()
}

export async function freePort (): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}

/** A client's key and the policy file that lists it. */
export interface TestClient { readonly key: string, readonly sha256: string, readonly text: string }

/** @param rest YAML of the policy behind `authenticate`; @param keys further entries of `authenticate`, of before the key's own */
export function client (name: string, rest: string, keys: readonly string[] = [], keyMore = ''): TestClient {
  const { key, sha256 } = newKey(randomBytes)
  const entries = [`apiKey: { sha256: ${sha256}${keyMore} }`, ...keys]
  const text = `version: 1\nclient: ${name}\nowner: tests@example.com\ndescription: a client of the tests\nauthenticate:\n${entries.map(entry => `  - ${entry}\n`).join('')}${rest}\n`
  return { key, sha256, text }
}

const ADMIN_VIEWS = ['/metrics', '/readyz', '/limits', '/livez']

/** What a view says; nothing when the test has ended the gate. @throws for whatever else keeps it from being looked at */
async function viewOf (url: string): Promise<string> {
  try {
    return await (await fetch(url)).text()
  } catch (error) {
    if ((error as { cause?: { code?: string } }).cause?.code === 'ECONNREFUSED') return ''
    throw error
  }
}

export const UPSTREAM_TOKEN = '00CANARYupstreamTOKEN'
export const AUTHN_TOKEN = '00CANARYauthnTOKEN'
export const TOKEN_CREDENTIAL = 'apiToken: { value: { env: UPSTREAM_TOKEN }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } }'
/** No limit gets in the way of what the test is about. */
export const NO_LIMITS = "{ org: { '*': 1000000 }, concurrency: 1000 }"

export interface RigOptions {
  readonly org: string
  /** file name in the policies folder → text */
  readonly policies: Readonly<Record<string, string>>
  /** YAML flow, as are the others */
  readonly credential?: string
  readonly upstream?: string
  readonly listen?: string
  readonly limits?: string
  readonly tokens?: string
  /** by default events as lines under their own names, and beside them a sink with every default, which is checked at the end */
  readonly audit?: string
  /** further files of the config folder */
  readonly files?: Readonly<Record<string, string>>
  readonly environment?: Readonly<Record<string, string>>
  readonly publicUrl?: string
  readonly pollMs?: number
  /** true: the gate asks Okta who it is, as `serve` does; by default what a test counts is its own */
  readonly ownCalls?: boolean | 'as configured'
  readonly learnAgainMs?: number
  /** client listener's host, for IPv6 */
  readonly host?: string
}

export interface AuditLine { readonly id: string, readonly outcome: string, readonly [name: string]: unknown }

/** A gate over temporary files, with all that it says. */
export interface Rig {
  readonly gate: Gate
  readonly folder: string
  readonly configFile: string
  readonly port: number
  readonly publicUrl: string
  readonly adminUrl: string
  write (path: string, text: string): void
  /** the operators' log so far */
  log (): string
  auditText (): string
  /** the audit events since the last call: waits for `count` of them, and a little longer for one too many */
  events (count: number): Promise<AuditLine[]>
  /** one request on a connection of its own */
  ask (bytes: string | Buffer): Promise<RawAnswer>
  open (): Promise<RawClient>
  admin (path: string): Promise<{ status: number, text: string }>
}

function publicUrlOf ({ publicUrl, listen }: RigOptions, port: number): string {
  return publicUrl ?? `${listen?.includes('tls:') === true ? 'https' : 'http'}://127.0.0.1:${port}`
}

/** The text of narrowgate.yaml. */
export function configText (options: RigOptions, port: number): string {
  return `listen: { host: '${options.host ?? '127.0.0.1'}', port: ${port}, ${options.listen ?? ''} }
publicUrl: ${publicUrlOf(options, port)}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${options.org}
    credential: { ${options.credential ?? TOKEN_CREDENTIAL} }
    ${options.upstream ?? ''}
limits: ${options.limits ?? NO_LIMITS}
tokens: ${options.tokens ?? '{}'}
audit: ${options.audit ?? '{ sinks: [{ file: { path: ./audit.jsonl, format: plain, chain: false, delivery: buffered } }, { file: { path: ./audit-ocsf.jsonl, format: ocsf, chain: true, delivery: required } }] }'}
`
}

export async function writeFolder (t: Teardown, options: RigOptions): Promise<{ folder: string, configFile: string, port: number, write: Rig['write'] }> {
  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-test-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const port = await freePort()
  write('narrowgate.yaml', configText(options, port))
  for (const [name, text] of Object.entries(options.policies)) write(`policies/${name}`, text)
  for (const [name, text] of Object.entries(options.files ?? {})) { write(name, text); chmodSync(join(folder, name), 0o600) }
  return { folder, configFile: join(folder, 'narrowgate.yaml'), port, write }
}

export const ENVIRONMENT = { UPSTREAM_TOKEN, AUTHN_TOKEN }

/** Starts a gate in this process, as `serve` does, over a folder of its own. */
export async function startRig (t: Teardown, options: RigOptions): Promise<Rig> {
  const { folder, configFile, port, write } = await writeFolder(t, options)
  let log = ''
  const gate = await startGate({
    configFile,
    environment: { ...ENVIRONMENT, ...options.environment },
    log: pino({ level: 'trace', base: null }, { write: (line: string) => { log += line } }),
    pollMs: options.pollMs,
    ownCalls: options.ownCalls === 'as configured' ? undefined : options.ownCalls ?? false,
    learnAgainMs: options.learnAgainMs
  })
  const { adminUrl } = gate
  const sweep = new Sweep()
  t.teardown(async () => {
    for (const path of ADMIN_VIEWS) sweep.look(path, await viewOf(adminUrl + path))
    await gate.drain(500)
    sweep.look('the log', log)
    sweep.lookAtFiles(folder, 'an audit file', /^audit|spool|journal/)
    sweep.end()
    const ocsf = join(folder, 'audit-ocsf.jsonl')
    if (existsSync(ocsf)) await checkAuditFile(ocsf)
  })
  let taken = 0
  const auditText = (): string => readFileSync(join(folder, 'audit.jsonl'), 'utf8')
  const lines = (): string[] => { try { return auditText().split('\n').slice(0, -1) } catch { return [] } }
  const host = options.host ?? '127.0.0.1'
  const open = async (): Promise<RawClient> => await RawClient.connect(port, host, sweep.answers())
  return {
    gate,
    folder,
    configFile,
    port,
    publicUrl: publicUrlOf(options, port),
    adminUrl,
    write,
    log: () => log,
    auditText,
    async events (count) {
      await until(() => lines().length >= taken + count)
      await later(15)
      const all = lines()
      const fresh = all.slice(taken).map(line => JSON.parse(line) as AuditLine)
      taken = all.length
      return fresh
    },
    open,
    async ask (bytes) {
      const connection = await open()
      connection.send(bytes)
      const answer = await connection.answer()
      connection.destroy()
      if (answer === undefined) throw new Error('the connection ended without an answer')
      return answer
    },
    async admin (path) {
      const response = await fetch(adminUrl + path)
      const text = await response.text()
      sweep.look(path, text)
      return { status: response.status, text }
    }
  }
}

/** A request as text: `Host` and the key come by themselves, `Content-Length` with a body. */
export function request (line: string, key?: string, more: readonly string[] = [], body?: string): string {
  const lines = [`${line} HTTP/1.1`, 'Host: gate', ...key === undefined ? [] : [`Authorization: SSWS ${key}`], ...more]
  if (body !== undefined) lines.push(`Content-Length: ${Buffer.byteLength(body)}`)
  return `${lines.join('\r\n')}\r\n\r\n${body ?? ''}`
}

/** A request as the stub received it, byte for byte. */
export interface StubRequest {
  readonly line: string
  readonly method: string
  readonly target: string
  /** name and value of each header line, as they came */
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Buffer
  header (name: string): string | undefined
}

export interface Stub {
  readonly origin: string
  readonly port: number
  readonly requests: StubRequest[]
  /** bytes received on every connection; for TLS, after decryption */
  bytes: number
  closed: number
  /** what the next requests are answered with */
  answer: (request: StubRequest, socket: Socket) => void
}

/** An answer as text, with its Content-Length. */
export function respond (status: number, body: string | Buffer = '{}', headers: readonly string[] = ['Content-Type: application/json']): Buffer {
  return Buffer.concat([Buffer.from([`HTTP/1.1 ${status} Status`, ...headers, `Content-Length: ${Buffer.byteLength(body)}`, '', ''].join('\r\n'), 'latin1'), Buffer.from(body)])
}

/** A scripted upstream on a raw socket: what it has received is the evidence. */
export async function startStub (t: Teardown, tls?: TlsOptions): Promise<Stub> {
  const open = new Set<Socket>()
  const stub: Stub = { origin: '', port: 0, requests: [], bytes: 0, closed: 0, answer: (_, socket) => { socket.write(respond(200)) } }
  const serve = (socket: Socket): void => {
    open.add(socket)
    let pending = Buffer.alloc(0)
    socket.on('error', () => {}).on('close', () => { open.delete(socket); stub.closed++ })
    socket.on('data', chunk => {
      stub.bytes += chunk.length
      pending = Buffer.concat([pending, chunk])
      for (let received = take(); received !== undefined; received = take()) { stub.requests.push(received); stub.answer(received, socket) }
    })
    function take (): StubRequest | undefined {
      const end = pending.indexOf('\r\n\r\n')
      if (end < 0) return undefined
      const [line = '', ...lines] = pending.toString('latin1', 0, end).split('\r\n')
      const headers = lines.map(text => [text.slice(0, text.indexOf(':')), text.slice(text.indexOf(':') + 1).trim()] as const)
      const header = (name: string): string | undefined => headers.find(([one]) => one.toLowerCase() === name.toLowerCase())?.[1]
      const length = Number(header('content-length') ?? 0)
      if (pending.length < end + 4 + length) return undefined
      const body = pending.subarray(end + 4, end + 4 + length)
      pending = pending.subarray(end + 4 + length)
      const [method = '', target = ''] = line.split(' ')
      return { line, method, target, headers, body, header }
    }
  }
  const server = tls === undefined ? createTcpServer(serve) : createTlsServer(tls, serve)
  server.on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => { for (const socket of open) socket.destroy(); server.close() })
  const { port } = server.address() as AddressInfo
  return Object.assign(stub, { port, origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}` })
}
