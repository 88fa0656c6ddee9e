import fastify, { type FastifyInstance } from 'fastify'
import type { Registry } from 'prom-client'

/** What the admin listener says about the gate. */
export interface Readiness {
  readonly ready: boolean
  /** names to facts: snapshot, upstreams, audit … ; names and numbers only */
  readonly detail: Readonly<Record<string, unknown>>
}

/**
 * The operators' listener: a second Fastify instance on another address, so that no client-facing route
 * or hook can leak into it. `/livez`, `/readyz` (503 while draining or without a usable snapshot), `/metrics`,
 * `/limits` (buckets and who uses them, as JSON).
 */
export function buildAdmin (readiness: () => Readiness | Promise<Readiness>, registry: Pick<Registry, 'contentType' | 'metrics'>, limits: () => Promise<object>): FastifyInstance {
  const app = fastify({ logger: false, forceCloseConnections: true, exposeHeadRoutes: true })
  app.addHook('onSend', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff')
  })
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
