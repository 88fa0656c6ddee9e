import type { Method } from '../domain/operation.js'
import type { CredentialKind } from '../domain/decision.js'
import type { Target } from '../domain/target.js'
import type { LocationRewrites, RateHeaders } from './answer-head.js'
import type { Breaker } from './breaker.js'
import type { CredentialFault } from './credential.js'
import type { Failure } from './failure.js'
import type { CallDispatch } from './inject.js'

export interface ForwardTimeouts {
  readonly connectMs: number
  /** from the last byte sent to the answer's headers */
  readonly headersMs: number
  /** between two pieces of the answer's body */
  readonly idleMs: number
  /** how long a client may take nothing of the answer; default 60,000 */
  readonly stalledMs?: number
  /** how long an answer may take in all; default 900,000 */
  readonly totalMs?: number
}

/** One allowed call, ready to be sent. */
export interface ForwardCall {
  readonly dispatch: CallDispatch
  readonly method: Method
  /** `target.raw` is what is sent, byte for byte */
  readonly target: Target
  /** forwardedHeaders() */
  readonly headers: readonly string[]
  /** whole, as received; null or empty: none */
  readonly body: Buffer | null
  readonly credential: CredentialKind
  readonly rewrites: LocationRewrites
  /** for JSON answers up to 1 MB that are not compressed; undefined keeps the bytes */
  readonly rewriteBody?: (body: Buffer) => Buffer | undefined
  /** flat list of the gate's own header lines, put behind Okta's */
  readonly ownHeaders?: readonly string[]
  /** true: a whole answer is not written but handed back, to be sent with others (`send` of the result) */
  readonly hold?: boolean
  readonly timeouts: ForwardTimeouts
  /** refuses at once what would fail on the way */
  readonly breaker?: Breaker
  /** monotonic milliseconds */
  readonly clock: () => number
}

/** What the head of an answer says, as texts of Okta's. */
export interface AnswerFacts {
  readonly status: number
  readonly rate: RateHeaders
  readonly date?: string
  readonly oktaRequestId?: string
}

export interface ForwardHooks {
  /** just before the first byte is written */
  readonly onSent?: () => void
  /** at the answer's headers, also when the client has left: here limits learn and settle */
  readonly onHeaders?: (facts: AnswerFacts) => void
  /** when the head of the answer goes out to the client */
  readonly onAnswer?: () => void
}

interface Facts {
  /** a byte of the request may have been written */
  readonly sent: boolean
  /** no connection was made at first, so the call was tried once more */
  readonly resent: boolean
  /** Okta's status, where its headers arrived */
  readonly status?: number
  readonly oktaRequestId?: string
  /** from the first byte sent to Okta's headers */
  readonly upstreamMs?: number
  /** body bytes given to the client's connection */
  readonly bytesOut: number
  /** of the credential that was presented */
  readonly generation?: number
}

/**
 * What became of a call. Unless it says `answered` or `aborted`, nothing has been written to the client.
 * - answered: the answer has gone out, or does when `send` is called; truncated: it broke off and the client's connection was destroyed
 * - credential_refused: a complete 401 about the gate's credential (refusal.ts), or a 400 about the proof (`nonce`: what Okta wants in it); tell the
 *   provider, which says whether one more call makes sense
 * - failed: no answer; `mayHaveHappened` for a write that was sent
 * - aborted: the client left; a write that was sent has been awaited, so `status` tells its outcome where known
 */
export type ForwardResult = Facts & (
  | { readonly kind: 'answered', readonly truncated: boolean, readonly failure?: Failure, readonly send?: () => void }
  | { readonly kind: 'credential_refused', readonly nonce?: string }
  | { readonly kind: 'failed', readonly failure: Failure, readonly credential?: CredentialFault, readonly mayHaveHappened: boolean }
  | { readonly kind: 'aborted', readonly failure?: Failure }
)

/** The part of a result that says what became of it; the facts are the relay's to add. */
export type Outcome = ForwardResult extends infer R ? R extends unknown ? Omit<R, keyof Facts> : never : never
