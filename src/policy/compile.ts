import type { CredentialKind, Decision, RuleReference } from '../domain/decision.js'
import type { RuleShape } from './shape.js'

/** How a client proves who it is. */
export interface ApiKeyEntry {
  readonly kind: 'apiKey'
  /** 64 hex digits, small letters */
  readonly sha256: string
  /** epoch milliseconds, the first refused one */
  readonly expiresAt?: number
}

/** Key pairs whose public halves the policy lists. */
export interface KeyPairEntry {
  readonly kind: 'privateKeyJwt'
  /** the JWK Set as it was read; undefined when its file was not given, or is no JSON */
  readonly jwks: unknown
  readonly place: Place
  readonly dpop?: 'required' | 'optional'
  readonly requireJti: boolean
}

/** Tokens of an issuer that the client may present. */
export interface WorkloadEntry {
  readonly kind: 'workload'
  readonly issuer: string
  readonly audience: string
  readonly claims: ReadonlyMap<string, (value: unknown) => boolean>
}

/** A client certificate, by one of the three. */
export interface CertificateEntry {
  readonly kind: 'mtls'
  readonly place: Place
  readonly uri?: string
  readonly dns?: string
  readonly sha256?: string
}

export type AuthenticateEntry = ApiKeyEntry | KeyPairEntry | WorkloadEntry | CertificateEntry

/** Where an entry stands, for what is found out later. */
export interface Place { readonly file: string, readonly line: number, readonly column: number }

/** What compile() makes a policy of: written values, checked, and its rules with their places. */
export interface PolicyParts {
  readonly client: string
  readonly owner: string
  readonly description: string
  /** the file, relative to the policies folder */
  readonly file: string
  /** SHA-256 of the file and the sets that it extends, first 12 hex digits */
  readonly hash: string
  readonly mode: 'enforce' | 'observe'
  readonly upstream: string
  /** epoch milliseconds, the first refused one */
  readonly expiresAt?: number
  /** source addresses in CIDR notation; absent: any */
  readonly networks?: readonly string[]
  /** of the upstream's allowance in every bucket, above 0 and at most 1 */
  readonly share: number
  /** of the same, 0 to 1: what no other client can take while this one asks */
  readonly reserve: number
  /** who goes first when a bucket runs dry: 0 high, 1 normal, 2 low */
  readonly level: 0 | 1 | 2
  /** how long its calls may wait for allowance, milliseconds; absent: not at all */
  readonly waitMs?: number
  readonly authenticate: readonly AuthenticateEntry[]
}

/** A rule and where it stands. */
export interface PlacedRule {
  readonly shape: RuleShape
  readonly file: string
  /** position in its own file's list */
  readonly index: number
}

declare const compiled: unique symbol

/** A client's policy, ready to decide. Only compile() makes one. */
export interface CompiledPolicy extends PolicyParts {
  readonly [compiled]: true
  readonly allow: RuleTable
  readonly deny: RuleTable
}

let lastColumns: Uint32Array | Uint16Array = new Uint16Array()

/** Clients whose files are laid out alike, as copies of one are, share their columns, which nobody writes to. */
function sharedColumns (made: Uint32Array | Uint16Array): Uint32Array | Uint16Array {
  if (made.length === lastColumns.length && made.every((entry, i) => entry === lastColumns[i])) return lastColumns
  lastColumns = made
  return made
}

/**
 * A client's rules, grouped by operation, in order. Columns instead of objects: a rule costs some twelve bytes,
 * its shape is shared, and what audit events need is made when the rule first answers.
 */
export class RuleTable {
  readonly shapes: readonly RuleShape[]
  /** how many operations its rules are about */
  readonly groups: number
  /**
   * One array for all columns, since an array costs as much as fifty rules: the operations' indexes, ascending, each once;
   * where each operation's rules start in `shapes`, and one more; each rule's index in its file; which of #files that is,
   * unless there is one only.
   */
  readonly #columns: Uint32Array | Uint16Array
  readonly #files: readonly string[]
  readonly #kind: 'allow' | 'deny'
  #answers: (Extract<Decision, { effect: 'allow' }> | undefined)[] | undefined

