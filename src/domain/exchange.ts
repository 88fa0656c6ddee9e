import type { Client, PendingProof } from './client.js'
import type { CallBody, DenyReason, RuleReference } from './decision.js'
import type { Operation } from './operation.js'
import type { Rejection } from './rejection.js'
import type { Target } from './target.js'
import type { TraceContext } from './trace.js'

/** The stages of the road, in order; an event names the one at which its request ended. */
export type Stage = 'record' | 'target' | 'identify' | 'operation' | 'decide' | 'body' | 'admit' | 'forward' | 'observe'

/**
 * The facts of one request: the only mutable object on its road. Each stage fills its own fields once.
 *
 * @typeParam S the snapshot that the request started with; it keeps that one to its end
 * @typeParam P the compiled policy of its client
 */
export class Exchange<S = unknown, P = unknown> {
  stage: Stage = 'record'
  /** among the requests that are on the road; -1: it is not */
  place = -1

  // target, identify, operation
  target: Target | undefined = undefined
  client: Client | undefined = undefined
  /** a DPoP proof that was verified; consumed once the limits have admitted the call */
  proof: PendingProof | undefined = undefined
  policy: P | undefined = undefined
  operation: Operation | undefined = undefined
  parameters: readonly string[] | undefined = undefined
  alias = false

  // decide, body
  rule: RuleReference | undefined = undefined
  undecided = false
  wouldDeny: DenyReason | undefined = undefined
  body: Buffer | undefined = undefined
  judgedBody: CallBody | undefined = undefined
  bytesIn = 0
  /** leaf paths of the body, of observed clients only */
  bodyPaths: readonly string[] | undefined = undefined

  // what became of it
  rejection: Rejection | undefined = undefined
  detail: string | undefined = undefined
  status: number | undefined = undefined
  upstreamStatus: number | undefined = undefined
  oktaRequestId: string | undefined = undefined
  upstreamMs: number | undefined = undefined
  /** time that the gate itself took before and after the call, until the head of the answer went out */
  gateMs: number | undefined = undefined
  /** monotonic milliseconds: when the call was sent, and when it was over */
  sentClock: number | undefined = undefined
  endClock: number | undefined = undefined
  /** absent: nobody asks for traces */
  trace: TraceContext | undefined = undefined
  bytesOut = 0
  truncated = false
  aborted = false
  resent = false
  recorded = false

  /**
   * @param id the gate's own id of the request
   * @param time epoch milliseconds when it began
   * @param clock monotonic milliseconds when it began
   * @param method as received, any text
   * @param rawTarget as received
   * @param source address of the caller
   */
  constructor (
    readonly snapshot: S,
    readonly id: string,
    readonly time: number,
    readonly clock: number,
    readonly method: string,
    readonly rawTarget: string,
    readonly source: string
  ) {}
}
