/** Why a call brought no answer. Words for logs and for the server's choice of a refusal. */
export type FailureCode =
  | 'unreachable' // no connection: refused, no address, no route, connect timeout
  | 'tls' // no verified connection: certificate, name, protocol version
  | 'credential' // no credential to present; nothing was sent
  | 'timeout' // no headers, or no further body byte, in time
  | 'reset' // the connection ended before the answer did
  | 'bad_response' // what came is not HTTP/1.1 as we accept it
  | 'closed' // the pool is being shut down
  | 'internal' // a fault of the gate itself

/** What an error of undici, node:net or node:tls means. */
export interface Failure {
  readonly code: FailureCode
  /** the error's own code, e.g. ECONNREFUSED: names only, never its message, which may hold addresses or bytes */
  readonly cause: string
}

// This machine's own want of descriptors, ports or memory: it says nothing about the upstream, which other calls still reach.
const OWN_WANT = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'ENOBUFS', 'ENOMEM'])

// Codes of errors that stand for a connection that was never made and may be made by trying once more.
const TRY_AGAIN = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAI_AGAIN', 'UND_ERR_SOCKET'])

/**
 * Names a failure.
 *
 * @param error what undici handed to onError
 * @param sent whether a byte of the request may have been written: decides what a reset means
 * @param answered whether the answer's headers have been accepted
 */
export function nameFailure (error: unknown, sent: boolean, answered: boolean): Failure {
  const cause = causeOf(error)
  if (cause === 'UND_ERR_DESTROYED' || cause === 'UND_ERR_CLOSED') return { code: 'closed', cause }
  if (isTlsCode(cause)) return { code: 'tls', cause }
  if (!sent) return { code: cause === 'UND_ERR_INVALID_ARG' || OWN_WANT.has(cause) ? 'internal' : 'unreachable', cause }
  if (cause === 'UND_ERR_HEADERS_TIMEOUT' || cause === 'UND_ERR_BODY_TIMEOUT' || cause === 'ETIMEDOUT') return { code: 'timeout', cause }
  if (cause === 'HTTP_PARSER' || cause === 'UND_ERR_HEADERS_OVERFLOW' || cause === 'UND_ERR_BAD_RESPONSE') return { code: 'bad_response', cause }
  // Two lengths in one head, as undici's parser reports them; behind the head it is a body that broke off.
  if (cause === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' && !answered) return { code: 'bad_response', cause }
  return { code: 'reset', cause }
}

/** True when the request may be sent once more: no connection was made, and trying again is not known to be vain. */
export function mayTryAgain (failure: Failure): boolean {
  return failure.code === 'unreachable' && TRY_AGAIN.has(failure.cause)
}

function causeOf (error: unknown): string {
  if (typeof error !== 'object' || error === null) return 'UNKNOWN'
  const { code, message, name } = error as { code?: unknown, message?: unknown, name?: unknown }
  // undici 7.30.2 leaves this error's code undefined; its message and data hold what was received.
  if (name === 'HTTPParserError') return 'HTTP_PARSER'
  // client-h1.js destroys the socket with these two texts after an unexpected 100, 101 or unasked bytes.
  if (code === 'UND_ERR_SOCKET' && (message === 'bad response' || message === 'bad upgrade')) return 'UND_ERR_BAD_RESPONSE'
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : 'UNKNOWN'
}

/** OpenSSL's verification codes as node names them, and node's own TLS errors. */
function isTlsCode (code: string): boolean {
  return code.startsWith('ERR_TLS_') || code.startsWith('ERR_SSL_') || code.startsWith('CERT_') || code.startsWith('CRL_') ||
    code.startsWith('UNABLE_TO_') || code === 'DEPTH_ZERO_SELF_SIGNED_CERT' || code === 'SELF_SIGNED_CERT_IN_CHAIN' ||
    code === 'HOSTNAME_MISMATCH' || code === 'INVALID_CA' || code === 'INVALID_PURPOSE' || code === 'PATH_LENGTH_EXCEEDED' || code === 'EPROTO'
}
