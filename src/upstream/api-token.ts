import type { Secret } from '../domain/secret.js'
import { CredentialFault, type CredentialNotice, type CredentialProvider, type PresentedCredential } from './credential.js'

// Okta's tokens are of these characters; anything else could end the header line or is a slip of the operator.
const TOKEN = /^[\x21-\x7e]{1,4096}$/
/** How long a token that Okta refused stays behind the other one: it may have been refused for where the call came from. */
const REFUSED_MS = 600_000

/** An API token (SSWS) and the exception that approves its use. */
export interface ApiTokenOptions {
  /** the token as the configuration holds it now; read anew for every call, so that a changed file counts at once */
  readonly token: () => Secret
  /** a second one, presented when Okta refuses the first */
  readonly next?: () => Secret
  /** epoch milliseconds: from this moment on the exception has ended and the token is not used */
  readonly exceptionExpiresAt: number
  /** epoch milliseconds */
  readonly now: () => number
  readonly notice?: (notice: CredentialNotice) => void
}

/** One of the tokens, as those see it who keep it alive. */
export interface TokenSlot {
  /** counted from 1 */
  readonly position: number
  readonly presented: PresentedCredential
  /** epoch milliseconds at which it was presented last by this process; undefined: never */
  readonly lastUsed?: number
}

export interface ApiToken extends CredentialProvider {
  /** The tokens that can be presented, whether in use or not. */
  readonly slots: () => readonly TokenSlot[]
  /** A token was presented by somebody else in this process. */
  readonly used: (position: number, now: number) => void
}

interface Slot { readonly position: number, readonly read: () => Secret, secret?: Secret, presented?: PresentedCredential, refusedAt?: number, lastUsed?: number }

/** A provider of `Authorization: SSWS …` (developer.okta.com/docs/reference/core-okta-api, authentication). */
export function createApiToken (options: ApiTokenOptions): ApiToken {
  const { now, notice } = options
  const reads = options.next === undefined ? [options.token] : [options.token, options.next]
  const slots = reads.map((read, index): Slot => ({ position: index + 1, read, secret: undefined, presented: undefined, refusedAt: undefined, lastUsed: undefined }))
  let generation = 0

  function refresh (slot: Slot): void {
    const current = slot.read()
    if (current === slot.secret) return
    slot.secret = current
    const text = current.reveal()
    if (slot.presented?.token.reveal() === text) return
    slot.presented = TOKEN.test(text) ? { scheme: 'SSWS', token: current, generation: ++generation } : undefined
    slot.refusedAt = undefined
    slot.lastUsed = undefined
  }

  /** The first that Okta has not refused of late; when it has refused all of them, the first that there is. */
  function choose (at: number): Slot | undefined {
    let last: Slot | undefined
    for (const slot of slots) {
      refresh(slot)
      if (slot.presented === undefined) continue
      if (slot.refusedAt === undefined || at - slot.refusedAt >= REFUSED_MS) return slot
      last ??= slot
    }
    return last
  }

  function get (): PresentedCredential | CredentialFault {
    const at = now()
    if (at >= options.exceptionExpiresAt) return new CredentialFault('exception_expired')
    const slot = choose(at)
    if (slot === undefined) return new CredentialFault('empty')
    slot.lastUsed = at
    return slot.presented!
  }

  /** A refused token stays refused; only another one is worth another call. */
  function invalidate (refused: number): boolean {
    const at = now()
    for (const slot of slots) refresh(slot)
    const slot = slots.find(each => each.presented?.generation === refused)
    if (slot !== undefined) {
      if (slot.refusedAt === undefined || at - slot.refusedAt >= REFUSED_MS) notice?.({ kind: 'token_refused', alarm: true, position: slot.position })
      slot.refusedAt = at
    }
    const next = choose(at)
    return next !== undefined && next !== slot && (next.refusedAt === undefined || at - next.refusedAt >= REFUSED_MS)
  }

  return {
    get,
    invalidate,
    slots: () => slots.flatMap(slot => {
      refresh(slot)
      const { position, presented, lastUsed } = slot
      return presented === undefined ? [] : [{ position, presented, lastUsed }]
    }),
    used: (position, at) => { slots[position - 1]!.lastUsed = at },
    status: () => {
      const at = now()
      const expiresAt = options.exceptionExpiresAt
      const slot = choose(at)
      if (at >= expiresAt || slot === undefined) return { kind: 'apiToken', available: false, lastError: at >= expiresAt ? 'exception_expired' : 'empty', expiresAt }
      return { kind: 'apiToken', available: true, expiresAt, position: slot.position }
    },
    close: () => {}
  }
}
