import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { SendFault, type Sender } from './deliver.js'
import { syslogFrame } from './payloads.js'

const DEADLINE_MS = 10_000
/** Syslog has no answer: what was written so shortly before a connection ended is sent again. */
const DOUBT_MS = 5_000

export interface SyslogOptions extends Pick<ConnectionOptions, 'host' | 'port' | 'ca' | 'cert' | 'key' | 'servername'> {
  readonly gate: string
}

/** Sends RFC 5424 messages over TLS (RFC 5425), one connection, verified. */
export function syslogSender ({ gate, ...options }: SyslogOptions): Sender {
  let socket: TLSSocket | undefined
  let last = { text: '', at: 0 }
  let doubtful = ''

  async function open (): Promise<TLSSocket> {
    if (socket !== undefined && !socket.destroyed && socket.writable) return socket
    const fresh = connect({ ...options, minVersion: 'TLSv1.2' })
    fresh.setKeepAlive(true, 30_000)
    fresh.on('error', () => {}).on('data', () => {})
    await within(fresh, done => { fresh.once('secureConnect', () => { done() }) })
    fresh.once('close', () => {
      if (socket !== fresh) return
      socket = undefined
      if (Date.now() - last.at < DOUBT_MS) doubtful = last.text
    })
    socket = fresh
    if (doubtful !== '') {
      await within(fresh, done => { fresh.write(doubtful, done) })
      doubtful = ''
    }
    return fresh
  }

  return {
    async send (lines) {
      const now = Date.now()
      const text = lines.map(line => syslogFrame(line, gate, process.pid, now)).join('')
      const to = await open()
      await within(to, done => { to.write(text, done) })
      last = { text, at: Date.now() }
    },
    close () { socket?.end() }
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
