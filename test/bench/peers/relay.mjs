// Peer "relay": node:http and undici's dispatch, forwarding only. Enforces nothing, writes nothing. The floor of Node.
import http from 'node:http'
import { Pool } from 'undici'

const pool = new Pool(process.env.UPSTREAM, { connections: 128, pipelining: 1 })
const SKIP = new Set(['connection', 'host', 'keep-alive', 'transfer-encoding', 'content-length', 'authorization'])

const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const chunks = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    const headers = ['authorization', 'SSWS upstream-token']
    const raw = request.rawHeaders
    for (let i = 0; i < raw.length; i += 2) if (!SKIP.has(raw[i].toLowerCase())) headers.push(raw[i], raw[i + 1])
    const body = chunks.length === 0 ? null : Buffer.concat(chunks)
    pool.dispatch({ path: request.url, method: request.method, headers, body }, {
      onConnect () {},
      onHeaders (status, rawHeaders, resume) {
        const lines = []
        for (let i = 0; i < rawHeaders.length; i += 2) {
          const name = rawHeaders[i].toString('latin1')
          if (!SKIP.has(name.toLowerCase()) || name.toLowerCase() === 'content-length') lines.push(name, rawHeaders[i + 1].toString('latin1'))
        }
        response.writeHead(status, lines)
        response.on('drain', resume)
        return true
      },
      onData (chunk) { return response.write(chunk) },
      onComplete () { response.end() },
      onError () { response.destroy() }
    })
  })
})
process.on('SIGTERM', () => process.exit())
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })))
