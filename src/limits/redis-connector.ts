import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { AbstractConnector, Redis, SentinelConnector, type SentinelConnectionOptions, type StandaloneConnectionOptions } from 'ioredis'

type Options = StandaloneConnectionOptions & SentinelConnectionOptions & { readonly sentinels?: readonly unknown[] | null }
type Told = Parameters<SentinelConnector['connect']>[0]

/**
 * How the Redis client opens its sockets, with somebody who hears every error of them. The client's own connectors listen
 * for one (ioredis 6.0.0, `stream.once('error')`), and a TLS socket can have two: a certificate that is refused, and what
 * the server sends after it. The second would end the process.
 */
class Connector extends AbstractConnector {
  readonly #options: Options
  readonly #sentinel: SentinelConnector | undefined

  constructor (options: unknown) {
    const { disconnectTimeout, sentinels } = options as Options
    super(disconnectTimeout!)
    this.#options = options as Options
    // Behind Sentinels the library's own, whose connections to the Sentinels come here in their turn.
    this.#sentinel = sentinels == null ? undefined : new SentinelConnector(this.#options)
  }

  override check (info: unknown): boolean { return this.#sentinel?.check(info as never) ?? true }

  override async connect (told: Told): Promise<Socket> {
    this.connecting = true
    if (this.#sentinel !== undefined) return this.#hold(await this.#sentinel.connect(told) as Socket)
    // The client attaches its listeners when this has resolved, and has not yet let go of what called it.
    await new Promise<void>(resolve => { process.nextTick(resolve) })
    if (!this.connecting) throw new Error('Connection is closed.')
    const { host, port, family, path, tls } = this.#options
    const to = { ...path == null ? { host, port, family } : { path }, ...tls } as ConnectionOptions & { port: number }
    return this.#hold(tls == null ? connectPlain(to) : connectTls(to))
  }

  override disconnect (): void {
    this.#sentinel?.disconnect()
    // Behind a Sentinel the stream is the Sentinel's connector's to end.
    if (this.#sentinel === undefined) super.disconnect()
    this.connecting = false
  }

  #hold (socket: Socket): Socket {
    this.stream = socket
    socket.on('error', error => { this.firstError ??= error })
    return socket
  }
}

/**
 * From here on every connection of the client's goes through it: also those that the client makes by itself, to the nodes
 * of a cluster, for its subscription there, and to Sentinels. They know no option that would reach them, but the defaults.
 */
export function hearEveryError (): void {
  Redis['defaultOptions'].Connector = Connector
}
