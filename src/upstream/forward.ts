import { STATUS_CODES, type ServerResponse } from 'node:http'
import { Pieces } from '../domain/pieces.js'
import { filterAnswer, isBodyless, isPlainJson, withLength, withoutLength, type AnswerHead } from './answer-head.js'
import { CredentialFault } from './credential.js'
import { mayTryAgain, nameFailure, type Failure } from './failure.js'
import type { CallHandler } from './inject.js'
import { PacedReply } from './paced-reply.js'
import { MAX_REFUSAL_BYTES, readRefusal } from './refusal.js'
import type { ForwardCall, ForwardHooks, ForwardResult, Outcome } from './result.js'

const MAX_INFORMATIONAL = 16
const MAX_REWRITE_BYTES = 1_048_576
const STALLED_MS = 60_000
const TOTAL_MS = 900_000

const NOTHING = Buffer.alloc(0)
const REASON = /^[\t\x20-\x7e]*$/

/**
 * Sends one call to Okta and its answer to the client: status, header lines and body as they came, with
 * back-pressure, head and body in one write when the answer arrives whole. Nothing is retried but a call of which
 * no byte was written (undici calls onConnect right before it writes), and that once. Redirects are not followed.
 *
 * @param reply the client's raw response; nothing may have been written to it
 * @returns what became of it; never rejects
 */
export function forward (call: ForwardCall, reply: ServerResponse, hooks: ForwardHooks = {}): Promise<ForwardResult> {
  return new Promise(resolve => { new Relay(call, reply, hooks, resolve).start() })
}

/** undici's raw-header handler for one call (undici 7 legacy interface: separate lines stay separate). */
class Relay implements CallHandler {
  readonly #call: ForwardCall
  readonly #reply: ServerResponse
  #pacing: PacedReply | undefined
  readonly #hooks: ForwardHooks
  readonly #resolve: (result: ForwardResult) => void
  readonly #startedAt: number

  #abort: ((error?: Error) => void) | undefined
  #resume: () => void = () => {}
  #timer: NodeJS.Timeout | undefined
  #sent = false
  #sentAt = 0
  /** when Okta last said something */
  #movedAt = 0
  #resent = false
  #done = false
  #permitted = false
  #gone = false
  /** we ended the upstream call because the client left: that says nothing about the upstream */
  #givenUp = false
  #generation: number | undefined
  #proved = false
  /** the answer may be about the gate's own credential */
  #suspect = false
  /** why we ended the upstream call ourselves */
  #verdict: Failure | undefined

  #informational = 0
  #status: number | undefined
  #reason = ''
  #head: AnswerHead | undefined
  #upstreamMs: number | undefined
  #answering = false
  /** the beginning of the body, while it is not known whether it goes to the client as it is */
  #held: Pieces | undefined
  /** hold back up to so many bytes; 0: nothing */
  #holdLimit = 0
  #bytesOut = 0

  constructor (call: ForwardCall, reply: ServerResponse, hooks: ForwardHooks, resolve: (result: ForwardResult) => void) {
    this.#call = call
    this.#reply = reply
    this.#hooks = hooks
    this.#resolve = resolve
    this.#startedAt = call.clock()
  }

  get cancelled (): boolean { return this.#done }

  get #paced (): PacedReply {
    this.#pacing ??= new PacedReply(this.#reply, this.#call.timeouts.stalledMs ?? STALLED_MS, this.#call.clock, () => { this.#resume() })
    return this.#pacing
  }

  start (): void {
    if (this.#reply.destroyed) { this.#gone = true; this.#finish({ kind: 'aborted' }); return }
    if (this.#call.breaker?.permit() === false) {
      this.#finish({ kind: 'failed', failure: { code: 'unreachable', cause: 'BREAKER_OPEN' }, mayHaveHappened: false })
      return
    }
    this.#permitted = true
    this.#reply.on('close', this.#onClose)
    const { headersMs, idleMs } = this.#call.timeouts
    this.#timer = setTimeout(Relay.#check, Math.min(headersMs, idleMs), this)
    this.#dispatch()
  }

  #dispatch (): void {
    const { dispatch, method, target, headers, body, credential } = this.#call
    dispatch({ path: target.raw, method, headers, body, credential }, this)
  }

  onCredential (generation: number, proved: boolean): void {
    this.#generation = generation
    this.#proved = proved
  }

