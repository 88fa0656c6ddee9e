import type { Admission, LimitCall } from './store.js'

/** How long a call waits for the first answer of its bucket. */
export const PROBE_WAIT_MS = 5000

/** How many calls of a bucket may wait. */
export const PROBE_QUEUE = 1000

/** Runs something later, handing it the time on the store's clock. The server's is an unref'd setTimeout. */
export type Later = (ms: number, run: (now: number) => void) => void

interface Waiting {
  readonly call: LimitCall
  readonly resolve: (admission: Admission) => void
}

/** Calls that wait, in order, until the first answer since the start has said what remains of their bucket. */
export class ProbeQueue {
  // A Set keeps the order of arrival, and gives up one in the middle at no cost.
  readonly #waiting = new Set<Waiting>()

  get size (): number {
    return this.#waiting.size
  }

  /** Appends a call; what `refuse` makes is its admission when it has waited for `PROBE_WAIT_MS`. The caller has looked at `size`. */
  wait (call: LimitCall, later: Later, refuse: (now: number) => Admission): Promise<Admission> {
    return new Promise(resolve => {
      const one = { call, resolve }
      this.#waiting.add(one)
      later(PROBE_WAIT_MS, now => { if (this.#waiting.delete(one)) resolve(refuse(now)) })
    })
  }

  /** Tries every call in order; what `attempt` answers with undefined waits on. */
  drain (attempt: (call: LimitCall) => Admission | undefined): void {
    for (const one of this.#waiting) {
      const admission = attempt(one.call)
      if (admission === undefined) continue
      this.#waiting.delete(one)
      one.resolve(admission)
    }
  }
}
