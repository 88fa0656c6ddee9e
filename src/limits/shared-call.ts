import { refuse } from './bucket.js'
import type { Later } from './probe.js'
import type { Session } from './session.js'
import type { Admission, LimitCall, Ticket } from './store.js'

/** The way to the store. Each promise rejects when there is no answer in time. */
export interface Line {
  /** runs the script for an upstream: its arguments, its answer */
  run (upstream: string, args: readonly string[]): Promise<string>
  /** the server's clock, epoch ms */
  time (): Promise<number>
  close (): Promise<void>
}

/** What operators should read. */
export type StoreEvent =
  | { readonly kind: 'lost', readonly upstream: string, readonly why: string, readonly replicas: number }
  /** still lost, and for another reason than was said last */
  | { readonly kind: 'still', readonly upstream: string, readonly why: string }
  | { readonly kind: 'back', readonly upstream: string, readonly lostMs: number, readonly emptied: boolean }

export interface SharedOptions {
  readonly line: Line
  /** id of this process; unique */
  readonly gate: string
  readonly later: Later
  /** runs something when the events at hand have been looked at: steps that come until then share a round trip */
  readonly soon: (run: () => void) => void
  /** epoch ms of the gate's steady clock */
  readonly clock: () => number
  /** how long an answer of the store may take, ms */
  readonly timeoutMs: number
  /** gates there are, for one that has never reached the store; absent: it refuses until it has */
  readonly replicas?: number
  readonly onStoreLoss: 'share' | 'refuse'
  /** the longest a call may be in flight, ms */
  readonly longestCallMs: number
  readonly note: (event: StoreEvent) => void
  /** how long a gate that finds an empty store waits for others, ms */
  readonly patienceMs?: number
  /** tests: the store counts in the gate's time, not in its own */
  readonly virtual?: boolean
}

/** A call that the shared store has admitted, or the gate itself while the store is lost. */
export class SharedTicket implements Ticket {
  readonly kind = 'admitted'
  settled = false
  released = false

  /** @param own what the gate itself keeps of it @param sentAt the server's clock when it was reserved */
  constructor (readonly session: Session, readonly call: LimitCall, readonly id: number, readonly own: Ticket, readonly sentAt: number) {}

  get ticket (): Ticket {
    return this
  }
}

/** How the store is doing, for /readyz and metrics. */
export interface StoreStatus {
  readonly upstream: string
  /** `shared`: budgets are kept in the store; `share`: this gate keeps to its part; `refuse`: it refuses */
  readonly state: 'shared' | 'share' | 'refuse'
  readonly replicas: number
  readonly lostSince?: number
  /** what went wrong last, while it is lost */
  readonly why?: string
  readonly losses: number
}

/** A call of the mirror, as a call of the store; refusals as they are. */
export function adopt (session: Session, call: LimitCall, id: number, admission: Admission, sentAt: number): Admission {
  return admission.kind === 'refused' ? admission : new SharedTicket(session, call, id, admission.ticket, sentAt)
}

/** Budgets can't be known. */
export function unknown (now: number): Admission {
  return refuse('store', undefined, 0, now)
}
