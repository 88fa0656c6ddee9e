/** Who is calling, once it is known. */
export interface Client {
  /** `client:` of the policy file; in every audit event */
  readonly id: string
  /** which of the client's keys: the first 8 hex digits of the key's SHA-256; never a part of the key */
  readonly keyId: string
  /** how: 'apiKey' now; 'privateKeyJwt', 'workload', 'mtls' */
  readonly method: string
}
