// Peer "bare": Fastify and @fastify/http-proxy as they come. Enforces nothing, writes nothing.
import proxy from '@fastify/http-proxy'
import fastify from 'fastify'

const app = fastify()
app.register(proxy, { upstream: process.env.UPSTREAM })
await app.listen({ host: '127.0.0.1', port: 0 })
console.log(JSON.stringify({ url: `http://127.0.0.1:${app.server.address().port}` }))
