import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import type { Logger } from 'pino'
import { startEmulator, type Emulator } from '../emulator/server.js'
import { createCatalog } from '../okta/catalog.js'
import type { Gate } from '../server/gate.js'
import { startGate } from '../server/start.js'
import { makeClientKey } from './keys.js'

/** The shipped policies, beside src/ and dist/. */
const SHIPPED = fileURLToPath(new URL('../../policies/', import.meta.url))
const COPIED = ['account-self-service.yaml', 'read-only-directory.yaml', 'operations.yaml', 'sets/read-directory.yaml'] as const

/** Client id of the emulated service app that is the gate's own. */
export const GATE_CLIENT_ID = '0oa1narrowgatedemo05'
/** What the burst calls; no other act of the demo spends its limit. */
const BURST_OPERATION = 'getGroup'
/** The org's own limit for it, calls per minute: small, so that a burst of a second shows it. */
export const BURST_ORG_LIMIT = 40

/** An emulated org, the gate in front of it, and clients with keys. */
export interface DemoWorld {
  readonly emulator: Emulator
  readonly gate: Gate
  /** a new folder with all of the gate's files */
  readonly folder: string
  /** client keys: of the portal, of a read-only client, of one that calls from the wrong network, of one that is over */
  readonly keys: { readonly portal: string, readonly directory: string, readonly elsewhere: string, readonly expired: string }
  /** rate limit bucket of the burst */
  readonly burstBucket: string
  /** Stops both and removes the folder. */
  readonly close: () => Promise<void>
}

/** Starts all of it on loopback addresses. @throws LoadFault when the policies would not load */
export async function startWorld (log: Logger, now: number): Promise<DemoWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'narrowgate-demo-'))
  const catalog = createCatalog()
  const burstBucket = catalog.byId(BURST_OPERATION)!.bucket
  const authnToken = `00${randomBytes(30).toString('base64url')}`
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const emulator = await startEmulator({
    apiTokens: [{ token: authnToken, name: 'authn' }],
    // Every scope there is: the gate holds the broad credential, so that its clients need not.
    serviceApps: [{ clientId: GATE_CLIENT_ID, label: 'Narrowgate', jwks: { keys: [await exportJWK(publicKey)] }, scopes: [...new Set(catalog.operations.flatMap(operation => operation.scopes))] }],
    rateLimits: { [burstBucket]: BURST_ORG_LIMIT }
  })
  let gate: Gate | undefined
  const close = async (): Promise<void> => {
    await gate?.drain()
    await emulator.close()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const keys = await writeFolder(folder, { org: emulator.url, port: await freePort(), privateKey: await exportPKCS8(privateKey), authnToken, now })
    gate = await startGate({ configFile: join(folder, 'narrowgate.yaml'), environment: {}, log })
    return { emulator, gate, folder, keys, burstBucket, close }
  } catch (error) {
    await close()
    throw error
  }
}

interface Parts { readonly org: string, readonly port: number, readonly privateKey: string, readonly authnToken: string, readonly now: number }

async function writeFolder (folder: string, parts: Parts): Promise<DemoWorld['keys']> {
  const write = async (path: string, text: string, mode = 0o644): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text, { mode })
  }
  const portal = makeClientKey('account-self-service', undefined, parts.now)
  const directory = makeClientKey('read-only-directory', undefined, parts.now)
  const elsewhere = makeClientKey('elsewhere', undefined, parts.now)
  const expired = makeClientKey('over', undefined, parts.now)
  for (const path of COPIED) {
    const text = await readFile(join(SHIPPED, path), 'utf8')
    const { sha256 } = path === 'account-self-service.yaml' ? portal : directory
    await write(`policies/${path}`, text.replace(/sha256: [0-9a-f]{64}/, `sha256: ${sha256}`))
  }
  await write('policies/elsewhere.yaml', `version: 1\nclient: elsewhere\nauthenticate:\n  ${elsewhere.policyLine}\nnetworks: [192.0.2.0/24]\nallow: [{ operation: getUser }]\n`)
  await write('policies/over.yaml', `version: 1\nclient: over\nexpires: ${day(parts.now - 2 * DAY_MS)}\nauthenticate:\n  ${expired.policyLine}\nallow: [{ operation: getUser }]\n`)
  await write('secrets/service-app.pem', parts.privateKey, 0o600)
  await write('secrets/authn-token', parts.authnToken, 0o600)
  await write('narrowgate.yaml', configText(parts))
  return { portal: portal.key, directory: directory.key, elsewhere: elsewhere.key, expired: expired.key }
}

function configText ({ org, port, now }: Parts): string {
  return `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${org}
    credential:
      serviceApp:
        clientId: ${GATE_CLIENT_ID}
        keys: [{ file: secrets/service-app.pem }]
        scopes: auto
    authnToken:
      value: { file: secrets/authn-token }
      exception: { ticket: DEMO-1, approvedBy: narrowgate demo, expires: ${day(now + 90 * DAY_MS)} }
limits: { ceiling: 50% }
audit:
  sinks: [{ file: { path: audit.jsonl } }]
`
}

const DAY_MS = 86_400_000

function day (time: number): string {
  return new Date(time).toISOString().slice(0, 10)
}

/** publicUrl has to name the port before anything listens there. */
function freePort (): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => { resolve(port) })
    })
  })
}
