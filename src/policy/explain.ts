import type { Attempt, CallBody, Decision, RuleReference } from '../domain/decision.js'
import type { Operation } from '../domain/operation.js'
import type { Catalog } from '../okta/catalog.js'
import { resolveCall } from './call.js'
import type { CompiledPolicy, RuleTable } from './compile.js'
import { decide, tryDeny, tryRule } from './decide.js'
import type { WrittenFile } from './written.js'

/** One rule that was tried. */
export interface TriedRule {
  readonly kind: 'allow' | 'deny'
  readonly rule: RuleReference
  readonly matched: boolean
  /** the first condition that failed, in names */
  readonly failed?: string
  /** `policies/helpdesk.yaml:14`, when the files are at hand */
  readonly source?: string
}

/** A decision with everything that led to it. */
export interface Explanation {
  readonly client: string
  readonly request: string
  readonly policy: { readonly file: string, readonly hash: string, readonly mode: 'enforce' | 'observe', readonly upstream: string }
  readonly operation?: { readonly id: string, readonly template: string, readonly bucket: string }
  readonly parameters?: Readonly<Record<string, string>>
  readonly tried: readonly TriedRule[]
  /** absent when no rule was asked; `refused` says why then */
  readonly decision?: Decision
  readonly refused?: string
}

/** Most rules that the text shows: one screen. */
const SCREEN = 30

/**
 * The decision that the gate would take for a request, every rule that it tries on the way, in order, and the first
 * condition that failed in each. Expiry, networks, limits and self-protection are not part of it.
 *
 * @param body what came with the request; default: no body
 * @param written files by name (`keepWritten`), for the places of rules
 */
export function explain (policy: CompiledPolicy, catalog: Catalog, method: string, target: string, body: CallBody = { kind: 'absent' }, written?: ReadonlyMap<string, WrittenFile>): Explanation {
  const { client, file, hash, mode, upstream } = policy
  const base = { client, request: `${method} ${target}`, policy: { file, hash, mode, upstream }, tried: [] }
  const resolved = resolveCall(catalog, method, target, body)
  if (resolved.kind !== 'call') return { ...base, refused: resolved.why }
  const { call } = resolved
  const tried: TriedRule[] = []
  const { allow, deny } = policy
  each(deny, call.operation, position => {
    const matched = tryDeny(deny, position, call)
    tried.push({ kind: 'deny', rule: deny.reference(position), matched, source: sourceOf(deny, position, 'deny', written) })
    return matched
  })
  if (!tried.some(one => one.matched)) {
    each(allow, call.operation, position => {
      const attempt = tryRule(allow, position, call)
      tried.push({ kind: 'allow', rule: allow.reference(position), matched: attempt === undefined, failed: attempt?.condition, source: sourceOf(allow, position, 'allow', written) })
      return attempt === undefined
    })
  }
  return {
    ...base,
    operation: { id: call.operation.id, template: `${call.operation.method} ${call.operation.template}`, bucket: call.operation.bucket },
    parameters: Object.fromEntries(call.operation.parameters.map((name, i) => [name, call.parameters[i]!])),
    tried,
    decision: decide(policy, call)
  }
}

function each (table: RuleTable, operation: Operation, until: (position: number) => boolean): void {
  const group = table.group(operation.index)
  for (let i = table.start(group); i < table.end(group); i++) if (until(i)) return
}

function sourceOf (table: RuleTable, position: number, key: 'allow' | 'deny', written: ReadonlyMap<string, WrittenFile> | undefined): string | undefined {
  const yaml = written?.get(table.file(position))?.yaml
  if (yaml === undefined) return undefined
  return `${yaml.path}:${yaml.locate([key, table.index(position)]).line}`
}

/** The explanation as lines of text. */
export function explanationLines (explanation: Explanation): string[] {
  const { client, request, policy, operation, parameters, tried, decision, refused } = explanation
  const lines = [request]
  if (operation !== undefined) {
    const values = Object.entries(parameters ?? {}).map(([name, value]) => `${name}=${value}`).join(', ')
    lines.push(`  is      ${operation.id}  (${operation.template}${values === '' ? '' : `; ${values}`})`)
  }
  lines.push(`  client  ${client}  (${policy.file}, version ${policy.hash}, ${policy.mode}, upstream ${policy.upstream})`)
  for (const { kind, rule, matched, failed, source } of tried.slice(0, SCREEN)) {
    const outcome = matched ? (kind === 'deny' ? 'denies' : 'allows') : `no: ${failed ?? 'its conditions do not match'}`
    lines.push(`  ${matched ? '✓' : '✗'} ${rule.id}  ${rule.name}  ${outcome}${source === undefined ? '' : `  [${source}]`}`)
  }
  if (tried.length > SCREEN) lines.push(`  … and ${tried.length - SCREEN} more rules`)
  lines.push(verdict(decision, refused))
  return lines
}

function verdict (decision: Decision | undefined, refused: string | undefined): string {
  if (decision === undefined) return `REFUSED: ${refused ?? 'no rule was asked'}`
  switch (decision.effect) {
    case 'undecided': return 'UNDECIDED: the body has to be read first'
    case 'deny': return decision.reason === 'no_rule' && decision.attempts.length === 0 ? 'REFUSED: no_rule (no rule of this policy is about this operation)' : `REFUSED: ${decision.reason}`
    case 'allow': {
      const { id, name, credential, limitPerMinute } = decision.rule
      const limit = limitPerMinute === undefined ? '' : `, at most ${limitPerMinute}/min`
      const observed = decision.wouldDeny === undefined ? '' : `; observed only: enforce would refuse it (${decision.wouldDeny})`
      return `ALLOWED by ${id} "${name}" (credential: ${credential}${limit})${observed}`
    }
  }
}

/** Most causes that a refusal names. */
const CAUSES = 5

/**
 * A refusal for the developer of the client, as errorCauses of the 403: names of the client's own rules and of the
 * conditions that failed, never values of the policy.
 */
export function shortExplanation (decision: Decision): string[] {
  if (decision.effect !== 'deny') return []
  if (decision.reason === 'deny') return decision.rule === undefined ? [] : [`denied by the rule "${decision.rule.name}"`]
  const causes = decision.attempts.slice(0, CAUSES).map((attempt: Attempt) => `rule "${attempt.rule.name}": ${attempt.condition}`)
  return decision.attempts.length > CAUSES ? [...causes, `and ${decision.attempts.length - CAUSES} more rules`] : causes
}
