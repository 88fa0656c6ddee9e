import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A redis-server of the test's own. */
export class RedisServer {
  #arguments: readonly string[] = []
  readonly folder = mkdtempSync(join(tmpdir(), 'narrowgate-redis-'))
  #child: ChildProcess | undefined

  private constructor (readonly port: number) {}

  /** A port and a folder for one that is started later. */
  static async prepare (): Promise<RedisServer> {
    return new RedisServer(await freePort())
  }

  static async start (more: readonly string[] = []): Promise<RedisServer> {
    const server = await RedisServer.prepare()
    await server.start(more)
    return server
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /**
   * Empty, as after a crash without persistence.
   *
   * @param more arguments; absent: as before
   * @param sentinel a configuration in the folder: it runs as a Sentinel
   *
   * @throws where redis-server is not installed
   */
  async start (more: readonly string[] = this.#arguments, sentinel?: string): Promise<void> {
    this.#arguments = more
    const program = sentinel !== undefined ? [sentinel, '--sentinel'] : ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', this.folder, ...more]
    const child = spawn('redis-server', program, { cwd: this.folder, stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    await new Promise<void>((resolve, reject) => {
      let text = ''
      child.once('error', error => { reject(new Error(`these tests need a redis-server (apt-get install redis-server): ${error.message}`)) })
      child.once('exit', code => { reject(new Error(`redis-server ended with ${code}:\n${text}`)) })
      child.stdout!.on('data', chunk => { if (/Ready to accept connections|\+monitor/.test(text += chunk)) resolve() })
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
  // Without noDelay the road itself would add the 40 ms of a delayed acknowledgement to now and then an answer.
  readonly #server = createServer({ noDelay: true }, client => { this.#join(client) })

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
    const server = createConnection({ port: this.target, host: '127.0.0.1', noDelay: true })
    for (const [from, to] of [[client, server], [server, client]] as const) {
      this.#open.add(from)
      // In order, as TCP is: what is sent when the road is fast again does not overtake what is still on it.
      let last = Promise.resolve()
      let waiting = 0
      from.on('data', chunk => {
        if (this.delayMs === 0 && waiting === 0) { to.write(chunk); return }
        const due = performance.now() + this.delayMs / 2
        waiting++
        last = last.then(async () => { await new Promise(resolve => setTimeout(resolve, due - performance.now())) }).then(() => { waiting--; to.write(chunk) })
      })
      from.on('error', () => {}).on('close', () => { this.#open.delete(from); to.destroy() })
    }
  }
}

export async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
