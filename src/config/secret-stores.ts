import { unreachable } from '../domain/rejection.js'
import type { Problem } from '../domain/problem.js'
import { Secret } from '../domain/secret.js'
import type { LocalReference, SecretReference, SecretStoresConfig, StoreReference } from './config.js'
import { checkedSecret } from './secret-files.js'
import { shownName, SOURCE_TIMEOUT_MS, SourceFault, type SecretSource } from './secret-source.js'
import { openAws } from './store-aws.js'
import { openAzure } from './store-azure.js'
import { openGoogle } from './store-google.js'
import { openVault } from './store-vault.js'

/** What became of a secret when it was read again. */
export type StoreNotice =
  | { readonly kind: 'kept', readonly name: string, readonly reason: string }
  | { readonly kind: 'back', readonly name: string }
  | { readonly kind: 'changed', readonly name: string }

export interface StoreStatus {
  readonly store: StoreReference['kind']
  readonly name: string
  /** whether the last read went well */
  readonly good: boolean
  readonly reason?: string
  /** monotonic milliseconds of the last good read; undefined: there was none */
  readonly readAt?: number
}

export interface StoresOptions {
  /** monotonic milliseconds */
  readonly clock: () => number
  readonly notice?: (notice: StoreNotice) => void
  /** a test gives one of its own */
  readonly open?: typeof openSource
  readonly timeoutMs?: number
}

type Kind = StoreReference['kind']
interface Open { readonly settings: string, readonly source: Promise<SecretSource> }
interface Held { readonly reference: StoreReference, secret?: Secret, readAt?: number, reason?: string }

/**
 * The secrets that are kept in other services. They outlive snapshots: a load takes what was read last, `refresh`
 * reads everything again, and what can't be read keeps its last good value for as long as the gate runs.
 */
export class SecretStores {
  readonly #options: StoresOptions
  readonly #open = new Map<Kind, Open>()
  readonly #held = new Map<string, Held>()
  readonly #reading = new Map<string, Promise<boolean>>()
  #local: ReadonlyMap<SecretReference, Secret> = new Map()
  #texts = new Map<string, Secret>()
  #config: SecretStoresConfig | undefined
  #asked: ReadonlySet<string> = new Set()

