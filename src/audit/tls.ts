import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { SendFault, type Sender } from './deliver.js'
import { syslogFrame } from './payloads.js'

const DEADLINE_MS = 10_000
/** Syslog has no answer: what was written so shortly before a connection ended is sent again. */
const DOUBT_MS = 5_000
/** More than this is not on its way: socket buffers hold a few megabytes. */
const DOUBT_CHARACTERS = 16 * 1024 * 1024
const RECONNECT_MS = 1_000

/** What one write held, and when it was done. */
interface Batch { readonly text: string, readonly at: number }

export interface SyslogOptions extends Pick<ConnectionOptions, 'host' | 'port' | 'ca' | 'cert' | 'key' | 'servername'> {
  readonly gate: string
}

/**
 * Sends RFC 5424 messages over TLS (RFC 5425), one connection, verified. What is in doubt after a break goes first over the
 * next connection, which is tried for until there is one.
 */
export function syslogSender ({ gate, ...options }: SyslogOptions): Sender {
  let socket: TLSSocket | undefined
  let opening: Promise<TLSSocket> | undefined
  let recent: Batch[] = []
  let doubtful: Batch[] = []
  let stopped = false

  function remember (text: string): void {
    const now = Date.now()
    recent.push({ text, at: now })
    let bytes = recent.reduce((sum, one) => sum + one.text.length, 0)
    while (recent.length > 1 && (recent[0]!.at < now - DOUBT_MS || bytes > DOUBT_CHARACTERS)) bytes -= recent.shift()!.text.length
  }

  async function connected (): Promise<TLSSocket> {
    const fresh = connect({ ...options, minVersion: 'TLSv1.2' })
    fresh.setKeepAlive(true, 30_000)
    fresh.on('error', () => {}).on('data', () => {})
    await within(fresh, done => { fresh.once('secureConnect', () => { done() }) })
    fresh.once('close', () => {
      if (socket !== fresh) return
      socket = undefined
      const since = Date.now() - DOUBT_MS
      doubtful = [...recent.filter(({ at }) => at >= since), ...doubtful]
      recent = []
      sendDoubtful()
    })
    socket = fresh
    for (let next = doubtful[0]; next !== undefined; next = doubtful[0]) {
      const { text } = next
      await within(fresh, done => { fresh.write(text, done) })
      doubtful.shift()
      remember(text)
    }
    return fresh
  }

  async function open (): Promise<TLSSocket> {
    if (socket !== undefined && !socket.destroyed && socket.writable && opening === undefined) return socket
    opening ??= connected().finally(() => { opening = undefined })
    return await opening
  }

  function sendDoubtful (): void {
    if (doubtful.length === 0 || stopped) return
    setTimeout(() => { if (!stopped) open().catch(sendDoubtful) }, RECONNECT_MS).unref()
  }

  return {
    async send (lines) {
      const now = Date.now()
      const text = lines.map(line => syslogFrame(line, gate, process.pid, now)).join('')
      const to = await open()
      await within(to, done => { to.write(text, done) })
      remember(text)
    },
    close () {
      stopped = true
      socket?.end()
    }
  }
}

/** Waits for a socket's work, not longer than the deadline and not beyond its end. */
async function within (socket: TLSSocket, start: (done: (error?: Error | null) => void) => void): Promise<void> {
  const timer = setTimeout(() => { socket.destroy(new SendFault('ETIMEDOUT', false)) }, DEADLINE_MS)
  try {
    await new Promise<void>((resolve, reject) => {
      const ended = (): void => { reject(new SendFault('ECONNRESET', false)) }
      socket.once('error', reject).once('close', ended)
      start(error => {
        socket.removeListener('error', reject).removeListener('close', ended)
        if (error == null) resolve()
        else reject(error)
      })
    })
  } finally {
    clearTimeout(timer)
  }
}
