import type { Decision } from '../domain/decision.js'
import type { Problem } from '../domain/problem.js'
import type { Catalog } from '../okta/catalog.js'
import type { CompiledPolicy, RuleTable } from './compile.js'
import { covers, disjoint } from './overlap.js'
import { runTest } from './policy-tests.js'
import type { RuleShape } from './shape.js'
import type { WrittenPolicy } from './written.js'

/** One test of a policy, run. */
export interface TestResult {
  readonly client: string
  readonly file: string
  readonly line: number
  /** `allow GET /…` or `deny GET /…` */
  readonly name: string
  readonly passed: boolean
  readonly message?: string
}

/** How many of the rules, or of their conditions, some test exercises. */
export interface Coverage {
  readonly total: number
  readonly tested: number
  /** `helpdesk.yaml#3`, or `helpdesk.yaml#3 where.groupId` */
  readonly untested: readonly string[]
}

/** Two rules that one call can match: the first answers. A deny always wins. */
export interface Overlap {
  readonly client: string
  readonly operation: string
  readonly first: string
  readonly second: string
}

/** What `check` reports beside problems. */
export interface TestReport {
  readonly results: readonly TestResult[]
  readonly rules: Coverage
  readonly conditions: Coverage
  readonly overlaps: readonly Overlap[]
  /** clients in observe, or with a rule that is */
  readonly observing: readonly string[]
}

interface Seen { readonly rules: Set<string>, readonly conditions: Set<string> }

/**
 * Runs the tests of all policies and looks for rules that never answer. A failing test is an error at its line.
 * In steps of one policy.
 *
 * @param policies each with the file that it was compiled from
 */
export function * checkPolicies (policies: ReadonlyMap<CompiledPolicy, WrittenPolicy>, catalog: Catalog): Generator<undefined, { problems: Problem[], report: TestReport }> {
  const problems: Problem[] = []
  const results: TestResult[] = []
  const overlaps: Overlap[] = []
  const all: Seen = { rules: new Set(), conditions: new Set() }
  const seen: Seen = { rules: new Set(), conditions: new Set() }
  for (const [policy, file] of policies) {
    results.push(...runTests(policy, file, catalog, seen, problems))
    addAll(policy, all)
    problems.push(...untestedRules(policy, file, seen), ...neverAnswering(policy, file, overlaps))
    yield
  }
  problems.push(...oversharing(policies), ...overreserving(policies))
  const observing = [...policies.keys()].filter(policy => policy.mode === 'observe' || policy.allow.shapes.some(shape => shape.observe))
  return {
    problems,
    report: {
      results,
      rules: coverage(all.rules, seen.rules),
      conditions: coverage(all.conditions, seen.conditions),
      overlaps,
      observing: observing.map(policy => policy.client)
    }
  }
}

function runTests (policy: CompiledPolicy, { yaml, value }: WrittenPolicy, catalog: Catalog, seen: Seen, problems: Problem[]): TestResult[] {
  return (value.tests ?? []).map((test, i) => {
    const { passed, message, decision } = runTest(policy, catalog, test)
    const path = ['tests', i, test.allow !== undefined ? 'allow' : 'deny']
    if (!passed) problems.push(yaml.problem(path, message ?? 'this test fails'))
    else if (decision !== undefined) note(decision, seen)
    const name = test.allow !== undefined ? `allow ${test.allow}` : `deny ${test.deny}`
    return { client: policy.client, file: yaml.path, line: yaml.locate(path).line, name, passed, message }
  })
}

/** An allowed call exercises its rule; a refused one the conditions that refused it, and the deny that did. */
function note (decision: Decision, seen: Seen): void {
  if (decision.effect === 'undecided') return
  if (decision.effect === 'allow' && decision.wouldDeny === undefined) { seen.rules.add(decision.rule.id); return }
  for (const { rule, failed, condition } of decision.attempts ?? []) {
    if (failed === 'deny') seen.rules.add(rule.id)
    else seen.conditions.add(`${rule.id} ${failed === 'where' ? condition : failed}`)
  }
}

/** A rule's conditions as coverage counts them. */
function conditionsOf (shape: RuleShape): string[] {
  const where = (shape.where ?? []).flatMap((test, i) => test === undefined ? [] : [`where.${shape.names[i]}`])
  return [...where, ...(shape.query.kind === 'named' ? ['query'] : []), ...(shape.body === undefined ? [] : ['body'])]
}

function addAll (policy: CompiledPolicy, all: Seen): void {
  for (const table of [policy.allow, policy.deny]) for (let i = 0; i < table.shapes.length; i++) all.rules.add(table.id(i))
  for (const [i, shape] of policy.allow.shapes.entries()) {
    for (const condition of conditionsOf(shape)) all.conditions.add(`${policy.allow.id(i)} ${condition}`)
  }
}

