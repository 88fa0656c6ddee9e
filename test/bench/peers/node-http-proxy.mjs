// Peer "node-http-proxy": as its README has it, with a keep-alive agent. Enforces nothing, writes nothing.
import http from 'node:http'
import httpProxy from 'http-proxy'

const proxy = httpProxy.createProxyServer({ target: process.env.UPSTREAM, agent: new http.Agent({ keepAlive: true, maxSockets: 128 }) })
proxy.on('error', (_error, _request, response) => response.destroy())
const server = http.createServer((request, response) => proxy.web(request, response))
process.on('SIGTERM', () => process.exit())
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })))
