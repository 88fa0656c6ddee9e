import type { Registry } from 'prom-client'
import type { AuditLog } from '../audit/log.js'
import type { SecretStores } from '../config/secret-stores.js'
import type { UpstreamView } from '../limits/store.js'
import type { Readiness } from './admin.js'
import type { Limits } from './limits.js'
import type { Links } from './links.js'
import type { LoadNotes } from './load-notes.js'
import type { Metrics } from './metrics.js'
import type { Snapshot } from './snapshot.js'
import { steadyNow } from './steady.js'
import type { MetricJson } from './worker-metrics.js'
import { ofWorkers } from './worker-status.js'
import type { WorkerStatus } from './worker-talk.js'
import type { Workers } from './workers.js'

/** What a gate's state is read from. */
export interface OverviewParts {
  readonly limits: Limits
  /** several gates count together: each process sees what it has asked for */
  readonly sharedLimits: boolean
  readonly links: Links
  readonly stores: SecretStores
  readonly audit: AuditLog
  readonly metrics: Metrics
  readonly notes: LoadNotes
  snapshot (): Snapshot
  draining (): boolean
  /** the processes that serve in this one's place */
  workers (): Workers | undefined
}

/** How a gate is, its workers' part of it added where there are any: what the admin listener shows. */
export class Overview {
  readonly #parts: OverviewParts

  constructor (parts: OverviewParts) { this.#parts = parts }

  /** The buckets, as this process sees them; those of a shared store as the workers do. */
  async limits (): Promise<readonly UpstreamView[]> {
    const { limits, sharedLimits } = this.#parts
    const workers = this.#parts.workers()
    return workers !== undefined && sharedLimits ? await workers.views() : await limits.view(steadyNow())
  }

  /** The registry's text, or of all processes together. */
  get scrape (): Pick<Registry, 'contentType' | 'metrics'> {
    const { metrics: { registry } } = this.#parts
    return this.#parts.workers() === undefined ? registry : { contentType: registry.contentType, metrics: async () => await this.#text() }
  }

  /** Of this process alone. */
  async ownMetrics (): Promise<readonly MetricJson[]> {
    return await this.#parts.metrics.registry.getMetricsAsJSON() as unknown as MetricJson[]
  }

  /** Of this process, and of its workers where there are any. */
  async metrics (): Promise<readonly MetricJson[]> {
    const own = await this.ownMetrics()
    const workers = this.#parts.workers()
    if (workers === undefined) return own
    const { addUp } = await import('./worker-metrics.js')
    return addUp([own, ...await workers.metrics()])
  }

  async #text (): Promise<string> {
    const { textOf } = await import('./worker-metrics.js')
    return await textOf(await this.metrics())
  }

  /** How a worker is, for the primary. */
  async status (): Promise<WorkerStatus> {
    const { detail } = await this.readiness()
    const used = [...this.#parts.links.tokens()].flatMap(({ upstream, token }, index) => token.slots().flatMap(({ position, lastUsed }) => lastUsed === undefined ? [] : [[upstream, index, position, lastUsed] as const]))
    return { detail, used }
  }

  /** Idle tokens are kept alive by this process; the workers know which are not idle. */
  async noteUse (): Promise<void> {
    const tokens = [...this.#parts.links.tokens()]
    for (const { used } of await this.#parts.workers()?.statuses() ?? []) {
      for (const [upstream, index, position, at] of used) {
        const found = tokens[index]
        const mine = found?.token.slots().find(slot => slot.position === position)
        if (found?.upstream === upstream && mine !== undefined && (mine.lastUsed ?? 0) < at) found.token.used(position, at)
      }
    }
  }

  async readiness (): Promise<Readiness> {
    const { limits, stores, notes } = this.#parts
    const workers = this.#parts.workers()
    const draining = this.#parts.draining()
    const { hash, loadedAt, policies } = this.#parts.snapshot()
    const statuses = await workers?.statuses()
    return {
      ready: !draining && workers?.ready !== false,
      detail: {
        draining,
        snapshot: { hash, loadedAt: new Date(loadedAt).toISOString(), clients: policies.size },
        lastLoad: notes.summary(),
        ...statuses === undefined ? {} : { workers: workers!.places.map(place => ({ ...place, snapshot: (statuses.find(({ worker }) => worker === place.worker)?.detail['snapshot'] as { hash: string } | undefined)?.hash })) },
        credentials: statuses === undefined ? this.#credentials() : ofWorkers(statuses, 'credentials'),
        secretStores: [...stores.status()].map(({ store, name, good, reason }) => ({ store, secret: name, good, reason })),
        limits: limits.status,
        audit: statuses === undefined ? this.#audit() : { workers: ofWorkers(statuses, 'audit') }
      }
    }
  }

  #credentials (): readonly object[] {
    return [...this.#parts.links.status()].map(({ upstream, provider }) => ({ upstream, ...provider.status() }))
  }

  #audit (): object {
    const { healthy, made, sinks } = this.#parts.audit
    return { healthy, made, sinks }
  }
}
