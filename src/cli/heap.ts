import v8 from 'node:v8'

/** Young space that buffers outside the heap may fill before V8 collects them, MB: twice the flag and twice again without pointer compression (V8, heap.cc, AllocateExternalBackingStore). */
const NEW_SPACE_CAPACITY_MB = 6

/**
 * Keeps the memory of a process that serves small; to be called once, before it serves. Both are flags of V8 that
 * NODE_OPTIONS does not take and that it looks at while it runs, so that every way to start the gate has them.
 *
 * - V8 learns at which places objects live long, and then makes them in the old generation at once. What a request needs
 *   lives as long as Okta takes, so that it learns this of all: the old generation fills with what is done with, until a
 *   full collection. Resident memory under load then was anything between 130 and 310 MB on Node 24.
 * - Buffers that were read from a socket and passed on are collected when there are 24 MB of them; Node 24 would wait for 87. On
 *   Node 20 that bound, 32 MB, is a constant.
 */
export function boundHeap (): void {
  v8.setFlagsFromString('--no-allocation-site-pretenuring')
  if (Number.parseInt(process.versions.node) >= 22) v8.setFlagsFromString(`--scavenger-max-new-space-capacity-mb=${NEW_SPACE_CAPACITY_MB}`)
}