  constructor (rules: readonly PlacedRule[], kind: 'allow' | 'deny', files: readonly string[]) {
    const sorted = rules.toSorted((a, b) => a.shape.operation.index - b.shape.operation.index)
    const starts = [...sorted.keys()].filter(i => sorted[i]!.shape.operation.index !== sorted[i - 1]?.shape.operation.index)
    this.shapes = sorted.map(rule => rule.shape)
    this.groups = starts.length
    const columns = [...starts.map(start => sorted[start]!.shape.operation.index), ...starts, sorted.length, ...sorted.map(rule => rule.index), ...files.length > 1 ? sorted.map(rule => files.indexOf(rule.file)) : []]
    this.#columns = sharedColumns(sorted.length > 65_535 ? Uint32Array.from(columns) : Uint16Array.from(columns))
    this.#files = files
    this.#kind = kind
  }

  /** The group of an operation's rules; -1 when there is none. */
  group (operation: number): number {
    const operations = this.#columns
    let low = 0
    let high = this.groups - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const found = operations[middle]!
      if (found === operation) return middle
      if (found < operation) low = middle + 1
      else high = middle - 1
    }
    return -1
  }

  start (group: number): number {
    return group < 0 ? 0 : this.#columns[this.groups + group]!
  }

  end (group: number): number {
    return group < 0 ? 0 : this.#columns[this.groups + group + 1]!
  }

  /** `file#index`, or `file#deny<index>`. */
  id (position: number): string {
    return `${this.file(position)}#${this.#kind === 'deny' ? 'deny' : ''}${this.index(position)}`
  }

  file (position: number): string {
    return this.#files[this.#files.length > 1 ? this.#columns[2 * this.groups + 1 + this.shapes.length + position]! : 0]!
  }

  index (position: number): number {
    return this.#columns[2 * this.groups + 1 + position]!
  }

  /** The rule as audit events and refusals name it. */
  reference (position: number): RuleReference {
    return this.answer(position).rule
  }

  /** The decision that this rule gives when it matches; the same object every time. */
  answer (position: number): Extract<Decision, { effect: 'allow' }> {
    const answers = this.#answers ??= new Array(this.shapes.length)
    const known = answers[position]
    if (known !== undefined) return known
    const made: Extract<Decision, { effect: 'allow' }> = { effect: 'allow', rule: this.#makeReference(position) }
    answers[position] = made
    return made
  }

  #makeReference (position: number): RuleReference {
    const { name, credential, limitPerMinute, waitMs } = this.shapes[position]!
    const base: { id: string, name: string, credential: CredentialKind } = { id: this.id(position), name, credential }
    return limitPerMinute === undefined && waitMs === undefined ? base : { ...base, limitPerMinute, waitMs }
  }
}

/**
 * Makes the policy that decide() asks.
 *
 * @param parts checked values
 * @param allow in the order in which they are tried: the file's own, then those of its sets
 * @param deny likewise; order has no meaning for them
 */
export function compile (parts: PolicyParts, allow: readonly PlacedRule[], deny: readonly PlacedRule[]): CompiledPolicy {
  // Written out: V8 gives what is spread a hidden class of its own, half a kilobyte for each client.
  const policy: Omit<CompiledPolicy, typeof compiled> = {
    client: parts.client,
    owner: parts.owner,
    description: parts.description,
    file: parts.file,
    hash: parts.hash,
    mode: parts.mode,
    upstream: parts.upstream,
    expiresAt: parts.expiresAt,
    networks: parts.networks,
    share: parts.share,
    reserve: parts.reserve,
    level: parts.level,
    waitMs: parts.waitMs,
    authenticate: parts.authenticate,
    allow: tableOf(allow, 'allow'),
    deny: tableOf(deny, 'deny')
  }
  return policy as CompiledPolicy
}

/** Most policies have no deny, and tables without rules are all the same. */
const EMPTY = new RuleTable([], 'deny', [])

function tableOf (rules: readonly PlacedRule[], kind: 'allow' | 'deny'): RuleTable {
  return rules.length === 0 ? EMPTY : new RuleTable(rules, kind, [...new Set(rules.map(rule => rule.file))])
}
