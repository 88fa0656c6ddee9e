// A client in trouble, a process of its own: trouble.mjs KIND PORT KEY, from 127.0.0.3, until its parent ends it or a minute has passed.
import { connect } from 'node:net'
import { requestText } from './world.mjs'

const [kind, port, key] = process.argv.slice(2)
const me = { key }
setTimeout(() => { process.exit() }, 60_000)
process.on('disconnect', () => { process.exit() })

/** `count` connections, opened again `ms` after their end. */
function hold (count, arm, ms = 20) {
  const open = n => {
    const socket = connect({ port: Number(port), host: '127.0.0.1', localAddress: '127.0.0.3', noDelay: true })
    socket.on('error', () => {}).once('connect', () => { arm(socket, n) }).once('close', () => { setTimeout(open, ms, n) })
  }
  for (let n = 0; n < count; n++) open(n)
}

/** Asks again as soon as it is answered. */
const flood = (text, count = 16) => hold(count, socket => {
  socket.on('data', () => { socket.write(text) })
  socket.write(text)
})

const kinds = {
  'slow reads': () => { hold(200, (socket, n) => { socket.pause(); socket.write(requestText(`GET /api/v1/users/list${n}`, me)) }) },
  'flood of calls': () => { flood(requestText('GET /api/v1/users/00u9', me)) },
  'flood of refused calls': () => { flood(requestText('GET /api/v1/apps', me)) },
  'flood of wrong keys': () => { flood(requestText('GET /api/v1/users/00u9', { key: 'ngk_thisisnokey' })) },
  'flood over 200 connections': () => { flood(requestText('GET /api/v1/apps', me), 200) },
  'pipelined flood': () => {
    const many = requestText('GET /api/v1/apps', me).repeat(20)
    hold(20, socket => {
      let answers = 0
      socket.on('data', chunk => { for (let at = chunk.indexOf('HTTP/1.1 '); at >= 0; at = chunk.indexOf('HTTP/1.1 ', at + 1)) if (++answers % 20 === 0) socket.write(many) })
      socket.write(many)
    })
  },
  'a connection for each call': () => { hold(100, socket => { socket.on('data', () => { socket.destroy() }).write(requestText('GET /api/v1/apps', me)) }, 0) },
  'endless bodies': () => {
    const chunk = Buffer.concat([Buffer.from('4000\r\n'), Buffer.alloc(16_384, 0x20), Buffer.from('\r\n')])
    hold(50, socket => {
      socket.write(requestText('POST /api/v1/users/00u9', me, ['Content-Type: application/json', 'Transfer-Encoding: chunked']))
      const more = () => { if (socket.writable && socket.write(chunk)) setTimeout(more, 1) }
      socket.on('drain', more).on('data', () => {})
      more()
    })
  },
  'calls that hang': () => { hold(200, (socket, n) => { socket.on('data', () => { socket.destroy() }); socket.write(requestText(`GET /api/v1/users/later${n}`, me)) }) },
  'half-open connections': () => { hold(490, socket => { socket.on('data', () => {}).write('GET /api/v1/users HTTP/1.1\r\nX-Half: ') }) }
}
kinds[kind]()
