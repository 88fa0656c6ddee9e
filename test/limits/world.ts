import { parseObservation, type Observation } from '../../src/limits/headers.js'
import type { Later } from '../../src/limits/probe.js'
import type { Admission, BucketPlan, LimitCall, Refused, Ticket } from '../../src/limits/store.js'

/** A whole second, so that Resets in whole seconds are easy to read. */
export const START = 1_800_000_000_000

/** Virtual time: timers run when it is advanced. */
export class Clock {
  now = START
  #timers: { at: number, run: (now: number) => void }[] = []

  /** Timers that have been set and have not run. */
  get pending (): number { return this.#timers.length }

  readonly later: Later = (ms, run) => { this.#timers.push({ at: this.now + ms, run }) }

  advance (ms: number): void {
    this.advanceTo(this.now + ms)
  }

  advanceTo (until: number): void {
    for (;;) {
      const next = this.#timers.filter(one => one.at <= until).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers.splice(this.#timers.indexOf(next), 1)
      this.now = Math.max(this.now, next.at)
      next.run(this.now)
    }
    this.now = until
  }
}

export function plan (more: Partial<BucketPlan> = {}): BucketPlan {
  return { upstream: 'default', bucket: '/api/v1/users', catalogueOrg: 20, ceiling: 0.5, credentialShare: 0.5, concurrency: 1000, ...more }
}

export function call (of: BucketPlan, more: Partial<LimitCall> = {}): LimitCall {
  return { plan: of, credential: 'upstream', client: 'a', share: 1, ...more }
}

/** An answer's headers, as Okta sends them: `reset` in epoch ms, cut to whole seconds. */
export function answer (now: number, status: number, limit: number, remaining: number, reset: number): Observation {
  return parseObservation(status, String(limit), String(remaining), String(Math.floor(reset / 1000)), now)
}

export const SILENT = parseObservation(405, undefined, undefined, undefined, START)

export function ticketOf (admission: Admission): Ticket {
  if (admission.kind !== 'admitted') throw new Error(`refused by ${admission.by}`)
  return admission.ticket
}

export function refusalOf (admission: Admission): Refused {
  if (admission.kind === 'admitted') throw new Error('admitted')
  return admission
}
