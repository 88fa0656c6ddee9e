// Peer "http-proxy-middleware": on node:http, with a keep-alive agent. Enforces nothing, writes nothing.
import http from 'node:http'
import { createProxyMiddleware } from 'http-proxy-middleware'

const middleware = createProxyMiddleware({ target: process.env.UPSTREAM, changeOrigin: true, agent: new http.Agent({ keepAlive: true, maxSockets: 128 }) })
const server = http.createServer((request, response) => middleware(request, response, () => response.destroy()))
process.on('SIGTERM', () => process.exit())
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })))
