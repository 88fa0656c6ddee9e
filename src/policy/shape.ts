import type { CredentialKind } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import type { BodyCondition, QueryCondition, ValueTest } from './condition.js'

/**
 * What a rule means, without its place. Immutable and shared: identical rules of all clients have one shape,
 * so that ten thousand policies cost little more than their tables.
 */
export interface RuleShape {
  readonly operation: Operation
  /** `as`, or the operation or request line */
  readonly name: string
  /** which spellings of the path it admits; `operation` rules and denies: any */
  readonly spelling: 'any' | 'canonical' | 'alias'
  /** by position in the path; undefined: any parameters */
  readonly where: readonly (ValueTest | undefined)[] | undefined
  /** the parameters' names as the rule's conditions call them */
  readonly names: readonly string[]
  readonly query: QueryCondition
  readonly body: BodyCondition | undefined
  readonly credential: CredentialKind
  readonly limitPerMinute: number | undefined
  readonly waitMs: number | undefined
  readonly observe: boolean
  /** the written body condition as JSON text: equal texts, equal conditions */
  readonly bodyText: string | undefined
}

/** What rules that differ in `where` alone have in common. */
export type CommonShape = Omit<RuleShape, 'where'>

/** A rule's shape: clients' own ids are in `where`, and all the rest is shared by their rules. */
export function shapeOf (common: CommonShape, where: RuleShape['where']): RuleShape {
  return new Shape(common, where)
}

class Shape implements RuleShape {
  readonly where: RuleShape['where']
  readonly #common: CommonShape

  constructor (common: CommonShape, where: RuleShape['where']) {
    this.where = where
    this.#common = common
  }

  get operation (): Operation { return this.#common.operation }
  get name (): string { return this.#common.name }
  get spelling (): RuleShape['spelling'] { return this.#common.spelling }
  get names (): readonly string[] { return this.#common.names }
  get query (): QueryCondition { return this.#common.query }
  get body (): BodyCondition | undefined { return this.#common.body }
  get credential (): CredentialKind { return this.#common.credential }
  get limitPerMinute (): number | undefined { return this.#common.limitPerMinute }
  get waitMs (): number | undefined { return this.#common.waitMs }
  get observe (): boolean { return this.#common.observe }
  get bodyText (): string | undefined { return this.#common.bodyText }
}

/** Prefix under which calls go out without a credential unless a rule says otherwise: /authn needs none. */
const AUTHN = '/api/v1/authn'

/** True for operations of the Authentication API. */
export function isAuthn (operation: Operation): boolean {
  return operation.template === AUTHN || operation.template.startsWith(`${AUTHN}/`)
}

/** The credential of calls whose rule names none. */
export function defaultCredential (operation: Operation): CredentialKind {
  return isAuthn(operation) ? 'none' : 'upstream'
}
