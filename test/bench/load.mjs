// The benchmark's load: raw keep-alive sockets, one request at a time on each, a fixed list of requests in turn.
// node load.mjs '{"url","authorization","connections","requests","targets":[{method,path,body?,status?}], "rate"?, "ca"?}'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import tls from 'node:tls'

const options = JSON.parse(process.argv[2])
const { hostname, port, protocol } = new URL(options.url)
const secure = protocol === 'https:' ? { ca: readFileSync(options.ca) } : undefined
const requests = options.targets.map(({ method, path, body }) => Buffer.from(
  `${method} ${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: ${options.authorization}\r\nAccept: application/json\r\nUser-Agent: okta-sdk-nodejs/8.1.0 node/20 linux/6\r\n` +
  (body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`) + `\r\n${body ?? ''}`))
const expect = options.targets.map(({ status }) => String(status ?? 200))

let sent = 0
let done = 0
let bytes = 0
/** answers of another status than the request's own */
let wrong = 0
const statuses = {}
const latencies = new Float64Array(options.requests)
const start = performance.now()

/** When request n may go out: at once, or at a fixed rate (open loop, so that a stall is seen in full). */
const dueAt = n => options.rate === undefined ? 0 : start + n * 1000 / options.rate

function connect () {
  return new Promise((resolve, reject) => {
    const socket = secure === undefined ? net.connect(Number(port), hostname) : tls.connect({ port: Number(port), host: hostname, ...secure })
    socket.setNoDelay(true)
    let due = 0
    let expected = -1
    let seen = 0
    let head = ''
    let n = 0
    const next = () => {
      if (sent >= options.requests) { socket.end(); resolve(); return }
      n = sent++
      due = dueAt(n)
      const wait = due - performance.now()
      const write = () => { if (options.rate === undefined) due = performance.now(); expected = -1; seen = 0; head = ''; socket.write(requests[n % requests.length]) }
      if (wait > 1) setTimeout(write, wait)
      else write()
    }
    socket.on(secure === undefined ? 'connect' : 'secureConnect', next)
    socket.on('data', chunk => {
      bytes += chunk.length
      if (expected < 0) {
        head += chunk.toString('latin1')
        const end = head.indexOf('\r\n\r\n')
        if (end < 0) return
        const length = /content-length: (\d+)/i.exec(head)
        expected = end + 4 + Number(length?.[1] ?? 0)
        seen = head.length
      } else seen += chunk.length
      if (seen < expected) return
      const status = head.slice(9, 12)
      statuses[status] = (statuses[status] ?? 0) + 1
      if (status !== expect[n % expect.length] && wrong++ < 3) console.error(`${status}: ${requests[n % requests.length].toString('latin1').split('\r')[0]}`)
      latencies[done] = performance.now() - due
      done++
      next()
    })
    socket.on('error', reject)
    socket.on('close', () => { if (sent < options.requests) connect().then(resolve, reject); else resolve() })
  })
}

await Promise.all(Array.from({ length: options.connections }, connect))
const sorted = latencies.subarray(0, done).sort()
const at = share => Math.round(sorted[Math.min(done - 1, Math.floor(done * share))] * 1000) / 1000
console.log(JSON.stringify({ done, seconds: (performance.now() - start) / 1000, statuses, wrong, bytes, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) }))
