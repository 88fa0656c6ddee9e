// What somebody may write in an afternoon: Fastify, @fastify/http-proxy as it comes, and the same policy as the
// vectors' as prefix and field checks. The vectors have to fail against it: see vectors.test.ts.
import fastify from 'fastify'
import proxy from '@fastify/http-proxy'

const { UPSTREAM, CLIENT_KEY, UPSTREAM_TOKEN } = process.env
const PREFIX = '/api/v1/users'
const app = fastify({ bodyLimit: 1_048_576 })

app.register(proxy, {
  upstream: UPSTREAM,
  prefix: PREFIX,
  rewritePrefix: PREFIX,
  proxyPayloads: false,
  httpMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
  preHandler: async (request, reply) => {
    if (request.headers.authorization !== `SSWS ${CLIENT_KEY}`) return await reply.code(401).send({ errorCode: 'E0000011' })
    const { pathname } = new URL(request.url, 'http://gate')
    if (request.method !== 'GET' && request.method !== 'POST') return await reply.code(405).send({ errorCode: 'E0000022' })
    if (request.url.includes('/lifecycle/') || request.url.includes('/factors') || pathname.endsWith('/roles')) return await reply.code(403).send({ errorCode: 'E0000006' })
    if (request.query.search !== undefined || request.query.activate !== undefined) return await reply.code(403).send({ errorCode: 'E0000006' })
    if (request.body?.credentials !== undefined || request.body?.profile?.login !== undefined) return await reply.code(403).send({ errorCode: 'E0000006' })
  },
  replyOptions: { rewriteRequestHeaders: (_, headers) => ({ ...headers, authorization: `SSWS ${UPSTREAM_TOKEN}` }) }
})

await app.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${app.server.address().port}\n`)
