import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A redis-server of the test's own. */
export class RedisServer {
  readonly #arguments: readonly string[]
  readonly folder = mkdtempSync(join(tmpdir(), 'narrowgate-redis-'))
  #child: ChildProcess | undefined

  private constructor (readonly port: number, more: readonly string[]) {
    this.#arguments = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.folder, ...more]
  }

  static async start (more: readonly string[] = [], port?: number): Promise<RedisServer> {
    const server = new RedisServer(port ?? await freePort(), more)
    await server.start()
    return server
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /** Empty, as after a crash without persistence. @throws where redis-server is not installed */
  async start (): Promise<void> {
    const child = spawn('redis-server', this.#arguments, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    await new Promise<void>((resolve, reject) => {
      child.once('error', error => { reject(new Error(`these tests need a redis-server (apt-get install redis-server): ${error.message}`)) })
      child.once('exit', code => { reject(new Error(`redis-server ended with ${code}`)) })
      let text = ''
      child.stdout!.on('data', chunk => { if ((text += chunk).includes('Ready to accept connections')) resolve() })
    })
  }

  async kill (): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  pause (): void { this.#child!.kill('SIGSTOP') }

  resume (): void { this.#child!.kill('SIGCONT') }

  async stop (): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A way to a server that can be made slow. */
export class SlowRoad {
  delayMs = 0
  readonly #open = new Set<Socket>()
  readonly #server = createServer(client => { this.#join(client) })

  private constructor (readonly target: number) {}

  static async to (target: number): Promise<SlowRoad> {
    const road = new SlowRoad(target)
    await new Promise<void>(resolve => road.#server.listen(0, '127.0.0.1', resolve))
    return road
  }

  get port (): number { return (this.#server.address() as AddressInfo).port }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  close (): void {
    for (const socket of this.#open) socket.destroy()
    this.#server.close()
  }

  #join (client: Socket): void {
    const server = createConnection(this.target, '127.0.0.1')
    for (const [from, to] of [[client, server], [server, client]] as const) {
      this.#open.add(from)
      from.on('data', chunk => { if (this.delayMs === 0) to.write(chunk); else setTimeout(() => to.write(chunk), this.delayMs / 2) })
      from.on('error', () => {}).on('close', () => { this.#open.delete(from); to.destroy() })
    }
  }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
