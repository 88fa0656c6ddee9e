// Okta of the fault runs, a process of its own on raw sockets. What it does stands in the user's id: `race…` closes up to 20 ms after its
// answer, `idle…` when nothing has come for five seconds, `later…` answers after two seconds, `list…` is 5 MB, `page…` 512 kB, `bomb…` a gzip body of 1 MB that unpacks to a gigabyte,
// `refused…` a 401 with such a body, `spent…` a 429; all else is a small user at once. Counts what arrives, by request line.
import { gzipSync } from 'node:zlib'
import { serveRaw } from '../raw-okta.mjs'

const RESET_SECONDS = 5
const user = JSON.stringify({ id: '00u1abcdefghijklmnop', status: 'ACTIVE', profile: { login: 'user@example.com', note: 'x'.repeat(300) } })
const list = Buffer.from(JSON.stringify([{ note: 'x'.repeat(5 * 1024 * 1024) }]))
const page = list.subarray(0, 512 * 1024)
// Members of a gzip file may follow each other: 64 times 16 MB of zeros.
const bomb = Buffer.concat(Array(64).fill(gzipSync(Buffer.alloc(16 * 1024 * 1024), { level: 9 })))
const seen = new Map()

const head = (status, length, lines = [], remaining = 999_999, reset = 60) => [`HTTP/1.1 ${status}`, 'Content-Type: application/json', `X-Rate-Limit-Limit: ${remaining === 0 ? 1000 : 1_000_000}`, `X-Rate-Limit-Remaining: ${remaining}`, `X-Rate-Limit-Reset: ${Math.ceil(Date.now() / 1000) + reset}`, ...lines, `Content-Length: ${length}`, '', ''].join('\r\n')

function answer (socket, target) {
  const say = (top, body = '') => { if (socket.writable) { socket.write(top); socket.write(body) } }
  const kind = /\/users\/([a-z]+)/.exec(target)?.[1]
  switch (kind) {
    case 'race': say(head('200 OK', user.length), user); setTimeout(() => { socket.destroy() }, Math.random() * 20); return
    case 'later': setTimeout(say, 2000, head('200 OK', user.length), user); return
    case 'list': say(head('200 OK', list.length), list); return
    case 'page': say(head('200 OK', page.length), page); return
    case 'bomb': say(head('200 OK', bomb.length, ['Content-Encoding: gzip']), bomb); return
    case 'refused': say(head('401 Unauthorized', bomb.length, ['Content-Encoding: gzip']), bomb); return
    case 'idle': say(head('200 OK', user.length), user); socket.setTimeout(5000); return
    case 'spent': setTimeout(say, 100, head('429 Too Many Requests', 2, [], 0, RESET_SECONDS), '{}'); return
    default: say(head('200 OK', user.length), user)
  }
}

serveRaw((socket, target, text) => {
  const line = text.slice(0, text.indexOf('\r\n')).replace(' HTTP/1.1', '')
  seen.set(line, (seen.get(line) ?? 0) + 1)
  answer(socket, target)
}, () => {
  const figures = { total: [...seen.values()].reduce((sum, each) => sum + each, 0), seen: [...seen], bomb: bomb.length }
  seen.clear()
  return figures
})
