// The benchmark's Okta: a 2.5 kB user for every request, with Okta's rate limit headers, and tokens for a service app.
// LATENCY_MS delays it, BODY_BYTES makes it a list of that size, HEADER_LINES adds lines, TLS_CERT and TLS_KEY (files) make it https.
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'

const { LATENCY_MS, BODY_BYTES, HEADER_LINES, TLS_CERT, TLS_KEY } = process.env
const latencyMs = Number(LATENCY_MS ?? 0)
const bytes = Number(BODY_BYTES ?? 0)
const user = bytes > 0 ? Buffer.alloc(bytes, '[{"id":"00u1abcdefghijklmnop"}]') : JSON.stringify({ id: '00u1abcdefghijklmnop', status: 'ACTIVE', profile: { login: 'user@example.com', note: 'x'.repeat(2400) } })
const headers = ['Content-Type', 'application/json', 'Content-Length', String(Buffer.byteLength(user)), 'X-Okta-Request-Id', 'a'.repeat(32),
  'X-Rate-Limit-Limit', '1000000', 'X-Rate-Limit-Remaining', '999999', 'Cache-Control', 'no-cache, no-store', 'Set-Cookie', 'sid=""; Path=/',
  ...Array.from({ length: Number(HEADER_LINES ?? 0) }, (_, i) => [`X-Okta-Extra-${i}`, 'value of a header line']).flat()]

function onRequest (request, response) {
  request.resume()
  const answer = () => {
    if (request.url === '/oauth2/v1/token') {
      response.writeHead(200, { 'Content-Type': 'application/json' })
      response.end(JSON.stringify({ access_token: 'bench.token', token_type: request.headers.dpop === undefined ? 'Bearer' : 'DPoP', expires_in: 3600, scope: 'okta.users.manage' }))
      return
    }
    response.writeHead(200, [...headers, 'X-Rate-Limit-Reset', String(Math.floor(Date.now() / 1000) + 60)])
    response.end(user)
  }
  request.on('end', latencyMs === 0 ? answer : () => setTimeout(answer, latencyMs))
}

const options = { keepAliveTimeout: 60_000 }
const secure = TLS_CERT !== undefined
const server = secure ? https.createServer({ ...options, cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) }, onRequest) : http.createServer(options, onRequest)
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `${secure ? 'https' : 'http'}://127.0.0.1:${server.address().port}` })))
