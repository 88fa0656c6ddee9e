import type { Dispatcher } from 'undici'
import type { CredentialKind } from '../domain/decision.js'
import { CredentialFault, type CredentialProvider, type PresentedCredential } from './credential.js'

/** Options of a dispatch, with the kind of credential instead of the credential. */
export interface CallOptions {
  readonly path: string
  readonly method: string
  /** flat list, without any credential */
  readonly headers: readonly string[]
  readonly body: Buffer | null
  readonly credential: CredentialKind
}

/** undici's raw-header handler, with what the interceptor tells and asks. */
export interface CallHandler extends Dispatcher.DispatchHandler {
  onConnect: (abort: (error?: Error) => void) => void
  onError: (error: Error) => void
  /** which generation of the credential goes out, and whether with a proof */
  onCredential: (generation: number, proved: boolean) => void
  /** true: the caller has left while the credential was awaited; nothing is sent and nothing reported */
  readonly cancelled: boolean
}

export type CallDispatch = (options: CallOptions, handler: CallHandler) => void

/** The providers behind the credential kinds of the rules. */
export interface Credentials {
  readonly upstream: CredentialProvider
  readonly authnToken?: CredentialProvider
}

/**
 * The credential interceptor, an undici interceptor applied by hand: Dispatcher.compose would wrap the handler and
 * hand over merged header objects instead of raw lines (undici/lib/dispatcher/dispatcher.js, wrapInterceptor).
 * It appends `authorization` as the very last step, to a copy that only undici's request holds and that ends with it.
 *
 * @returns dispatch → dispatch; a missing credential reaches handler.onError as a CredentialFault, with nothing sent
 */
export function injectCredential (credentials: Credentials): (dispatch: Dispatcher.Dispatch) => CallDispatch {
  return dispatch => (options, handler) => {
    const kind = options.credential
    if (kind === 'none') { dispatch(plain(options, options.headers), handler); return }
    const provider = kind === 'authnToken' ? credentials.authnToken : credentials.upstream
    if (provider === undefined) { handler.onError(new CredentialFault('not_configured')); return }
    const found = provider.get()
    if (found instanceof Promise) found.then(later => send(dispatch, options, handler, later))
    else send(dispatch, options, handler, found)
  }
}

function send (dispatch: Dispatcher.Dispatch, options: CallOptions, handler: CallHandler, found: PresentedCredential | CredentialFault): void {
  if (handler.cancelled) return
  if (found instanceof CredentialFault) { handler.onError(found); return }
  handler.onCredential(found.generation, found.prove !== undefined)
  const headers = [...options.headers, 'authorization', `${found.scheme} ${found.token.reveal()}`]
  // One proof per call that is sent: a resend comes through here again.
  if (found.prove !== undefined) headers.push('dpop', found.prove(options.method, withoutQuery(options.path)))
  dispatch(plain(options, headers), handler)
}

function withoutQuery (target: string): string {
  const mark = target.indexOf('?')
  return mark < 0 ? target : target.slice(0, mark)
}

function plain (options: CallOptions, headers: readonly string[]): Dispatcher.DispatchOptions {
  const { path, method, body } = options
  // 0: forward.ts keeps the time.
  return { path, method: method as Dispatcher.HttpMethod, headers: headers as string[], body, headersTimeout: 0, bodyTimeout: 0 }
}
