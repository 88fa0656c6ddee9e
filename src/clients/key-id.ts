/** A key's id in events: the first 8 hex digits of its SHA-256, here from a base64url thumbprint. */
export function keyIdOf (thumbprint: string): string {
  return Buffer.from(thumbprint, 'base64url').subarray(0, 4).toString('hex')
}
