import type { Attempt, Call, Decision, DenyReason, RuleReference } from '../domain/decision.js'
import type { CompiledPolicy, RuleTable } from './compile.js'
import { bodyDenied, bodyFailure, queryDenied, queryFailure, whereFailure } from './condition.js'
import { defaultCredential, type RuleShape } from './shape.js'

/** How far a rule got with a call. Ordered: a refusal gives the reason of the rule that came furthest. */
const PASSED = 0
const NEEDS_BODY = 1
const SPELLING = 2
const WHERE = 3
const QUERY = 4
const BODY = 5

const UNDECIDED: Decision = { effect: 'undecided' }
const NO_ATTEMPTS: readonly Attempt[] = []

/**
 * Judges one call by policy-format.md, Meaning 1 to 9, without expiry, networks and limits.
 *
 * `undecided` comes only while `call.body` is undefined, and only when the body can still matter: a deny or a rule
 * that fits so far looks at it, and the call is not refused whatever it holds. With a body the answer is final.
 * Allocates nothing unless it refuses.
 */
export function decide (policy: CompiledPolicy, call: Call): Decision {
  const { operation } = call
  if (operation.reserved) return { effect: 'deny', reason: 'no_rule', attempts: NO_ATTEMPTS }
  const denied = policy.deny.group(operation.index)
  let denyNeedsBody = false
  for (let i = policy.deny.start(denied); i < policy.deny.end(denied); i++) {
    const outcome = judgeDeny(policy.deny.shapes[i]!, call)
    if (outcome === PASSED) return refuseDenied(policy.deny.reference(i))
    if (outcome === NEEDS_BODY) denyNeedsBody = true
  }

  const { allow } = policy
  const group = allow.group(operation.index)
  const start = allow.start(group)
  const end = allow.end(group)
  let observed = policy.mode === 'observe'
  for (let i = start; i < end; i++) {
    const shape = allow.shapes[i]!
    const outcome = judge(shape, call)
    if (outcome === NEEDS_BODY || (outcome === PASSED && denyNeedsBody)) return UNDECIDED
    if (outcome === PASSED) return allow.answer(i)
    if (shape.observe && outcome !== SPELLING) observed = true
  }
  if (observed && denyNeedsBody) return UNDECIDED
  return refuse(policy, call, start, end, observed)
}

function judge (shape: RuleShape, call: Call): number {
  if (shape.spelling !== 'any' && (shape.spelling === 'alias') !== call.alias) return SPELLING
  if (whereFailure(shape.where, call.parameters, shape.names, false) !== undefined) return WHERE
  if (queryFailure(shape.query, call.query, false) !== undefined) return QUERY
  if (shape.body === undefined) return PASSED
  if (call.body === undefined) return NEEDS_BODY
  return bodyFailure(shape.body, call.body, false) === undefined ? PASSED : BODY
}

/** PASSED here means: the deny matches. */
function judgeDeny (shape: RuleShape, call: Call): number {
  if (whereFailure(shape.where, call.parameters, shape.names, false) !== undefined) return WHERE
  if (!queryDenied(shape.query, call.query)) return QUERY
  if (shape.body === undefined) return PASSED
  if (call.body === undefined) return NEEDS_BODY
  return bodyDenied(shape.body, call.body) ? PASSED : BODY
}

function refuseDenied (rule: RuleReference): Decision {
  return { effect: 'deny', reason: 'deny', rule, attempts: [{ rule, failed: 'deny', condition: 'deny' }] }
}

/** No rule matched: the refusal with its attempts, or what observe makes of it. */
function refuse (policy: CompiledPolicy, call: Call, start: number, end: number, observed: boolean): Decision {
  const attempts: Attempt[] = []
  let reason: DenyReason = 'no_rule'
  let lifting: RuleReference | undefined
  for (let i = start; i < end; i++) {
    const attempt = attemptOf(policy.allow, i, call)
    attempts.push(attempt)
    if (rankOf(attempt.failed) > rankOf(reason)) reason = attempt.failed
    if (policy.allow.shapes[i]!.observe && attempt.failed !== 'no_rule') lifting ??= attempt.rule
  }
  if (!observed) return { effect: 'deny', reason, attempts }
  return { effect: 'allow', rule: lifting ?? observeReference(policy, call), wouldDeny: reason, attempts }
}

/** Tries one rule of `allow`: undefined when it matches (or only its body condition is still open). */
export function tryRule (table: RuleTable, position: number, call: Call): Attempt | undefined {
  const outcome = judge(table.shapes[position]!, call)
  return outcome === PASSED || outcome === NEEDS_BODY ? undefined : attemptOf(table, position, call)
}

/** Tries one deny: true when it matches. */
export function tryDeny (table: RuleTable, position: number, call: Call): boolean {
  return judgeDeny(table.shapes[position]!, call) === PASSED
}

/** One rule that did not match, and its first condition that failed. */
function attemptOf (table: RuleTable, position: number, call: Call): Attempt {
  const shape = table.shapes[position]!
  const rule = table.reference(position)
  if (shape.spelling !== 'any' && (shape.spelling === 'alias') !== call.alias) return { rule, failed: 'no_rule', condition: 'request: the path is spelled in another way' }
  const where = whereFailure(shape.where, call.parameters, shape.names, true)
  if (where !== undefined) return { rule, failed: 'where', condition: where }
  const query = queryFailure(shape.query, call.query, true)
  if (query !== undefined) return { rule, failed: 'query', condition: query }
  const body = shape.body === undefined || call.body === undefined ? undefined : bodyFailure(shape.body, call.body, true)
  return { rule, failed: 'body', condition: body ?? 'body' }
}

const RANKS: readonly DenyReason[] = ['no_rule', 'where', 'query', 'body']

function rankOf (reason: DenyReason): number {
  return RANKS.indexOf(reason)
}

/** What an observed client's call goes out as when no rule answers: the credential is the operation's default. */
function observeReference (policy: CompiledPolicy, call: Call): RuleReference {
  return { id: `${policy.file}#observe`, name: 'observe', credential: defaultCredential(call.operation) }
}
