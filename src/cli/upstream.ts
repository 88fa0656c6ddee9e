import { generateKeyPair as generate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { calculateJwkThumbprint, type JWK } from 'jose'
import { isMap, isSeq, parseDocument } from 'yaml'
import type { SecretReference, UpstreamConfig } from '../config/config.js'
import { formatProblem, hasErrors } from '../domain/problem.js'
import { Secret } from '../domain/secret.js'
import { scopesFor } from '../okta/permissions.js'
import { neededOperations } from '../policy/needed.js'
import type { Loaded } from '../server/load.js'
import { createUpstreamPool } from '../upstream/agent.js'
import { createServiceApp } from '../upstream/service-app.js'
import { EXIT } from './exit.js'
import { loadForCalls } from './files.js'
import type { Shell } from './shell.js'
import { UsageFault } from './usage.js'

export interface RotateOptions {
  readonly config: string
  readonly upstream?: string
  /** ES256 or RS256 */
  readonly algorithm?: string
  /** a key of an earlier run, to go on with */
  readonly key?: string
  /** minutes to wait for Okta */
  readonly wait?: string
  /** put the key into narrowgate.yaml */
  readonly write?: boolean
  readonly json?: boolean
}

const ALGORITHMS = ['ES256', 'RS256']
const DEFAULT_MINUTES = 15
const ASK_EVERY_MS = 5000
/** Okta's access tokens live for an hour (facts.md, Service app token). */
const TOKEN_LIFE_MS = 3_600_000
const makePair = promisify(generate)

/**
 * `narrowgate upstream rotate`: a new signing key for a service app, without a gap. Makes the key, prints its public
 * half for Okta, waits until Okta takes it, and puts it first.
 *
 * @returns 0 when Okta takes the key; 1 when it did not within the time
 */
export async function rotate (shell: Shell, options: RotateOptions): Promise<number> {
  const minutes = minutesOf(options.wait)
  const algorithm = options.algorithm ?? 'ES256'
  if (!ALGORITHMS.includes(algorithm)) throw new UsageFault('--algorithm is ES256 or RS256')
  const loaded = await load(shell, options.config)
  const upstream = upstreamOf(loaded, options.upstream)
  const made = options.key === undefined ? await makeKey(options.config, upstream.name, algorithm) : await readKey(options.key)
  const { terminal } = shell
  const isJson = options.json === true
  terminal.err(options.key === undefined ? `The new private key is in ${made.path} (mode 0600).\n` : '')
  terminal.err(`Register this public key with the service app ${clientIdOf(upstream)} (Applications > the app > General > Public keys > Add key), beside the one that is there:\n\n`)
  // Whoever wants JSON at the end has to register it before the end, too.
  terminal[isJson ? 'err' : 'out'](`${JSON.stringify(made.publicJwk, null, 2)}\n`)
  terminal.err(minutes === 0 ? '\n' : `\nWaiting for Okta to take it, ${minutes} ${minutes === 1 ? 'minute' : 'minutes'} at most …\n`)
  const taken = await waitForOkta(shell, loaded, upstream, made.secret, minutes)
  if (!taken) {
    if (isJson) terminal.out(`${JSON.stringify({ accepted: false, key: made.path, publicJwk: made.publicJwk }, null, 2)}\n`)
    terminal.err(`Okta has not taken the key yet; nothing has changed. Go on later with: narrowgate upstream rotate -c ${options.config}${options.upstream === undefined ? '' : ` --upstream ${options.upstream}`} --key ${made.path}\n`)
    return EXIT.findings
  }
  const line = keysLine(options.config, made.path, upstream)
  const written = options.write === true ? await putFirst(options.config, upstream.name, made.path) : false
  const oldUntil = new Date(shell.now() + TOKEN_LIFE_MS).toISOString()
  if (isJson) terminal.out(`${JSON.stringify({ accepted: true, key: made.path, publicJwk: made.publicJwk, keys: line, written, removeOldAfter: oldUntil }, null, 2)}\n`)
  else {
    terminal.err(written ? `Okta takes the key. ${options.config} has it first now; a running gate changes to it by itself.\n` : `Okta takes the key. Put it first under upstreams.${upstream.name}.credential.serviceApp:\n\n  ${line}\n\nA running gate changes to it by itself, and goes on with the old one should anything be wrong.\n`)
    terminal.err(`Remove the old key, in Okta and here, after ${oldUntil} and when narrowgate_credential_position is 1 on every gate: until then a token that it signed for may be in use.\n`)
  }
  return EXIT.fine
}

interface Key { readonly path: string, readonly secret: Secret, readonly publicJwk: JWK }

async function load (shell: Shell, config: string): Promise<Loaded> {
  const loaded = await loadForCalls(shell, config)
  if (loaded.config !== undefined && loaded.policies !== undefined && !hasErrors(loaded.problems)) return loaded
  for (const problem of loaded.problems) shell.terminal.err(`${formatProblem(problem)}\n`)
  throw new UsageFault('these files would not load: run `narrowgate check`')
}

function upstreamOf ({ config }: Loaded, name: string | undefined): UpstreamConfig {
  const apps = [...config!.upstreams.values()].filter(({ credential }) => credential.kind === 'serviceApp')
  const found = name === undefined ? apps : apps.filter(one => one.name === name)
  if (found.length === 1) return found[0]!
  if (found.length > 1) throw new UsageFault(`several upstreams have a service app: name one with --upstream (${apps.map(one => one.name).join(', ')})`)
  throw new UsageFault(name === undefined ? 'no upstream has a service app: API tokens have a second slot, `next`' : `there is no upstream ${JSON.stringify(name)} with a service app`)
}

function clientIdOf ({ credential }: UpstreamConfig): string {
  return credential.kind === 'serviceApp' ? credential.clientId : ''
}

/** As a JWK with a `kid` of its own, so that Okta can tell the two keys apart. */
async function makeKey (config: string, upstream: string, algorithm: string): Promise<Key> {
  const { privateKey, publicKey } = algorithm === 'ES256' ? await makePair('ec', { namedCurve: 'P-256' }) : await makePair('rsa', { modulusLength: 3072 })
  const bare = publicKey.export({ format: 'jwk' }) as JWK
  const kid = await calculateJwkThumbprint(bare)
  const path = join(dirname(config), 'secrets', `${upstream}-${kid.replace(/[^A-Za-z0-9]/g, '').slice(0, 8)}.jwk.json`)
  if (existsSync(path)) throw new UsageFault(`${path} is there already`)
  const text = JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' })
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, `${text}\n`, { mode: 0o600, flag: 'wx' })
  return { path, secret: new Secret(text), publicJwk: { ...bare, kid, alg: algorithm, use: 'sig' } }
}

