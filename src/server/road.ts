import type { FailureCount } from '../clients/failures.js'
import type { SeenOnce } from '../clients/seen-once.js'
import type { NetworkList } from '../clients/networks.js'
import type { AuditEvent } from '../domain/event.js'
import type { LimitStore } from '../limits/store.js'
import type { KeyUses } from './key-use.js'
import type { LongRequests } from './long-requests.js'
import type { Metrics } from './metrics.js'
import type { Outbox } from './outbox.js'
import type { Pace } from './pace.js'
import type { Shedding } from './loop-delay.js'
import type { Places } from './places.js'
import type { Shares } from './shares.js'
import type { Snapshot } from './snapshot.js'
import type { Telemetry } from './telemetry.js'
import type { Turns } from './turns.js'

/** What the listener needs of the gate around it. Functions where the value changes while it runs. */
export interface Road {
  readonly snapshot: () => Snapshot
  readonly limits: LimitStore
  readonly metrics: Metrics
  readonly keyUses: KeyUses
  /** sources whose authentication failed again and again */
  readonly failures: FailureCount
  /** client ids that assertions failed for again and again */
  readonly clientFailures: FailureCount
  /** ids of proofs and assertions, which may be used once */
  readonly seen: SeenOnce
  /** `flood`: see AuditLog.record */
  readonly record: (event: AuditEvent, flood?: boolean) => void
  /** whether some audit sink wants the intent of a write before it is forwarded */
  readonly wantsIntents: boolean
  /** before a write is forwarded: is its intent on the disk; undefined: nobody asks for that */
  readonly intend: (event: AuditEvent) => Promise<boolean> | undefined
  /** requests on their way, for those that take long */
  readonly long: LongRequests
  /** answers that go out when this turn ends */
  readonly outbox: Outbox
  /** whose request goes on next, by client; of strangers by network */
  readonly turns: Turns
  /** bytes of request bodies in memory, by client */
  readonly bodies: Shares
  /** how fast they are read, by client; of strangers by network */
  readonly pace: Pace
  /** calls in flight, by upstream and client */
  readonly calls: Places
  /** whom the event loop is too late for */
  readonly shedding: () => Shedding
  /** absent: nobody asks for traces */
  readonly telemetry?: Telemetry
  readonly auditHealthy: () => boolean
  /** not even a read can be recorded */
  readonly auditFull: () => boolean
  readonly draining: () => boolean
  /** epoch milliseconds, wall clock */
  readonly now: () => number
  /** milliseconds, monotonic */
  readonly clock: () => number
  /** epoch milliseconds of a clock that does not jump: what the limits count in */
  readonly steadyNow: () => number
  /** the empty list: nobody's X-Forwarded-For is believed */
  readonly nobody: NetworkList
}
