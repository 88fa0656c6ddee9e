import { createHash } from 'node:crypto'
import type { Problem } from '../domain/problem.js'
import type { Catalog } from '../okta/catalog.js'
import type { Analyser } from './analyse.js'
import type { CompiledPolicy } from './compile.js'
import type { FileRules } from './place-rules.js'
import type { SetFile } from './schema.js'
import type { WrittenSet } from './written.js'

/** What a load looks names up in, made of operations.yaml. */
export interface Ground {
  /** digest of operations.yaml; undefined: there is none */
  readonly digest: string | undefined
  readonly problems: readonly Problem[]
  readonly catalog: Catalog
  readonly analyser: Analyser
}

/** A set that is sound, and its rules. */
export interface KeptSet {
  readonly digest: string
  readonly value: SetFile
  readonly rules: FileRules
  readonly problems: readonly Problem[]
}

/** A policy that is sound, and what hangs on other files and on time. */
export interface KeptPolicy {
  readonly digest: string
  readonly policy: CompiledPolicy
  readonly sharing: boolean
  /** warnings; a file with an error is not kept */
  readonly problems: readonly Problem[]
  readonly extends: readonly string[]
  /** files of the policies folder that it names */
  readonly attachments: readonly string[]
  /** the state of both, as text */
  readonly dependencies: string
  /** epoch milliseconds between which the same would be said */
  readonly from: number
  readonly until: number
}

/**
 * What earlier loads made of files, for the next: a file whose text is the same, and whose sets, attachments, catalogue,
 * upstreams and dates say the same, is not read again. One per running gate. Texts are compared by SHA-256.
 */
export class KeptPolicies {
  #context = ''
  #ground: Ground | undefined
  #sets: ReadonlyMap<string, KeptSet> = new Map()
  #policies: ReadonlyMap<string, KeptPolicy> = new Map()

  /** @param context what policies are judged against beside files: a change of it leaves nothing of them */
  begin (context: string): void {
    if (context !== this.#context) this.#policies = new Map()
    this.#context = context
  }

  ground (digest: string | undefined): Ground | undefined {
    return this.#ground !== undefined && this.#ground.digest === digest ? this.#ground : undefined
  }

  /** Operations have indexes of their catalogue: with another one nothing of before may be used. */
  setGround (ground: Ground): void {
    this.#ground = ground
    this.#sets = new Map()
    this.#policies = new Map()
  }

  set (name: string, digest: string): KeptSet | undefined {
    const found = this.#sets.get(name)
    return found?.digest === digest ? found : undefined
  }

  /** @param dependencies the present state of what an entry names */
  policy (name: string, digest: string, now: number, dependencies: (kept: Pick<KeptPolicy, 'extends' | 'attachments'>) => string): KeptPolicy | undefined {
    const found = this.#policies.get(name)
    if (found?.digest !== digest || now < found.from || now >= found.until) return undefined
    return dependencies(found) === found.dependencies ? found : undefined
  }

  /** What the load that ends here can use again, in place of what was kept. */
  end (sets: ReadonlyMap<string, KeptSet>, policies: ReadonlyMap<string, KeptPolicy>): void {
    this.#sets = sets
    this.#policies = policies
    this.#ground?.analyser.forget()
  }
}

/**
 * Tells the state of the sets and attachments that a file names, and of the sets that these extend, as one text.
 *
 * @param digests of all sets, by name
 * @param sets those that are sound
 * @param attachments their texts, by name in the policies folder
 */
export function createDependencies (digests: ReadonlyMap<string, string>, sets: ReadonlyMap<string, WrittenSet>, attachments: ReadonlyMap<string, string> | undefined): (kept: Pick<KeptPolicy, 'extends' | 'attachments'>) => string {
  return ({ extends: names, attachments: attached }) => {
    if (names.length === 0 && attached.length === 0) return ''
    const seen = new Set<string>()
    const collect = (name: string): void => {
      if (seen.has(name)) return
      seen.add(name)
      for (const next of sets.get(name)?.value.extends ?? []) collect(next)
    }
    names.forEach(collect)
    const texts = attached.map(name => attachments?.get(name.replace(/^(\.\/)+/, '')) ?? null)
    return createHash('sha256').update(JSON.stringify([[...seen].map(name => [name, digests.get(name) ?? '', sets.has(name)]), texts])).digest('base64')
  }
}