async function readKey (path: string): Promise<Key> {
  let jwk: JWK
  try {
    jwk = JSON.parse(await readFile(path, 'utf8')) as JWK
  } catch {
    throw new UsageFault(`--key: ${path} is no key of an earlier run`)
  }
  const { kty, crv, x, y, n, e, kid, alg, use } = jwk
  if (typeof kid !== 'string' || (jwk.d === undefined)) throw new UsageFault(`--key: ${path} is no private key with a kid`)
  return { path, secret: new Secret(JSON.stringify(jwk)), publicJwk: JSON.parse(JSON.stringify({ kty, crv, x, y, n, e, kid, alg, use })) as JWK }
}

/** Asks for a token with the new key alone, until there is one. */
async function waitForOkta (shell: Shell, loaded: Loaded, upstream: UpstreamConfig, key: Secret, minutes: number): Promise<boolean> {
  const { credential } = upstream
  if (credential.kind !== 'serviceApp') return false
  const needed = [...neededOperations(loaded.policies!.clients.values())].filter(one => one.upstream === upstream.name && one.credential === 'upstream').map(one => one.operation)
  const ca = upstream.ca === undefined ? undefined : [loaded.secrets.get(upstream.ca)!.reveal()]
  const authorization = upstream.proxy?.authorization === undefined ? undefined : loaded.secrets.get(upstream.proxy.authorization)
  const proxy = upstream.proxy === undefined ? undefined : { url: upstream.proxy.url, authorization: authorization === undefined ? undefined : () => authorization }
  const pool = createUpstreamPool({ org: upstream.org, ca, connections: 2, connectMs: upstream.timeouts.connectMs, headersMs: 15_000, idleMs: 15_000, proxy })
  const stop = shell.stopSignal()
  const deadline = performance.now() + minutes * 60_000
  try {
    for (;;) {
      const app = createServiceApp({
        dispatcher: pool,
        org: upstream.org,
        clientId: credential.clientId,
        keys: () => [key],
        scopes: credential.scopes === 'auto' ? scopesFor(needed) : credential.scopes,
        dpop: credential.dpop,
        clock: { now: shell.now, monotonic: () => performance.now(), random: Math.random, after: () => () => {} }
      })
      await app.ready()
      const { available, lastError, lastErrorDetail } = app.status()
      app.close()
      // A scope that is not granted yet is no matter of the key.
      if (available || lastErrorDetail === 'invalid_scope') return true
      if (lastErrorDetail !== 'invalid_client') shell.terminal.err(`  ${String(lastError)} ${lastErrorDetail ?? ''}\n`)
      if (stop.aborted || performance.now() + ASK_EVERY_MS > deadline) return false
      await setTimeout(ASK_EVERY_MS, undefined, { signal: stop }).catch(() => {})
    }
  } finally {
    await pool.destroy()
  }
}

function keysLine (config: string, path: string, { credential }: UpstreamConfig): string {
  const here = dirname(resolve(config))
  const old = credential.kind === 'serviceApp' ? credential.keys : []
  const texts = old.map(reference => writtenOf(reference, here))
  return `keys: [{ file: ${relative(here, resolve(path))} }${texts.slice(0, 1).map(text => `, ${text}`).join('')}]`
}

/** A reference as it is written in narrowgate.yaml. */
function writtenOf (reference: SecretReference, here: string): string {
  const { place: _place, confidential: _confidential, kind, ...rest } = reference
  if (kind === 'env') return `{ env: ${reference.name} }`
  if (kind === 'file') return `{ file: ${reference.path.startsWith('/') ? relative(here, reference.path) : reference.path} }`
  return `{ ${kind}: { ${Object.entries(rest).map(([name, value]) => `${name}: ${value}`).join(', ')} } }`
}

/** Changes one list of narrowgate.yaml and leaves the rest, comments included, as it is. */
async function putFirst (config: string, upstream: string, path: string): Promise<boolean> {
  const document = parseDocument(await readFile(config, 'utf8'))
  const keys = document.getIn(['upstreams', upstream, 'credential', 'serviceApp', 'keys'])
  if (!isSeq(keys)) return false
  const entry = document.createNode({ file: relative(dirname(resolve(config)), resolve(path)) })
  if (isMap(entry)) entry.flow = true
  keys.items = [entry, ...keys.items.slice(0, 1)]
  const next = `${config}.next`
  await writeFile(next, String(document), { mode: (await stat(config)).mode })
  await rename(next, config)
  return true
}

function minutesOf (text: string | undefined): number {
  if (text === undefined) return DEFAULT_MINUTES
  if (!/^(?:0|[1-9][0-9]{0,3})$/.test(text)) throw new UsageFault(`--wait: ${JSON.stringify(text)} is not a number of minutes`)
  return Number(text)
}
