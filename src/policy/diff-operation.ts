import type { Call, CallBody, CredentialKind, Decision } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import type { Catalog } from '../okta/catalog.js'
import { candidateCalls, type Candidate } from './candidates.js'
import type { CompiledPolicy } from './compile.js'
import type { ValueTest } from './condition.js'
import { decide } from './decide.js'
import { covers } from './overlap.js'
import { requestText } from './request-text.js'
import type { RuleShape } from './shape.js'

/** A request that one of two policies admits and the other refuses. */
export interface Witness {
  /** `METHOD /path?query` */
  readonly request: string
  /** the JSON body; absent: none. `unjudgeable` stands for a body that is no JSON. */
  readonly body?: CallBody
  /** the rule that admits it */
  readonly admittedBy: string
  /** why the other refuses it, in names */
  readonly refusedBecause: string
}

/** What became of one operation of a client. */
export interface OperationChange {
  readonly kind: 'gained' | 'lost' | 'widened' | 'narrowed' | 'unproven'
  readonly operation: string
  /** `METHOD template` */
  readonly request: string
  readonly witness?: Witness
  /** in words, where no witness can say it */
  readonly what?: string
}

/** A policy on one side of a comparison, with the catalogue that it was compiled for. */
export interface Side {
  readonly policy: CompiledPolicy
  readonly catalog: Catalog
  /** whether its `mode: observe` counts: a call that nothing but observe lets through is admitted */
  readonly observe: boolean
}

interface Rules { readonly operation?: Operation, readonly allows: readonly RuleShape[], readonly denies: readonly RuleShape[] }

/**
 * Compares what two policies do with one operation. Requests are made of the conditions of both and decided by both:
 * what is said to be gained or widened has a request to show for it. Where patterns or schemas changed and no request
 * was found, that is `unproven`, never silence.
 *
 * @param bodies bodies to try beside those that the conditions suggest: those of the policies' tests
 */
export function diffOperation (before: Side | undefined, after: Side | undefined, operation: Operation, bodies: readonly CallBody[]): OperationChange[] {
  const [old, now] = [rulesOf(before, operation), rulesOf(after, operation)]
  if (sameRules(old, now) && before?.observe === after?.observe) return []
  const allows = [...old.allows, ...lifting(before, old), ...now.allows, ...lifting(after, now)]
  const denies = [...old.denies, ...now.denies]
  const oldAllows = old.allows.length + lifting(before, old).length
  const masks = {
    old: { allow: mask(0, oldAllows), deny: mask(0, old.denies.length) },
    new: { allow: mask(oldAllows, allows.length), deny: mask(old.denies.length, denies.length) }
  }
  const found = candidateCalls({
    allows,
    denies,
    documented: [...new Set([...old.operation?.query ?? [], ...now.operation?.query ?? []])],
    hasAlias: operation.aliases.length > 0,
    parameters: operation.parameters.length,
    fills: (position, value) => fills(operation, position, value, [before?.catalog, after?.catalog]),
    bodies
  })
  const admits = (side: keyof typeof masks, { allow, deny }: Candidate) => (deny & masks[side].deny) === 0n && (allow & masks[side].allow) !== 0n
  const only = (side: 'old' | 'new', other: 'old' | 'new') => found.list.filter(each => admits(side, each) && !admits(other, each))
  const head = { operation: operation.id, request: `${operation.method} ${operation.template}` }
  const changes: OperationChange[] = []
  const gain = witnessOf(only('new', 'old'), after, before, operation)
  const loss = witnessOf(only('old', 'new'), before, after, operation)
  if (gain !== undefined) changes.push({ ...head, kind: found.list.some(each => admits('old', each)) ? 'widened' : 'gained', witness: gain })
  if (loss !== undefined) changes.push({ ...head, kind: found.list.some(each => admits('new', each)) ? 'narrowed' : 'lost', witness: loss })
  changes.push(...credentialChange(found.list.filter(each => admits('old', each) && admits('new', each)), old, now, oldAllows, head))
  const doubt = gain === undefined ? doubtAbout(old, now, found.exhaustive) : undefined
  if (doubt !== undefined) changes.push({ ...head, kind: 'unproven', what: doubt })
  return changes
}

