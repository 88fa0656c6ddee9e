/** Who is calling, once it is known. */
export interface Client {
  /** `client:` of the policy file; in every audit event */
  readonly id: string
  /** which of the client's keys: the first 8 hex digits of the key's SHA-256; never a part of the key */
  readonly keyId: string
  /** how: 'apiKey' now; 'privateKeyJwt', 'workload', 'mtls' */
  readonly method: string
}

/** A DPoP proof that is good and may be used once (RFC 9449 section 11.1). */
export interface PendingProof {
  /** what has to be new: the proof's key and jti */
  readonly value: string
  /** epoch milliseconds from which on it is refused for its age anyway */
  readonly untilMs: number
}

const KEY = /ngk_[0-9A-Za-z]{49}/

/** True for a text in which a client key stands (its form: docs/interfaces.md). It belongs into Authorization alone. */
export function holdsClientKey (text: string): boolean {
  return text.includes('ngk_') && KEY.test(text)
}
