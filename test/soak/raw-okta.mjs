import { createServer } from 'node:net'

/**
 * A stand-in for Okta on raw sockets, in a process of its own: sends { port } to its parent, tells it its figures
 * when asked for them, and ends with it.
 *
 * @param answer (socket, target, text): answers one request; text is its head
 * @param figures () => what a parent that asks is told
 */
export function serveRaw (answer, figures) {
  const server = createServer({ noDelay: true }, socket => {
    let pending = ''
    socket.on('error', () => {}).on('timeout', () => { socket.destroy() })
    socket.on('data', chunk => {
      pending += chunk.toString('latin1')
      for (;;) {
        const end = pending.indexOf('\r\n\r\n')
        if (end < 0) return
        const text = pending.slice(0, end)
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0)
        if (pending.length < end + 4 + length) return
        pending = pending.slice(end + 4 + length)
        answer(socket, text.slice(0, text.indexOf('\r\n')).split(' ')[1], text)
      }
    })
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => { process.send({ port: server.address().port }) })
  process.on('message', () => { process.send(figures()) })
  process.on('disconnect', () => { process.exit() })
}
