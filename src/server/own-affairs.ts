import type { Logger } from 'pino'
import type { Config, SecretReference } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import type { LimitStore } from '../limits/store.js'
import type { CompiledPolicy } from '../policy/compile.js'
import type { CredentialProvider, PresentedCredential } from '../upstream/credential.js'
import { Caretaker } from './caretaker.js'
import { expiriesOf, type Expiry } from './expiries.js'
import type { Links } from './links.js'
import { ownCall, type OwnAnswer } from './own-calls.js'
import { SelfKeeper, type KnownIdentities } from './self-keeper.js'
import type { Snapshot } from './snapshot.js'

const ROUND_MS = 3_600_000
const LEARN_AGAIN_MS = 60_000

export interface OwnAffairsParts {
  readonly log: Logger
  readonly links: Links
  readonly limits: LimitStore
  readonly snapshot: () => Snapshot
  readonly steadyNow: () => number
  /** false: the gate calls Okta for nothing but tokens; undefined: as the configuration says of each upstream */
  readonly ownCalls: boolean | undefined
  /** how soon Okta is asked again, milliseconds */
  readonly learnAgainMs?: number
  /** hears who the gate is whenever more is known of it */
  readonly told?: (known: KnownIdentities) => void
  /** notes which API tokens other processes of this gate have used; before each look at idle ones but the first */
  readonly noteUse?: () => Promise<void>
}

/** What the gate does for itself: finds out who it is, keeps idle tokens alive, tells of what will end. */
export class OwnAffairs {
  readonly self: SelfKeeper
  readonly #parts: OwnAffairsParts
  readonly #caretaker: Caretaker
  #expiries: readonly Expiry[] = []
  #learntAt = -Infinity
  /** upstreams that are asked */
  #asked = new Set<string>()
  #rounds: NodeJS.Timeout | undefined
  #again: NodeJS.Timeout | undefined
  #closed = false
  /** upstreams of which it was said whether they are asked */
  readonly #told = new Set<string>()

  constructor (parts: OwnAffairsParts) {
    const { log, links } = parts
    this.#parts = parts
    this.self = new SelfKeeper(log, parts.told)
    this.#caretaker = new Caretaker({
      log,
      tokens: () => [...links.tokens()].filter(({ upstream }) => this.#asked.has(upstream)),
      expiries: () => this.#expiries,
      use: async (upstream, { presented }) => (await this.#call(upstream, 'getUser', '/api/v1/users/me', presented))?.status
    })
  }

  get expiries (): readonly Expiry[] { return this.#expiries }

  /** What a new configuration says of it, without asking anybody. */
  renew (config: Config, secrets: ReadonlyMap<SecretReference, Secret>, policies: Iterable<CompiledPolicy>): void {
    this.self.renew(config)
    const before = this.#asked
    this.#asked = new Set([...config.upstreams.values()].filter(upstream => this.#parts.ownCalls ?? upstream.ownCalls).map(({ name }) => name))
    for (const { name, ownCalls } of config.upstreams.values()) {
      if (this.#parts.ownCalls === undefined && !ownCalls && (before.has(name) || !this.#told.has(name))) this.#parts.log.warn({ upstream: name }, 'the gate does not ask this org who it is: calls that name its own user, token, zones and roles are not refused (ownCalls)')
      this.#told.add(name)
    }
    this.#expiries = expiriesOf(config, secrets, policies)
  }

  /**
   * Asks Okta who the gate is; not more often than once a minute, however often files change. What had to wait, and
   * what Okta has not answered, is asked a minute later. Never rejects.
   */
  async learn (): Promise<void> {
    if (this.#asked.size === 0 || this.#closed) return
    const pause = this.#parts.learnAgainMs ?? LEARN_AGAIN_MS
    const wait = this.#learntAt + pause - performance.now()
    if (wait > 0) { this.#learnIn(wait); return }
    this.#learntAt = performance.now()
    const credentials = [...this.#parts.links.own()].filter(({ upstream }) => this.#asked.has(upstream))
      .map(own => ({ ...own, call: (operation: string, target: string) => this.#call(own.upstream, operation, target, own.provider) }))
    if (!await this.self.learn(credentials)) this.#learnIn(pause)
  }

  #learnIn (ms: number): void {
    if (this.#closed) return
    this.#again ??= setTimeout(() => {
      this.#again = undefined
      this.learn().catch(() => {})
    }, ms).unref()
  }

  /** From now on hourly. The first look has to come after the first `learn`: that one uses the tokens. */
  start (): void {
    const look = (): void => { this.#caretaker.look(Date.now()).catch(() => {}) }
    look()
    const round = async (): Promise<void> => {
      await this.learn()
      await this.#parts.noteUse?.()
    }
    this.#rounds = setInterval(() => { round().then(look, look) }, ROUND_MS).unref()
  }

  close (): void {
    this.#closed = true
    clearInterval(this.#rounds)
    clearTimeout(this.#again)
  }

  async #call (upstream: string, operation: string, target: string, credential: CredentialProvider | PresentedCredential): Promise<OwnAnswer | undefined> {
    const { links, limits, snapshot, steadyNow } = this.#parts
    const { upstreams, catalog } = snapshot()
    const road = upstreams.get(upstream)
    const link = [...links.own()].find(own => own.upstream === upstream)?.link
    if (road === undefined || link === undefined) return undefined
    return await ownCall({ limits, catalog, road, link, steadyNow, now: Date.now }, operation, target, credential)
  }
}
