import type { GaugeSource } from './metrics.js'
import type { WorkerStatus } from './worker-talk.js'
import type { Workers } from './workers.js'

/** One part of what the workers say of themselves, each item with its worker's number. */
export function ofWorkers (statuses: ReadonlyArray<WorkerStatus & { readonly worker: number }>, part: string): object[] {
  return statuses.flatMap(({ worker, detail }) => {
    const value = detail[part] as object | readonly object[]
    return (Array.isArray(value) ? value as readonly object[] : [value]).map(one => ({ worker, ...one }))
  })
}

/** Metrics that only a gate of several processes has. */
export function workerGauges (workers: Workers): GaugeSource[] {
  return [
    { name: 'narrowgate_workers', help: 'Worker processes by state', labels: ['state'], read: () => ['starting', 'ready', 'gone'].map(state => [{ state }, workers.places.filter(place => (place.state === 'serving' ? 'starting' : place.state) === state).length] as const) },
    { name: 'narrowgate_worker_restarts', help: 'Worker processes that have ended and were started again', labels: [], read: () => [[{}, workers.places.reduce((sum, place) => sum + place.restarts, 0)]] }
  ]
}
