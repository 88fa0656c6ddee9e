import type { Logger } from 'pino'
import { unreachable } from '../domain/rejection.js'
import { scopesOf } from '../okta/permissions.js'
import type { NeededOperation } from '../policy/needed.js'
import type { CredentialNotice } from '../upstream/credential.js'

/** How often there was an alarm of a kind. */
export interface AlarmCount { readonly upstream: string, readonly kind: CredentialNotice['kind'], readonly count: number }

/** Tells operators of what happens to the gate's credentials: a log line each, and a count of the alarms. */
export class CredentialNotices {
  readonly #log: Logger
  readonly #alarms = new Map<string, AlarmCount>()

  constructor (log: Logger) { this.#log = log }

  * alarms (): Iterable<AlarmCount> { yield * this.#alarms.values() }

  note (upstream: string, notice: CredentialNotice, needed: readonly NeededOperation[]): void {
    if (notice.alarm) {
      const key = `${upstream}\n${notice.kind}`
      this.#alarms.set(key, { upstream, kind: notice.kind, count: (this.#alarms.get(key)?.count ?? 0) + 1 })
    }
    switch (notice.kind) {
      case 'key_refused':
        this.#log.error({ upstream, alarm: notice.kind, key: notice.position, reason: notice.detail }, 'Okta refuses the first signing key: another one serves; register the public key of the first, or take it out')
        return
      case 'key_serves': this.#log.info({ upstream }, 'Okta accepts the first signing key: the one before is needed no longer once the tokens it signed for have ended'); return
      case 'token_refused': this.#log.error({ upstream, alarm: notice.kind, token: notice.position }, notice.position === 1 ? 'Okta refuses the API token; `next` is tried where there is one' : 'Okta refuses the next API token, too'); return
      case 'scopes_refused': this.scopes(upstream, notice.scopes, needed); return
      case 'scopes_granted': this.#log.info({ upstream }, 'Okta grants every scope that was asked for'); return
      case 'no_token': this.#log.error({ upstream, alarm: notice.kind, reason: notice.reason, detail: notice.detail }, hintOf(notice.reason, notice.detail)); return
      case 'token_again': this.#log.info({ upstream }, 'the token endpoint gives tokens again'); return
      default: unreachable(notice)
    }
  }

  /** Names the rules that can't work without these scopes. */
  scopes (upstream: string, scopes: readonly string[], needed: readonly NeededOperation[]): void {
    for (const scope of scopes) {
      const rules = needed.filter(one => one.upstream === upstream && one.credential === 'upstream' && scopesOf(one.operation).includes(scope)).map(({ rule, operation }) => `${rule} (${operation.id})`)
      this.#log.error({ upstream, alarm: 'scopes_refused', scope, rules }, 'Okta refuses this scope to the service app: the rules that need it answer 503; grant it, or take the rules out')
    }
  }
}

function hintOf (reason: string, detail: string | undefined): string {
  if (reason === 'token_invalid' && detail === 'token_type') return 'the token is not of the kind that was asked for: dpop: true needs a token that is bound to a key; see `dpop` in docs/upstreams.md'
  if (reason === 'token_refused' && detail === 'invalid_dpop_proof') return 'the service app takes bound tokens only: write dpop: true'
  return 'no access token: the old one is used while it lasts, then calls are answered 503'
}