  onConnect (abort: (error?: Error) => void): void {
    if (this.#done) { abort(); return }
    this.#abort = abort
    this.#sent = true
    this.#sentAt = this.#call.clock()
    this.#hooks.onSent?.()
  }

  onHeaders (status: number, raw: Buffer[], resume: () => void, reason: string): boolean {
    if (status >= 100 && status < 200) {
      if (++this.#informational > MAX_INFORMATIONAL) this.#stop({ code: 'bad_response', cause: 'TOO_MANY_1XX' })
      return true
    }
    const head = status >= 200 && status <= 599 ? filterAnswer(raw, this.#call.rewrites) : undefined
    if (head === undefined) { this.#stop({ code: 'bad_response', cause: 'BAD_HEAD' }); return true }
    this.#status = status
    this.#reason = reason
    this.#head = head
    this.#tell()
    this.#resume = resume
    this.#movedAt = this.#call.clock()
    this.#upstreamMs = this.#movedAt - this.#sentAt
    this.#hooks.onHeaders?.({ status, rate: head.rate, date: head.date, oktaRequestId: head.oktaRequestId })
    if (this.#gone) this.#abort?.()
    else this.#holdLimit = this.#bytesToHold(status, head)
    return true
  }

  #bytesToHold (status: number, head: AnswerHead): number {
    const { credential, rewriteBody } = this.#call
    // What an anonymous call is told is about its caller: E0000011 is also what /authn says of a stale state token.
    this.#suspect = ((status === 401 && credential !== 'none') || (status === 400 && this.#proved)) && (head.length ?? 0) <= MAX_REFUSAL_BYTES
    if (this.#suspect) return MAX_REFUSAL_BYTES
    return rewriteBody !== undefined && isPlainJson(head) && (head.length ?? 0) <= MAX_REWRITE_BYTES ? MAX_REWRITE_BYTES : 0
  }

  onData (chunk: Buffer): boolean {
    this.#movedAt = this.#call.clock()
    if (this.#movedAt - this.#startedAt > (this.#call.timeouts.totalMs ?? TOTAL_MS)) {
      this.#stop({ code: 'timeout', cause: 'TOTAL_TIMEOUT' })
      return true
    }
    if (!this.#answering) {
      this.#held ??= new Pieces()
      this.#held.add(chunk)
      // An answer that is whole by now goes out with its head in one write, at onComplete, in this same turn.
      if (this.#held.size <= this.#holdLimit || this.#held.size === this.#head!.length) return true
      return this.#writeHead(this.#head!.lines) ? this.#writeHeld() : true
    }
    return this.#write(chunk)
  }

  /** What has been held back. */
  get #body (): Buffer { return this.#held?.whole() ?? NOTHING }

  onComplete (): void {
    if (this.#answering) { this.#end(); return }
    if (this.#suspect) {
      readRefusal(this.#status!, this.#body, this.#head!).then(refusal => {
        if (this.#done) return
        if (refusal === undefined) this.#sendWhole()
        else this.#finish(this.#gone ? { kind: 'aborted' } : { kind: 'credential_refused', nonce: refusal.kind === 'nonce' ? refusal.nonce : undefined })
      })
      return
    }
    this.#sendWhole()
  }

  onError (error: Error): void {
    if (this.#done) return
    if (error instanceof CredentialFault) { this.#fail({ code: 'credential', cause: error.reason.toUpperCase() }, error); return }
    // llhttp knows that a 204 or 304 has no body; undici misses the bytes that its Content-Length speaks of (RFC 9110 section 8.6).
    if (isBodyless(this.#status) && (error as { code?: string }).code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') { this.#sendWhole(); return }
    const failure = this.#verdict ?? nameFailure(error, this.#sent, this.#status !== undefined)
    if (!this.#sent && !this.#resent && !this.#gone && mayTryAgain(failure)) {
      this.#resent = true
      // Not from within undici's error path: the pool has yet to drop the client that failed.
      queueMicrotask(() => { if (!this.#done) this.#dispatch() })
      return
    }
    this.#fail(failure)
  }

  /** The breaker learns of each call once: at its answer, or at its end. */
  #tell (failure?: Failure): void {
    const { breaker } = this.#call
    if (breaker === undefined || !this.#permitted) return
    this.#permitted = false
    if (failure !== undefined) breaker.failed(failure.code)
    else if (this.#head === undefined) breaker.abandoned()
    else breaker.answered()
  }

  #fail (failure: Failure, credential?: CredentialFault): void {
    this.#tell(this.#givenUp ? undefined : failure)
    if (this.#gone) {
      this.#finish({ kind: 'aborted', failure: this.#status === undefined ? failure : undefined })
    } else if (this.#answering) {
      this.#paced.destroy()
      this.#finish({ kind: 'answered', truncated: true, failure })
    } else {
      const write = this.#call.method !== 'GET'
      this.#finish({ kind: 'failed', failure, credential, mayHaveHappened: write && this.#sent })
    }
  }

  #sendWhole (): void {
    if (this.#left()) { this.#finish({ kind: 'aborted' }); return }
    let body = this.#body
    let lines = this.#head!.lines
    const rewritten = this.#rewrite(body)
    if (rewritten !== undefined) {
      body = rewritten
      lines = withLength(this.#head!, body.length)
    }
    if (!this.#writeHead(lines)) return
    this.#bytesOut += body.length
    if (this.#call.hold !== true) this.#endWith(body)
    this.#finish({ kind: 'answered', truncated: false, send: this.#call.hold === true ? () => { if (!this.#reply.destroyed) this.#endWith(body) } : undefined })
  }

  /** A client that leaves the answer lying is cut off. */
  #endWith (body: Buffer): void {
    if (body.length === 0) this.#reply.end()
    else this.#reply.end(body)
    if (this.#reply.writableLength > 0) this.#paced.watch()
  }

  /** A fault of the rewriting must not cost the answer: its links then stay Okta's. */
  #rewrite (body: Buffer): Buffer | undefined {
    const { rewriteBody } = this.#call
    if (rewriteBody === undefined || body.length === 0 || body.length > MAX_REWRITE_BYTES || !isPlainJson(this.#head!)) return undefined
    try { return rewriteBody(body) } catch { return undefined }
  }

  #writeHead (lines: readonly string[]): boolean {
    const status = this.#status!
    const { ownHeaders } = this.#call
    const all = status === 204 ? withoutLength(this.#head!, lines) : lines
    if (this.#head!.date !== undefined) this.#reply.sendDate = false
    try {
      this.#reply.writeHead(status, REASON.test(this.#reason) ? this.#reason : STATUS_CODES[status] ?? '', ownHeaders === undefined ? all as string[] : [...all, ...ownHeaders])
    } catch {
      // node refuses the head (a name or value that our filter let through): nothing has been written.
      this.#verdict ??= { code: 'bad_response', cause: 'HEAD_REFUSED' }
      this.#abort?.()
      if (!this.#done) this.#fail(this.#verdict)
      return false
    }
    this.#answering = true
    this.#hooks.onAnswer?.()
    return true
  }

  #writeHeld (): boolean {
    const held = this.#body
    this.#held = undefined
    return this.#write(held)
  }

  /** @returns false: the client is slow, pause Okta's side until it drains */
  #write (chunk: Buffer): boolean {
    if (this.#left()) { this.#abort?.(); return true }
    this.#bytesOut += chunk.length
    return this.#paced.write(chunk)
  }

  #end (): void {
    if (this.#left()) { this.#finish({ kind: 'aborted' }); return }
    this.#paced.end()
    this.#finish({ kind: 'answered', truncated: false })
  }

  /** A response that was destroyed emits `close` a little later; writing to it meanwhile would be an uncaught error. */
  #left (): boolean {
    this.#gone ||= this.#reply.destroyed
    return this.#gone
  }

  readonly #onClose = (): void => {
    if (this.#done) return
    this.#gone = true
    if (!this.#sent) { this.#finish({ kind: 'aborted' }); return }
    // A write that was sent is let finish, to learn and log its outcome; the deadline still holds.
    if (this.#call.method !== 'GET' && this.#status === undefined) return
    this.#givenUp = true
    this.#abort?.()
  }

  /**
   * Ends a call that has waited too long: for a connection, for the answer's headers, whatever 1xx came before them,
   * or for more of its body while the client takes it. One timer for all, which looks when it fires what there is
   * to wait for: undici's own are made anew for each call twice, and each is kept for half a second more.
   */
  static readonly #check = (relay: Relay): void => {
    const { timeouts: { connectMs, headersMs, idleMs }, clock } = relay.#call
    const until = !relay.#sent ? relay.#startedAt + connectMs + headersMs : relay.#status === undefined ? relay.#sentAt + headersMs : relay.#movedAt + idleMs
    const left = relay.#pacing?.paused === true ? idleMs : until - clock()
    if (left > 0) relay.#timer = setTimeout(Relay.#check, Math.ceil(left), relay)
    else if (!relay.#sent) relay.#fail({ code: 'unreachable', cause: 'WAIT_TIMEOUT' })
    else relay.#stop({ code: 'timeout', cause: relay.#status === undefined ? 'HEADERS_TIMEOUT' : 'BODY_TIMEOUT' })
  }

  #stop (failure: Failure): void {
    this.#verdict ??= failure
    this.#abort?.()
  }

  #finish (outcome: Outcome): void {
    if (this.#done) return
    this.#done = true
    this.#tell()
    clearTimeout(this.#timer)
    this.#reply.off('close', this.#onClose)
    const { kind, truncated, failure, send, credential, mayHaveHappened, nonce } = outcome as { kind: string, truncated?: boolean, failure?: Failure, send?: () => void, credential?: CredentialFault, mayHaveHappened?: boolean, nonce?: string }
    // Written out: spreading the outcome costs some 15 µs a request.
    this.#resolve({
      kind,
      truncated,
      failure,
      send,
      credential,
      mayHaveHappened,
      nonce,
      sent: this.#sent,
      resent: this.#resent,
      status: this.#status,
      oktaRequestId: this.#head?.oktaRequestId,
      upstreamMs: this.#upstreamMs,
      bytesOut: this.#bytesOut,
      generation: this.#generation
    } as unknown as ForwardResult)
  }
}