function mask (from: number, to: number): bigint {
  return (1n << BigInt(to)) - (1n << BigInt(from))
}

function rulesOf (side: Side | undefined, operation: Operation): Rules {
  const own = side?.catalog.byTemplate(operation.method, operation.template)
  if (side === undefined || own === undefined || own.reserved) return { allows: [], denies: [] }
  const { allow, deny } = side.policy
  const [a, d] = [allow.group(own.index), deny.group(own.index)]
  return { operation: own, allows: allow.shapes.slice(allow.start(a), allow.end(a)), denies: deny.shapes.slice(deny.start(d), deny.end(d)) }
}

/** What observe lets through, as rules: all of the operation, or all in the spelling of a rule that is observed. */
function lifting (side: Side | undefined, rules: Rules): RuleShape[] {
  const [any] = rules.allows
  const open = (shape: Pick<RuleShape, 'spelling'>): RuleShape => ({ ...EVERYTHING, operation: rules.operation!, spelling: shape.spelling })
  if (rules.operation === undefined) return []
  if (side?.observe === true) return [open({ spelling: 'any' })]
  return any === undefined ? [] : rules.allows.filter(shape => shape.observe).map(open)
}

const EVERYTHING: Omit<RuleShape, 'operation'> = {
  name: 'observe', spelling: 'any', where: undefined, names: [], query: { kind: 'any' }, body: undefined, credential: 'none', limitPerMinute: undefined, waitMs: undefined, observe: false, bodyText: undefined
}

/** The rules' meaning as text. */
function sameRules (a: Rules, b: Rules): boolean {
  const text = (rules: Rules) => JSON.stringify([rules.allows, rules.denies].map(list => list.map(textOf)))
  return text(a) === text(b)
}

function textOf (shape: RuleShape): string {
  return JSON.stringify([shape.spelling, shape.where ?? [], shape.query, shape.bodyText, shape.credential, shape.observe], (_, value: unknown) => {
    if (value instanceof Map) return [...value as Map<unknown, unknown>]
    if (value instanceof Set) return [...value as Set<unknown>].map(each => JSON.stringify(each)).sort()
    if (typeof value === 'object' && value !== null && 'expression' in value && 'source' in value) return value.source
    return value
  })
}

function fills (operation: Operation, position: number, value: string, catalogs: readonly (Catalog | undefined)[]): boolean {
  const values = operation.parameters.map((_, i) => i === position ? value : 'narrowgate0')
  const target = parseTarget(pathOf(operation, values))
  return !isRejection(target) && catalogs.some(catalog => {
    const resolution = catalog?.resolve(operation.method, target)
    return resolution?.kind === 'operation' && resolution.operation.id === operation.id
  })
}

function pathOf (operation: Operation, parameters: readonly string[]): string {
  let next = 0
  return `/${operation.segments.map(segment => segment.kind === 'literal' ? segment.name : encodeSegment(parameters[next++]!)).join('/')}`
}

/** What the target parser takes as it is stays; what needs no escape must not have one. */
function encodeSegment (text: string): string {
  return encodeURIComponent(text).replace(/%(40|2B|24|26|2C|3D|3A)/g, escape => decodeURIComponent(escape))
}

/** The simplest of the candidates that both policies, asked for themselves, decide as foreseen. */
function witnessOf (candidates: readonly Candidate[], admitting: Side | undefined, refusing: Side | undefined, operation: Operation): Witness | undefined {
  const cost = ({ query, body, alias }: Candidate) => query.length * 10 + (body.kind === 'absent' ? 0 : body.kind === 'unjudgeable' ? 500 : JSON.stringify(body.value).length) + (alias ? 1 : 0)
  for (const candidate of candidates.toSorted((a, b) => cost(a) - cost(b))) {
    const admitted = ask(admitting, operation, candidate)
    const refused = ask(refusing, operation, candidate)
    if (admitted === undefined || !isAdmitted(admitting!, admitted) || (refused !== undefined && isAdmitted(refusing!, refused))) continue
    const { alias, parameters, query, body } = candidate
    const path = alias ? operation.aliases[0]! : pathOf(operation, parameters)
    return {
      request: requestText(operation.method, path, query),
      body: body.kind === 'absent' ? undefined : body,
      admittedBy: admitted.effect === 'allow' ? `${admitted.rule.id} "${admitted.rule.name}"` : '',
      refusedBecause: refused === undefined ? 'it has no such operation' : why(refused)
    }
  }
  return undefined
}

