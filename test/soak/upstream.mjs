// The soak's Okta, a process of its own on raw sockets. What it answers stands in the path: `slow` waits, `big` is 256 kB,
// `gone` closes without a word, `cut` ends in the middle of its body; all else is a small user at once. It looks at what arrives:
// the gate's credential and nothing of a client's. Sends { port } to its parent; answers 'figures' with what it has seen.
import { serveRaw } from './raw-okta.mjs'

const CREDENTIAL = 'SSWS 00upstreamtoken'
const CLIENTS_OWN = /\r\n(?:cookie|x-forwarded-for|dpop|x-soak)[^\r]*|ngk_[^\r]*/i
const figures = { requests: 0, wrong: 0, example: undefined }

const head = length => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Rate-Limit-Limit: 1000000\r\nX-Rate-Limit-Remaining: 999999\r\nX-Rate-Limit-Reset: ${Math.floor(Date.now() / 1000) + 60}\r\nX-Okta-Request-Id: soak\r\nSet-Cookie: sid=x\r\nContent-Length: ${length}\r\n\r\n`
const user = JSON.stringify({ id: '00u1abcdefghijklmnop', status: 'ACTIVE', profile: { login: 'user@example.com', note: 'x'.repeat(300) } })
const big = JSON.stringify([{ note: 'x'.repeat(262_144) }])

function answer (socket, target) {
  const say = text => { if (socket.writable) socket.write(text, 'latin1') }
  if (target.includes('slow')) { setTimeout(say, 40 + Math.random() * 120, head(user.length) + user); return }
  if (target.includes('big')) { say(head(big.length) + big); return }
  if (target.includes('gone')) { socket.destroy(); return }
  if (target.includes('cut')) { socket.end(head(user.length) + user.slice(0, 100)); return }
  say(head(user.length) + user)
}

function look (text) {
  const credential = /\r\nauthorization: ([^\r]*)/i.exec(text)?.[1]
  if (credential === CREDENTIAL && !CLIENTS_OWN.test(text)) return
  figures.wrong++
  figures.example ??= text
}

serveRaw((socket, target, text) => {
  figures.requests++
  look(text)
  answer(socket, target)
}, () => figures)
