// The benchmark's Okta: a 2.5 kB user for every request, with Okta's rate limit headers. LATENCY_MS delays it, BODY_BYTES makes it a list of that size.
import http from 'node:http'

const latencyMs = Number(process.env.LATENCY_MS ?? 0)
const bytes = Number(process.env.BODY_BYTES ?? 0)
const user = bytes > 0 ? Buffer.alloc(bytes, '[{"id":"00u1abcdefghijklmnop"}]') : JSON.stringify({ id: '00u1abcdefghijklmnop', status: 'ACTIVE', profile: { login: 'user@example.com', note: 'x'.repeat(2400) } })
const headers = ['Content-Type', 'application/json', 'Content-Length', String(Buffer.byteLength(user)), 'X-Okta-Request-Id', 'a'.repeat(32),
  'X-Rate-Limit-Limit', '1000000', 'X-Rate-Limit-Remaining', '999999', 'Cache-Control', 'no-cache, no-store', 'Set-Cookie', 'sid=""; Path=/']

const server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  request.resume()
  const answer = () => {
    response.writeHead(200, [...headers, 'X-Rate-Limit-Reset', String(Math.floor(Date.now() / 1000) + 60)])
    response.end(user)
  }
  request.on('end', latencyMs === 0 ? answer : () => setTimeout(answer, latencyMs))
})
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })))