function ask (side: Side | undefined, operation: Operation, { parameters, alias, query, body }: Candidate): Decision | undefined {
  const own = side?.catalog.byTemplate(operation.method, operation.template)
  if (side === undefined || own === undefined) return undefined
  const call: Call = { operation: own, parameters, alias, query, body }
  return decide(side.policy, call)
}

function isAdmitted ({ policy, observe }: Side, decision: Decision): boolean {
  if (decision.effect !== 'allow') return false
  // The policy's own observe is compared for the client as a whole; a rule's counts here.
  return decision.wouldDeny === undefined || observe || policy.mode !== 'observe'
}

function why (decision: Decision): string {
  if (decision.effect === 'undecided') return ''
  const attempts = decision.attempts ?? []
  if (decision.effect === 'deny' && decision.reason === 'deny') return `${decision.rule?.id ?? ''} denies it`
  return attempts.length === 0 ? 'no rule is about this operation' : attempts.slice(0, 3).map(({ rule, condition }) => `${rule.id}: ${condition}`).join('; ')
}

/** Calls that both admit, and that go out with more than before. */
function credentialChange (both: readonly Candidate[], old: Rules, now: Rules, oldCount: number, head: { operation: string, request: string }): OperationChange[] {
  const credential = (rules: Rules, allow: bigint, from: number): CredentialKind | undefined => rules.allows.find((_, i) => (allow & (1n << BigInt(from + i))) !== 0n)?.credential
  const changes = new Set(both.flatMap(({ allow }) => {
    const [before, after] = [credential(old, allow, 0), credential(now, allow, oldCount)]
    return before === undefined || after === undefined || before === after ? [] : [`${before} ${after}`]
  }))
  return [...changes].map(change => {
    const [before, after] = change.split(' ') as [string, string]
    return { ...head, kind: after === 'none' ? 'narrowed' : 'widened', what: `calls go out with the credential "${after}" instead of "${before}"` }
  })
}

/** Patterns and schemas can admit what no sample shows. */
function doubtAbout (old: Rules, now: Rules, exhaustive: boolean): string | undefined {
  const [denied, denies] = [opaque(old.denies), opaque(now.denies)]
  const undenied = [...denied].some(each => !denies.has(each))
  const fresh = now.allows.filter(shape => !old.allows.some(each => covers(each, shape)))
  // Each rule lies within an old one, and no deny has gone: nothing can be new.
  if (fresh.length === 0 && old.denies.every(shape => now.denies.some(each => textOf(each) === textOf(shape)))) return undefined
  const [before, after] = [opaque(old.allows), opaque(fresh)]
  const changed = undenied || [...after].some(each => !before.has(each)) || (fresh.length > 0 && [...before].some(each => !after.has(each)))
  if (changed) return 'a pattern or schema changed: no request was found that only the new one admits, which does not prove that there is none'
  return exhaustive ? undefined : 'there are too many combinations of conditions to try them all: no request was found that only the new one admits'
}

function opaque (shapes: readonly RuleShape[]): Set<string> {
  const patterns = (test: ValueTest | undefined) => test?.kind === 'pattern' ? [test.pattern.source] : []
  return new Set(shapes.flatMap(({ where, query, body, bodyText }) => [
    ...(where ?? []).flatMap((test, i) => patterns(test).map(source => `where ${i} ${source}`)),
    ...query.kind === 'named' ? [...query.require, ...query.allow].flatMap(([name, test]) => patterns(test).map(source => `query ${name} ${source}`)) : [],
    ...(body?.require ?? []).flatMap(({ text, test }) => patterns(test).map(source => `body ${text} ${source}`)),
    ...body?.schema === undefined ? [] : [`schema ${bodyText}`]
  ]))
}
