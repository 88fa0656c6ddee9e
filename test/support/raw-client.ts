import { connect, type Socket } from 'node:net'

/** An answer as it stood on the wire. */
export class RawAnswer {
  constructor (readonly status: number, readonly lines: readonly string[], readonly body: Buffer) {}

  /** every value of a header, one per line */
  all (name: string): string[] {
    const prefix = `${name.toLowerCase()}:`
    return this.lines.filter(line => line.toLowerCase().startsWith(prefix)).map(line => line.slice(prefix.length).trim())
  }

  header (name: string): string | undefined { return this.all(name)[0] }

  get text (): string { return this.body.toString() }

  /** Okta's error JSON, for refusals */
  get error (): { errorCode: string, errorSummary: string, errorId: string, errorCauses: { errorSummary: string }[] } { return JSON.parse(this.text) }
}

/** A connection that sends bytes as they are and reads answers one by one. */
export class RawClient {
  #received = Buffer.alloc(0)
  #ended = false
  #wake: () => void = () => {}
  readonly socket: Socket
  /** 1xx answers that came */
  readonly informational: number[] = []

  readonly #heard: (bytes: Buffer) => void

  private constructor (socket: Socket, heard: (bytes: Buffer) => void) {
    this.socket = socket
    this.#heard = heard
    const end = (): void => { this.#ended = true; this.#wake() }
    socket.on('data', chunk => { this.#heard(chunk); this.#received = Buffer.concat([this.#received, chunk]); this.#wake() })
    socket.on('error', end).on('end', end).on('close', end)
  }

  /** @param heard is given all that comes, chunk by chunk */
  static async connect (port: number, host = '127.0.0.1', heard: (bytes: Buffer) => void = () => {}): Promise<RawClient> {
    const socket = connect({ port, host, noDelay: true })
    await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
    return new RawClient(socket, heard)
  }

  send (bytes: string | Buffer): void { this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes) }

  destroy (): void { this.socket.destroy() }

  get received (): number { return this.#received.length }

  /** The next whole answer; undefined when the connection ended before it was whole. `bodyless`: to HEAD. */
  async answer (timeoutMs = 8000, bodyless = false): Promise<RawAnswer | undefined> {
    const end = Date.now() + timeoutMs
    for (;;) {
      const found = this.#take(bodyless)
      if (found !== undefined) return found
      if (this.#ended) return undefined
      if (Date.now() > end) throw new Error(`no answer within ${timeoutMs} ms; so far: ${this.#received.toString('latin1', 0, 300)}`)
      await new Promise<void>(resolve => { this.#wake = resolve; setTimeout(resolve, 50) })
    }
  }

  /** Whether the gate ends the connection within a time. */
  async ends (timeoutMs = 3000): Promise<boolean> {
    for (const end = Date.now() + timeoutMs; !this.#ended && Date.now() < end;) await new Promise<void>(resolve => { this.#wake = resolve; setTimeout(resolve, 50) })
    return this.#ended
  }

  #take (bodyless: boolean): RawAnswer | undefined {
    for (;;) {
      const headEnd = this.#received.indexOf('\r\n\r\n')
      if (headEnd < 0) return undefined
      const [statusLine = '', ...lines] = this.#received.toString('latin1', 0, headEnd).split('\r\n')
      const status = Number(statusLine.split(' ')[1])
      const start = headEnd + 4
      if (status < 200) { this.informational.push(status); this.#received = this.#received.subarray(start); continue }
      const found = bodyless || status === 204 || status === 304 ? { body: Buffer.alloc(0), end: start } : this.#body(lines, start)
      if (found === undefined) return undefined
      this.#received = this.#received.subarray(found.end)
      return new RawAnswer(status, lines, found.body)
    }
  }

  #body (lines: readonly string[], start: number): { body: Buffer, end: number } | undefined {
    const value = (name: string): string | undefined => lines.find(line => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim()
    const length = value('content-length')
    if (length !== undefined) {
      const end = start + Number(length)
      return this.#received.length < end ? undefined : { body: this.#received.subarray(start, end), end }
    }
    if (value('transfer-encoding')?.toLowerCase() !== 'chunked') return this.#ended ? { body: this.#received.subarray(start), end: this.#received.length } : undefined
    const chunks: Buffer[] = []
    for (let at = start; ;) {
      const lineEnd = this.#received.indexOf('\r\n', at)
      if (lineEnd < 0) return undefined
      const size = Number.parseInt(this.#received.toString('latin1', at, lineEnd), 16)
      const next = lineEnd + 2 + size + 2
      if (this.#received.length < next) return undefined
      if (size === 0) return { body: Buffer.concat(chunks), end: next }
      chunks.push(this.#received.subarray(lineEnd + 2, lineEnd + 2 + size))
      at = next
    }
  }
}
