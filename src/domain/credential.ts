import type { Secret } from './secret.js'

/** What goes into the Authorization header of an upstream call, without its value being printable. */
export interface Authorization {
  readonly scheme: 'SSWS' | 'Bearer' | 'DPoP'
  readonly token: Secret
}