  constructor (options: StoresOptions) { this.#options = options }

  /** How often to read again, milliseconds; undefined while nothing is kept elsewhere. */
  get refreshMs (): number | undefined { return this.#asked.size === 0 ? undefined : this.#config?.refreshMs }

  /** Whether a secret that is asked for could not be read the last time. */
  get failing (): boolean { return [...this.status()].some(({ good }) => !good) }

  * status (): Iterable<StoreStatus> {
    for (const name of this.#asked) {
      const { reference, reason, readAt } = this.#held.get(name)!
      yield { store: reference.kind, name, good: reason === undefined, reason, readAt }
    }
  }

  /**
   * The secrets of a configuration. What was read before is not read again.
   * @param local the settings' own secrets, which are kept in files and the environment
   */
  async read (config: SecretStoresConfig, local: ReadonlyMap<SecretReference, Secret>, references: readonly StoreReference[]): Promise<{ secrets: ReadonlyMap<SecretReference, Secret>, problems: readonly Problem[] }> {
    this.#configure(config, local)
    for (const reference of references) if (!this.#held.has(shownName(reference))) this.#held.set(shownName(reference), { reference })
    this.#asked = new Set(references.map(shownName))
    await Promise.all([...this.#asked].filter(name => this.#held.get(name)!.secret === undefined).map(async name => await this.#readOne(name)))
    const secrets = new Map<SecretReference, Secret>()
    const problems: Problem[] = []
    for (const reference of references) {
      const { secret, reason } = this.#held.get(shownName(reference))!
      if (secret !== undefined) secrets.set(reference, secret)
      else problems.push({ severity: 'error', ...reference.place, message: `${shownName(reference)}: ${reason ?? 'it was not read'}` })
    }
    return { secrets, problems }
  }

  /** Reads everything again. Never rejects. @returns whether a load would now see something else */
  async refresh (): Promise<boolean> {
    return (await Promise.all([...this.#asked].map(async name => await this.#readOne(name)))).includes(true)
  }

  close (): void {
    for (const kind of this.#open.keys()) this.#shut(kind)
  }

  /** A store whose settings are others is opened anew when it is next asked; what was read of it stays. */
  #configure (config: SecretStoresConfig, local: ReadonlyMap<SecretReference, Secret>): void {
    this.#config = config
    this.#local = local
    this.#texts = new Map([...local].map(([reference, secret]) => [JSON.stringify(withoutPlace(reference)), secret]))
    for (const [kind, { settings }] of this.#open) if (settings !== this.#settingsOf(kind)) this.#shut(kind)
  }

  #settingsOf (kind: Kind): string {
    const settings = this.#config?.[kind]
    const ca = settings !== undefined && 'ca' in settings && settings.ca !== undefined ? this.#local.get(settings.ca)?.reveal() : undefined
    return JSON.stringify([settings, ca], (key, value: unknown) => key === 'place' ? undefined : value)
  }

  #shut (kind: Kind): void {
    this.#open.get(kind)?.source.then(source => { source.close() }, () => {})
    this.#open.delete(kind)
  }

  async #sourceOf (kind: Kind): Promise<SecretSource> {
    let open = this.#open.get(kind)
    if (open === undefined) {
      const local = (reference: LocalReference): Secret => {
        const secret = this.#texts.get(JSON.stringify(withoutPlace(reference)))
        if (secret === undefined) throw new SourceFault('the credential for it is not loaded')
        return secret
      }
      const source = (this.#options.open ?? openSource)(kind, this.#config!, local, this.#options.clock)
      // Not kept: a client that is not installed yet may be by the next time.
      source.catch(() => { if (this.#open.get(kind)?.source === source) this.#open.delete(kind) })
      open = { settings: this.#settingsOf(kind), source }
      this.#open.set(kind, open)
    }
    return await open.source
  }

  /** One read at a time of each secret. */
  async #readOne (name: string): Promise<boolean> {
    let reading = this.#reading.get(name)
    if (reading === undefined) {
      reading = this.#readNow(this.#held.get(name)!, name).finally(() => { this.#reading.delete(name) })
      this.#reading.set(name, reading)
    }
    return await reading
  }

  async #readNow (held: Held, name: string): Promise<boolean> {
    const { notice, clock, timeoutMs = SOURCE_TIMEOUT_MS + 1000 } = this.#options
    try {
      // To load a client takes a second or more, and is no matter of the service's.
      const source = await this.#sourceOf(held.reference.kind)
      const text = await within(timeoutMs, async () => await source.read(held.reference))
      const result = checkedSecret(text)
      if (result.error !== undefined) throw new SourceFault(result.error)
      const before = held.secret
      if (held.reason !== undefined && before !== undefined) notice?.({ kind: 'back', name })
      held.readAt = clock()
      held.reason = undefined
      if (before?.reveal() === result.text) return false
      held.secret = new Secret(result.text!)
      if (before !== undefined) notice?.({ kind: 'changed', name })
      return true
    } catch (error) {
      const reason = wordsOf(error)
      if (held.secret !== undefined && held.reason !== reason) notice?.({ kind: 'kept', name, reason })
      held.reason = reason
      return false
    }
  }
}

/** @param local what a reference of the settings stands for now */
async function openSource (kind: Kind, config: SecretStoresConfig, local: (reference: LocalReference) => Secret, clock: () => number): Promise<SecretSource> {
  switch (kind) {
    case 'vault': return openVault(config.vault!, local, clock)
    case 'awsSecretsManager': return await openAws(config.awsSecretsManager)
    case 'googleSecretManager': return await openGoogle(config.googleSecretManager)
    case 'azureKeyVault': return await openAzure(config.azureKeyVault, local)
    default: return unreachable(kind)
  }
}

function withoutPlace ({ place: _place, confidential: _confidential, ...rest }: LocalReference | SecretReference): object { return rest }

/** The clients' messages may repeat what they were sent; their names, codes and statuses don't. */
function wordsOf (error: unknown): string {
  if (error instanceof SourceFault) return error.message
  const { name, code, status, statusCode } = error as { name?: unknown, code?: unknown, status?: unknown, statusCode?: unknown }
  const words = [name, code, statusCode ?? status].filter(word => (typeof word === 'string' && /^[\w.-]{1,60}$/.test(word)) || typeof word === 'number')
  return `it cannot be read (${[...new Set(words.map(String))].join(' ')})`
}

async function within<T> (ms: number, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => { reject(new SourceFault(`no answer within ${ms / 1000} s`)) }, ms)
    timer.unref()
  })
  try {
    return await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}
