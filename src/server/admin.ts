import fastify, { type FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'
import { noSchemas } from './no-schemas.js'

/** What the admin listener says about the gate. */
export interface Readiness {
  readonly ready: boolean
  /** names to facts: snapshot, upstreams, audit … ; names and numbers only */
  readonly detail: Readonly<Record<string, unknown>>
}

/** An address, or the name that is always this machine's own. */
const OWN_NAME = /^(?:\d+\.\d+\.\d+\.\d+|\[[\da-f:.]+\]|(?:[\w-]+\.)*localhost)(?::\d+)?$/i

/**
 * The operators' listener: a second Fastify instance on another address, so that no client-facing route
 * or hook can leak into it. `/livez`, `/readyz` (503 while draining or without a usable snapshot), `/metrics`,
 * `/limits` (buckets and who uses them, as JSON).
 *
 * @param local it listens on a loopback address: any other Host than an address or localhost is a web page's whose name
 *   was made to lead here (DNS rebinding), and which could read the answers in the browser of who works on this machine
 */
export function buildAdmin (readiness: () => Readiness | Promise<Readiness>, registry: Pick<Registry, 'contentType' | 'metrics'>, limits: () => Promise<object>, local: boolean): FastifyInstance {
  const app = fastify({ logger: false, schemaController: noSchemas, forceCloseConnections: true, exposeHeadRoutes: true })
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff')
  })
  if (local) {
    app.addHook('onRequest', async (request, reply) => {
      if (!OWN_NAME.test(request.headers.host ?? '')) return await reply.code(421).send({ error: 'this listener is asked by its address, or as localhost' })
    })
  }
  app.get('/livez', async () => ({ status: 'live' }))
  app.get('/readyz', async (_request, reply) => {
    const { ready, detail } = await readiness()
    return await reply.code(ready ? 200 : 503).send({ status: ready ? 'ready' : 'not ready', ...detail })
  })
  app.get('/metrics', async (_request, reply) => await reply.type(registry.contentType).send(await registry.metrics()))
  app.get('/limits', async () => await limits())
  app.setNotFoundHandler(async (_request, reply) => await reply.code(404).send({ error: 'not found' }))
  return app
}
