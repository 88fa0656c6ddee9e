import { Cluster, Redis, type ClusterOptions, type RedisOptions } from 'ioredis'
import { hearEveryError } from './redis-connector.js'
import { SCRIPT } from './script.js'
import type { Line } from './shared-call.js'

/** Where the store is. */
export interface RedisAddress {
  /** redis://[user:password@]host[:port][/database], rediss:// for TLS; with Sentinel or Cluster only user, password, database and TLS of it count */
  readonly url: string
  /** PEM, added to nothing: with it, only this authority is trusted */
  readonly ca?: string
  /** finds the master by its name */
  readonly sentinel?: { readonly name: string, readonly nodes: readonly string[] }
  /** some nodes of a cluster */
  readonly cluster?: readonly string[]
  /** the longest that a command may take, ms */
  readonly commandTimeoutMs: number
  /** what every key begins with */
  readonly prefix: string
}

/** What lies beside the limits: names that count once. */
export interface Notes {
  /** @returns true when it was not there before. Rejects when there is no answer in time */
  note (name: string, ms: number): Promise<boolean>
}

/** The connection under a line. */
export interface Connection {
  /** Resolves when it stands, has failed once, or after `ms`. Never rejects. */
  connected (ms: number): Promise<void>
}

type Scripted = (Redis | Cluster) & { narrowgate (key: string, ...args: string[]): Promise<string> }

const CONNECT_MS = 2000
/** Beats come every half second: a connection that is silent for this long is dead. */
const SILENT_MS = 5000
const RETRY_MS = 1000

/**
 * The way to Redis or Valkey. Nothing is queued while there is no connection and nothing is ever sent twice: a batch
 * that gets no answer in time has failed. Steps of one turn of the event loop are one command already, so the client's
 * own pipelining has nothing to add.
 *
 * @param onError connection errors, for the log; addresses only, never the password
 */
export function createLine (address: RedisAddress, onError: (error: Error) => void): Line & Notes & Connection {
  const { commandTimeoutMs } = address
  const client = connect(address) as Scripted
  client.defineCommand('narrowgate', { numberOfKeys: 1, lua: SCRIPT })
  /** why there is no connection, for commands that can only say that there is none */
  let why: string | undefined
  client.on('error', (error: Error & { lastNodeError?: Error }) => {
    // Sentinel's says how long the client will wait, each time longer.
    const message = error.message.replace(/ Retrying from scratch after \d+ms\./, '')
    why = error.lastNodeError === undefined ? message : `${message} ${error.lastNodeError.message}`
    onError(new Error(why))
  })
  client.on('ready', () => { why = undefined })
  return {
    connected: async ms => {
      if (client.status === 'ready') return
      await new Promise<void>(resolve => {
        for (const event of ['ready', 'error']) client.once(event, () => { resolve() })
        setTimeout(resolve, ms).unref()
      })
    },
    async run (upstream, args) {
      if (client.status !== 'ready') throw new Error(why ?? 'there is no connection')
      return await inTime(client.narrowgate(`${address.prefix}{${upstream}}`, ...args), commandTimeoutMs)
    },
    async time () {
      if (client.status !== 'ready') throw new Error(why ?? 'there is no connection')
      const reply = await inTime<Array<string | number>>(client instanceof Cluster ? clusterTime(client) : client.time(), commandTimeoutMs)
      return Number(reply[0]) * 1000 + Math.floor(Number(reply[1]) / 1000)
    },
    async note (name, ms) {
      return await inTime(client.set(`${address.prefix}once:${name}`, '1', 'PX', ms, 'NX'), commandTimeoutMs) === 'OK'
    },
    async close () { client.disconnect() }
  }
}

/**
 * Rejects when there is no answer in time. The client's own `commandTimeout` would take a pause of this process for one
 * of the server: its timer fires before the answer that lies in the socket is read, so here it looks there once more.
 */
async function inTime<T> (answer: Promise<T>, ms: number): Promise<T> {
  return await new Promise((resolve, reject) => {
    const late = (): void => { reject(new Error(`no answer within ${ms} ms`)) }
    const timer = setTimeout(() => { setImmediate(() => { setImmediate(late) }) }, ms)
    answer.then(value => { clearTimeout(timer); resolve(value) }, (error: unknown) => { clearTimeout(timer); reject(error) })
  })
}

/** Any node's clock will do to estimate how far off this machine's is. */
async function clusterTime (client: Cluster): Promise<Array<string | number>> {
  const [node] = client.nodes('master')
  if (node === undefined) throw new Error('no node of the cluster can be reached')
  return await node.time()
}

function connect ({ url, ca, sentinel, cluster }: RedisAddress): Redis | Cluster {
  hearEveryError()
  const at = new URL(url)
  const tls = at.protocol === 'rediss:' ? { ca } : undefined
  const database = Number(at.pathname.slice(1))
  const options: RedisOptions = {
    host: at.hostname.replace(/^\[|\]$/g, ''),
    port: at.port === '' ? 6379 : Number(at.port),
    username: at.username === '' ? undefined : decodeURIComponent(at.username),
    password: at.password === '' ? undefined : decodeURIComponent(at.password),
    db: Number.isInteger(database) ? database : 0,
    tls,
    connectionName: 'narrowgate',
    connectTimeout: CONNECT_MS,
    socketTimeout: SILENT_MS,
    enableOfflineQueue: false,
    // It would ask INFO, which an ACL may close; a server that still loads its data refuses the first command as well.
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    retryStrategy: times => Math.min(RETRY_MS, 50 * times),
    // A master that has become a replica: the name leads to the new one.
    reconnectOnError: error => error.message.startsWith('READONLY') && sentinel !== undefined
  }
  if (cluster !== undefined) {
    const { host: _host, port: _port, retryStrategy: _retry, enableOfflineQueue: _queue, ...redisOptions } = options
    const clusterOptions: ClusterOptions = {
      redisOptions,
      enableOfflineQueue: false,
      maxRedirections: 3,
      retryDelayOnFailover: 0,
      retryDelayOnClusterDown: 0,
      clusterRetryStrategy: times => Math.min(RETRY_MS, 50 * times)
    }
    return new Cluster(cluster.map(nodeOf), clusterOptions)
  }
  if (sentinel === undefined) return new Redis(options)
  return new Redis({ ...options, host: undefined, port: undefined, sentinels: sentinel.nodes.map(nodeOf), name: sentinel.name, sentinelTLS: tls, enableTLSForSentinelMode: tls !== undefined })
}

function nodeOf (text: string): { host: string, port: number } {
  const { hostname, port } = new URL(`redis://${text}`)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 6379 : Number(port) }
}
