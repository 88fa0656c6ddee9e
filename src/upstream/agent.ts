import { X509Certificate } from 'node:crypto'
import { lookup as systemLookup, type LookupAddress, type LookupOptions } from 'node:dns'
import { readFileSync } from 'node:fs'
import type { LookupFunction, Socket } from 'node:net'
import * as tls from 'node:tls'
import { buildConnector, Pool, type Dispatcher } from 'undici'
import type { Secret } from '../domain/secret.js'

/** Our idle timeout lies below any that Okta may have, so that it is we who close (faults.md, keep-alive race). */
const KEEP_ALIVE_MS = 4000
/** A busy connection is replaced after this time, so that a change of the org's addresses is followed. */
const CONNECTION_LIFE_MS = 300_000
/** Okta's largest recorded header block is 4.4 kB; more than this is a 502. */
const MAX_HEADER_BYTES = 32_768

export interface UpstreamPoolOptions {
  /** origin of the org, e.g. `https://acme.okta.com`; http:// only for loopback addresses */
  readonly org: string
  /** PEM texts, added to the system's trust anchors */
  readonly ca?: readonly string[]
  /** most connections; one call at a time on each */
  readonly connections: number
  readonly connectMs: number
  readonly headersMs: number
  readonly idleMs: number
  /** how long a connection is used at most; default 300,000 */
  readonly lifeMs?: number
  /** how names are resolved; default node:dns */
  readonly lookup?: LookupFunction
  /** connections are tunnelled through it (CONNECT); what goes through is TLS with the org, verified as without it */
  readonly proxy?: EgressProxy
}

/** An HTTP proxy between the gate and the org. */
export interface EgressProxy {
  /** origin, http: or https: */
  readonly url: string
  /** of the Proxy-Authorization header, asked for at each connection: it may change */
  readonly authorization?: () => Secret
}

/**
 * The pool of verified connections to one org. There is no option that turns verification off, and
 * NODE_TLS_REJECT_UNAUTHORIZED has no say.
 *
 * @throws TypeError for an `org` that is not an origin or not https (http on loopback), and for a `ca` that is no certificate
 */
export function createUpstreamPool (options: UpstreamPoolOptions): Pool {
  const origin = checkOrigin(options.org)
  const direct = createConnector(options)
  const connect = options.proxy === undefined ? direct : tunnel(options.proxy, options, direct)
  const pool = new Pool(origin, {
    connections: options.connections,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    keepAliveTimeoutThreshold: 1000,
    clientTtl: options.lifeMs ?? CONNECTION_LIFE_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: options.headersMs,
    bodyTimeout: options.idleMs,
    allowH2: false,
    connect: (to, callback) => {
      connect(to, ((error: Error | null, socket: Socket | null) => {
        if (socket !== null && error === null) socket.prependListener('error', renameReset)
        ;(callback as (error: Error | null, socket: Socket | null) => void)(error, socket)
      }) as buildConnector.Callback)
    }
  })
  markOld(pool, options.lifeMs ?? CONNECTION_LIFE_MS)
  return pool
}

/** What undici's Pool notes of a connection, and what its clientTtl is compared with (undici/lib/dispatcher/pool.js). */
interface Aging { ttl?: number }

/**
 * The pool asks the clock for the age of every connection that it looks at, some 2 µs a call when most are busy. Here
 * a connection has no age until a timer says that it is old; then the pool replaces it.
 */
function markOld (pool: Pool, lifeMs: number): void {
  const timers = new WeakMap<object, NodeJS.Timeout>()
  pool.on('connect', (_origin, targets) => {
    for (const target of targets as ReadonlyArray<Dispatcher & Aging>) {
      delete target.ttl
      if (target !== pool) timers.set(target, setTimeout(() => { target.ttl = 1 }, lifeMs).unref())
    }
  })
  pool.on('disconnect', (_origin, targets) => { for (const target of targets) clearTimeout(timers.get(target)) })
}

function createConnector (options: UpstreamPoolOptions): buildConnector.connector {
  return buildConnector({
    secureContext: tls.createSecureContext({ ca: trustAnchors(options.ca), minVersion: 'TLSv1.2' }),
    rejectUnauthorized: true,
    checkServerIdentity: tls.checkServerIdentity,
    allowH2: false,
    // undici's timers above a second fire up to a second late; the promise is "within connectMs".
    timeout: options.connectMs > 1000 ? Math.max(1000, options.connectMs - 500) : options.connectMs,
    lookup: rememberingLookup(options.lookup ?? (systemLookup as LookupFunction))
  } as buildConnector.BuildOptions)
}