function coverage (all: ReadonlySet<string>, seen: ReadonlySet<string>): Coverage {
  const untested = [...all].filter(each => !seen.has(each)).sort(new Intl.Collator('en', { numeric: true }).compare)
  return { total: all.size, tested: all.size - untested.length, untested }
}

/** One warning per file for its rules, one for its conditions: a file without tests is no reason for a thousand lines. */
function untestedRules (policy: CompiledPolicy, file: WrittenPolicy, seen: Seen): Problem[] {
  const own = (table: RuleTable) => table.shapes
    .flatMap((shape, i) => table.file(i) === file.name ? [{ shape, id: table.id(i), index: table.index(i) }] : [])
    .sort((a, b) => a.index - b.index)
  const rules = [...own(policy.allow).map(rule => ({ ...rule, key: 'allow' })), ...own(policy.deny).map(rule => ({ ...rule, key: 'deny' }))]
  const untested = rules.filter(rule => !seen.rules.has(rule.id))
  const conditions = own(policy.allow).flatMap(({ shape, id, index }) => conditionsOf(shape).map(condition => ({ index, name: `${id} ${condition}` })))
  const unrefused = conditions.filter(condition => !seen.conditions.has(condition.name))
  const problems: Problem[] = []
  if (untested.length > 0) {
    const { key, index } = untested[0]!
    problems.push(file.yaml.problem([key, index], `no test exercises ${untested.length} of ${rules.length} rules: ${some(untested.map(rule => rule.id))}`, { severity: 'warning' }))
  }
  if (unrefused.length > 0) {
    problems.push(file.yaml.problem(['allow', unrefused[0]!.index], `no deny test fails at ${unrefused.length} of ${conditions.length} conditions: ${some(unrefused.map(condition => condition.name))}`, { severity: 'warning' }))
  }
  return problems
}

function some (names: readonly string[]): string {
  return names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')}, …`
}

/** Rules that an earlier rule or a deny leaves nothing to, and pairs of which both can match. */
function neverAnswering (policy: CompiledPolicy, file: WrittenPolicy, overlaps: Overlap[]): Problem[] {
  const problems: Problem[] = []
  const { allow } = policy
  const warn = (position: number, message: string) => {
    if (allow.file(position) === file.name) problems.push(file.yaml.problem(['allow', allow.index(position)], message, { severity: 'warning' }))
  }
  for (let second = 0; second < allow.shapes.length; second++) {
    const shape = allow.shapes[second]!
    const group = allow.group(shape.operation.index)
    const denied = deniedBy(policy, shape)
    if (denied !== undefined) warn(second, `this rule never answers: ${denied} denies all of it`)
    for (let first = allow.start(group); first < second; first++) {
      const earlier = allow.shapes[first]!
      if (covers(earlier, shape)) { warn(second, `this rule never answers: ${allow.id(first)} "${earlier.name}" matches first`); break }
      if (!disjoint(earlier, shape)) overlaps.push({ client: policy.client, operation: shape.operation.id, first: allow.id(first), second: allow.id(second) })
    }
  }
  return problems
}

function deniedBy (policy: CompiledPolicy, shape: RuleShape): string | undefined {
  const { deny } = policy
  const group = deny.group(shape.operation.index)
  for (let i = deny.start(group); i < deny.end(group); i++) {
    const { where, query, body } = deny.shapes[i]!
    if (where === undefined && query.kind === 'any' && body === undefined) return deny.id(i)
  }
  return undefined
}

/** Shares that are given and promise more than there is. Who gives none takes what is left. */
function oversharing (policies: ReadonlyMap<CompiledPolicy, WrittenPolicy>): Problem[] {
  const sums = new Map<string, number>()
  const last = new Map<string, WrittenPolicy>()
  for (const [policy, file] of policies) {
    if (file.value.rateLimit?.share === undefined) continue
    sums.set(policy.upstream, (sums.get(policy.upstream) ?? 0) + policy.share)
    last.set(policy.upstream, file)
  }
  const over = [...sums].filter(([, sum]) => Math.round(sum * 10_000) > 10_000)
  return over.map(([upstream, sum]) => last.get(upstream)!.yaml.problem(['rateLimit', 'share'],
    `the shares given for the upstream "${upstream}" add up to ${Math.round(sum * 100)}%`, { severity: 'warning' }))
}

/** Reservations that promise more than there is: nobody could keep them. */
function overreserving (policies: ReadonlyMap<CompiledPolicy, WrittenPolicy>): Problem[] {
  const sums = new Map<string, number>()
  const problems: Problem[] = []
  for (const [{ upstream, reserve }, file] of policies) {
    const sum = (sums.get(upstream) ?? 0) + reserve
    sums.set(upstream, sum)
    if (reserve > 0 && Math.round(sum * 10_000) > 10_000) problems.push(file.yaml.problem(['rateLimit', 'reserve'], `with this one the reservations for the upstream "${upstream}" add up to ${Math.round(sum * 100)}%`, { hint: 'all of them together can be at most 100%' }))
  }
  return problems
}
