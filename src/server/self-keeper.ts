import type { Logger } from 'pino'
import type { Config } from '../config/config.js'
import type { GateSelf } from '../okta/self.js'
import type { CredentialProvider } from '../upstream/credential.js'
import type { OwnAnswer } from './own-calls.js'
import { barely, learnServiceApp, learnTokenOwner, selfOf, type Ask, type Identity } from './self-knowledge.js'

/** One credential of the gate, and how to ask Okta with it. */
export interface OwnCredential {
  readonly upstream: string
  /** of a service app; undefined: an API token */
  readonly clientId?: string
  readonly provider: CredentialProvider
  readonly call: (operation: string, target: string) => Promise<OwnAnswer | undefined>
}

/** By upstream and kind of credential. */
export type KnownIdentities = ReadonlyArray<readonly [string, Identity]>

/**
 * Knows who the gate is, and keeps it known: what calls may not touch. One object for all snapshots, because what
 * Okta says comes after a snapshot was made, and stays true of the requests that are under way.
 */
export class SelfKeeper implements GateSelf {
  readonly #log: Logger
  #identities = new Map<string, Identity>()
  #self: GateSelf = {}
  /** what the log was told, by upstream and kind of credential */
  readonly #said = new Map<string, string>()

  readonly #told: (known: KnownIdentities) => void

  /** @param told hears what is known whenever that changes, for other processes */
  constructor (log: Logger, told: (known: KnownIdentities) => void = () => {}) {
    this.#log = log
    this.#told = told
  }

  get known (): KnownIdentities { return [...this.#identities] }

  /** Takes over what another process of this gate knows. */
  take (known: KnownIdentities): void { this.#put(new Map(known)) }

  get ids (): GateSelf['ids'] { return this.#self.ids }
  get bounds (): GateSelf['bounds'] { return this.#self.bounds }
  get names (): GateSelf['names'] { return this.#self.names }
  get groups (): GateSelf['groups'] { return this.#self.groups }
  get signIn (): GateSelf['signIn'] { return this.#self.signIn }

  /** What can be known without asking. What was learnt of an upstream that is still there stays. */
  renew (config: Config): void {
    const next = new Map<string, Identity>()
    for (const { name, credential } of config.upstreams.values()) {
      for (const key of [`${name} upstream`, `${name} authnToken`]) {
        const known = this.#identities.get(key)
        if (known !== undefined) next.set(key, known)
      }
      if (credential.kind !== 'serviceApp') continue
      const before = next.get(`${name} upstream`)
      if (before?.ids.includes(credential.clientId.toLowerCase()) !== true) next.set(`${name} upstream`, barely(credential.clientId))
    }
    this.#put(next)
  }

  /** Asks Okta about each credential, side by side. Never rejects. @returns false when Okta has not answered all, and may do so later */
  async learn (credentials: Iterable<OwnCredential & { readonly kind: 'upstream' | 'authnToken' }>): Promise<boolean> {
    const answered = await Promise.all([...credentials].map(async credential => await this.#learnOne(credential, `${credential.upstream} ${credential.kind}`)))
    return !answered.includes(false)
  }

  async #learnOne ({ upstream, clientId, call }: OwnCredential, key: string): Promise<boolean> {
    let answered = true
    const ask: Ask = async (operation, target) => {
      const answer = await call(operation, target)
      if (answer === undefined || isPassing(answer.status)) answered = false
      return answer?.status === 200 ? answer.json : undefined
    }
    const found = clientId === undefined ? await learnTokenOwner(ask) : await learnServiceApp(clientId, ask)
    const before = this.#identities.get(key)
    if (found.ids.length === 0) { this.#log.warn({ upstream, credential: key }, 'the gate could not find out who it is behind this credential: it is asked again'); return answered }
    const now = found.unknown.length === 0 || before === undefined ? found : merge(before, found)
    const known = JSON.stringify([now.ids, now.bounds, now.unknown])
    if (this.#said.get(key) !== known) this.#log.info({ upstream, credential: key, known: [...now.ids, ...now.bounds], unknown: now.unknown }, 'the gate knows itself: calls that would touch it are refused')
    this.#said.set(key, known)
    this.#put(new Map(this.#identities).set(key, now))
    return answered
  }

  #put (identities: Map<string, Identity>): void {
    this.#identities = identities
    this.#self = selfOf(identities.values())
    this.#told(this.known)
  }
}

/** Ends by itself; a 401, 403 or 404 stays until somebody changes something. */
function isPassing (status: number): boolean {
  return status === 429 || status >= 500
}

/** What was known once is not forgotten because a call has failed today. */
function merge (before: Identity, now: Identity): Identity {
  const both = (of: (one: Identity) => readonly string[]): string[] => [...new Set([...of(before), ...of(now)])]
  return { ids: both(one => one.ids), bounds: both(one => one.bounds), logins: both(one => one.logins), groups: both(one => one.groups), names: [...before.names, ...now.names], unknown: now.unknown }
}