/**
 * Connects through an HTTP proxy, as undici's ProxyAgent does it, but hands the tunnel to the very connector that
 * verifies direct connections. A plain org (loopback, for tests) is spoken to through the tunnel as it is.
 */
function tunnel ({ url, authorization }: EgressProxy, options: UpstreamPoolOptions, direct: buildConnector.connector): buildConnector.connector {
  const { connectMs, connections } = options
  const proxy = new Pool(url, { connections, pipelining: 1, headersTimeout: connectMs, connect: createConnector(options) })
  const connect = (to: buildConnector.Options, callback: (error: Error | null, socket: Socket | null) => void): void => {
    const authority = `${to.hostname}:${to.port === '' ? to.protocol === 'https:' ? '443' : '80' : to.port}`
    const headers = { host: authority, ...authorization === undefined ? {} : { 'proxy-authorization': authorization().reveal() } }
    proxy.connect({ path: authority, headers }).then(({ statusCode, socket }) => {
      if (statusCode !== 200) {
        socket.on('error', () => {}).destroy()
        callback(Object.assign(new Error('the proxy refused to connect'), { code: 'PROXY_REFUSED' }), null)
      } else if (to.protocol === 'https:') direct({ ...to, httpSocket: socket as Socket }, callback as unknown as buildConnector.Callback)
      else callback(null, socket as Socket)
    }, (error: Error) => { callback(error, null) })
  }
  return connect as unknown as buildConnector.connector
}

/**
 * undici 7.30.2 takes an ECONNRESET for a regular end when the answer has `Connection: close`: a cut-off body
 * without a length then counts as whole, and if reading was paused, an assertion of its parser kills the process
 * (client-h1.js, onHttpSocketError; both reproduced). Under another code a reset is what it is: an error.
 */
function renameReset (error: NodeJS.ErrnoException): void {
  if (error.code === 'ECONNRESET') error.code = 'UND_ERR_SOCKET'
}

/** An origin that calls may go to, or a TypeError. */
export function checkOrigin (org: string): string {
  let url
  try { url = new URL(org) } catch { throw new TypeError('the upstream org is not a URL') }
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) {
    throw new TypeError('the upstream org must be https://, or http:// on a loopback address')
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '' || url.pathname !== '/') {
    throw new TypeError('the upstream org must be an origin: scheme, host and port only')
  }
  return url.origin
}

function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

/** undefined: node's own default, which holds NODE_EXTRA_CA_CERTS; a list of ours would replace it, so it is repeated. */
function trustAnchors (added: readonly string[] | undefined): string[] | undefined {
  if (added === undefined || added.length === 0) return undefined
  for (const pem of added) {
    // OpenSSL skips what it can't read; an operator's slip must not show only at the first call.
    try { new X509Certificate(pem) } catch { throw new TypeError('an added trust anchor is not a PEM certificate') } // eslint-disable-line no-new
  }
  const { getCACertificates } = tls as { getCACertificates?: (type: 'default') => string[] } // node >= 22.15
  if (getCACertificates !== undefined) return [...getCACertificates('default'), ...added]
  const extra = process.env.NODE_EXTRA_CA_CERTS
  return [...tls.rootCertificates, ...extra === undefined ? [] : [readExtra(extra)], ...added].filter(pem => pem !== '')
}

/** Node itself only warns about a NODE_EXTRA_CA_CERTS that it can't read. */
function readExtra (path: string): string {
  try { return readFileSync(path, 'utf8') } catch { return '' }
}

/** A resolver that falls back to the last good answer: TLS still proves whom we speak to (faults.md, DNS failure). */
function rememberingLookup (lookup: LookupFunction): LookupFunction {
  const known = new Map<string, readonly [string | LookupAddress[], number | undefined]>()
  return (hostname, options: LookupOptions, callback) => {
    const key = `${hostname} ${String(options.family ?? 0)} ${String(options.all ?? false)}`
    lookup(hostname, options, (error, address, family) => {
      if (error === null) known.set(key, [address, family])
      const last = error === null ? undefined : known.get(key)
      if (last === undefined) callback(error, address, family)
      else callback(null, last[0], last[1])
    })
  }
}
