import { createHash } from 'node:crypto'
import type { Secret } from '../domain/secret.js'
import { CredentialFault, type CredentialNotice } from './credential.js'
import { readSigningKey } from './signing-key.js'
import type { GrantedToken, TokenRequest } from './token-request.js'

/** Which scopes a token has to have, and what is left to ask for when Okta refuses some of them. */
export interface ScopePlan {
  readonly scopes: readonly string[]
  /** those to ask for when these are refused; by default the others */
  readonly without?: (refused: ReadonlySet<string>) => readonly string[]
}

export interface TokenAskerOptions {
  /** the keys as the configuration holds them now; the first signs */
  readonly keys: () => readonly Secret[]
  /** one request; throws CredentialFault */
  readonly request: (wanted: Pick<TokenRequest, 'key' | 'scopes'>) => Promise<GrantedToken>
  readonly notice: (notice: CredentialNotice) => void
}

/**
 * Gets a token with the first key that Okta takes, for all the scopes that Okta gives. A key that is new is tried
 * first; when Okta knows no such key the ones behind it are, and last the key that served until now, even if the
 * configuration holds it no longer: a rotation whose new key is not registered yet costs an alarm, not a gap.
 */
export class TokenAsker {
  readonly #options: TokenAskerOptions
  #refused: ReadonlySet<string> = new Set()
  #served: Secret | undefined
  #position = 1

  constructor (options: TokenAskerOptions) { this.#options = options }

  /** Scopes that Okta refuses to this client. */
  get refused (): ReadonlySet<string> { return this.#refused }

  /** Which key serves, counted from 1; one that is configured no longer counts as the one behind the last. */
  get position (): number { return this.#position }

  /** What the first key is now: changes when it should be tried. */
  get firstKey (): string {
    const [first] = this.#options.keys()
    return first === undefined ? '' : printOf(first)
  }

  /** @throws CredentialFault: that of the first key */
  async ask (plan: ScopePlan): Promise<GrantedToken> {
    if (plan.scopes.length === 0) throw new CredentialFault('no_scopes')
    const keys = this.#candidates()
    let fault: CredentialFault | undefined
    for (const [index, text] of keys.entries()) {
      try {
        const granted = await this.#askWith(text, keys.length > 1, plan)
        this.#serves(text, index + 1, fault)
        return granted
      } catch (error) {
        if (!(error instanceof CredentialFault)) throw error
        fault ??= error
        if (!isAboutKey(error)) throw error
      }
    }
    throw fault ?? new CredentialFault('bad_key')
  }

  #candidates (): readonly Secret[] {
    const keys = this.#options.keys()
    const served = this.#served
    return served === undefined || keys.some(key => printOf(key) === printOf(served)) ? keys : [...keys, served]
  }

  #serves (key: Secret, position: number, fault: CredentialFault | undefined): void {
    const before = this.#position
    const changed = this.#served !== undefined && printOf(this.#served) !== printOf(key)
    this.#served = key
    this.#position = position
    if (position > 1 && before === 1) this.#options.notice({ kind: 'key_refused', alarm: true, position, detail: fault?.detail ?? fault?.reason })
    else if (position === 1 && (before > 1 || changed)) this.#options.notice({ kind: 'key_serves', alarm: false })
  }

  /** A PEM has no `kid` of its own: its thumbprint may not be what it is registered under, so it is tried without, too. */
  async #askWith (text: Secret, several: boolean, plan: ScopePlan): Promise<GrantedToken> {
    const key = await readSigningKey(text, several).catch(() => { throw new CredentialFault('bad_key') })
    try {
      return await this.#askFor(scopes => this.#options.request({ key, scopes }), plan)
    } catch (error) {
      if (!(error instanceof CredentialFault) || !isAboutKey(error) || key.kid === undefined || !several) throw error
      const bare = await readSigningKey(text, false)
      if (bare.kid !== undefined) throw error
      return await this.#askFor(scopes => this.#options.request({ key: bare, scopes }), plan)
    }
  }

  async #askFor (request: (scopes: readonly string[]) => Promise<GrantedToken>, plan: ScopePlan): Promise<GrantedToken> {
    const without = (refused: ReadonlySet<string>): readonly string[] => (plan.without?.(refused) ?? plan.scopes).filter(scope => !refused.has(scope))
    const whole = await granted(request, plan.scopes)
    if (whole !== undefined) return this.#note(whole, new Set())
    // What was refused before is refused most likely now, too: one more request, no search.
    let refused = new Set([...this.#refused].filter(scope => plan.scopes.includes(scope)))
    let wanted = plan.scopes
    for (let rest = without(refused); ; rest = without(refused)) {
      if (refused.size > 0) {
        if (rest.length === 0) break
        const found = await granted(request, rest)
        if (found !== undefined) return this.#note(found, refused)
        wanted = rest
      }
      const more = await search(request, wanted)
      // Each alone is given, together they are not: nothing that leaving one out would mend.
      if (more.length === 0) throw new CredentialFault('token_refused', 'invalid_scope')
      refused = new Set([...refused, ...more])
    }
    this.#tell(refused)
    throw new CredentialFault('token_refused', 'invalid_scope')
  }

  /** Only an `invalid_scope` is a refusal. An answer that names fewer scopes refuses nothing: Okta says so at the call itself. */
  #note (found: GrantedToken, refused: ReadonlySet<string>): GrantedToken {
    this.#tell(refused)
    return found
  }

  #tell (refused: ReadonlySet<string>): void {
    const before = this.#refused
    this.#refused = refused
    if (refused.size === 0 ? before.size > 0 : [...refused].some(scope => !before.has(scope))) {
      this.#options.notice(refused.size === 0 ? { kind: 'scopes_granted', alarm: false } : { kind: 'scopes_refused', alarm: true, scopes: [...refused].sort() })
    }
  }
}

/** undefined: the scopes are refused. */
async function granted (request: (scopes: readonly string[]) => Promise<GrantedToken>, scopes: readonly string[]): Promise<GrantedToken | undefined> {
  try {
    return await request(scopes)
  } catch (error) {
    if (error instanceof CredentialFault && error.detail === 'invalid_scope') return undefined
    throw error
  }
}

/** Which of these scopes, of which at least one is refused, are: by halves. Okta's text may name them or not; it is not read. */
async function search (request: (scopes: readonly string[]) => Promise<GrantedToken>, scopes: readonly string[]): Promise<readonly string[]> {
  if (scopes.length <= 1) return scopes
  const middle = scopes.length >> 1
  const found: string[] = []
  for (const half of [scopes.slice(0, middle), scopes.slice(middle)]) {
    if (await granted(request, half) === undefined) found.push(...await search(request, half))
  }
  return found
}

/** Another key may help. */
function isAboutKey (fault: CredentialFault): boolean {
  return fault.reason === 'bad_key' || (fault.reason === 'token_refused' && fault.detail === 'invalid_client')
}

function printOf (key: Secret): string {
  return createHash('sha256').update(key.reveal()).digest('base64url')
}
