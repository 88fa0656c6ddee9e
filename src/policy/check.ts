import type { Decision } from '../domain/decision.js'
import type { Problem } from '../domain/problem.js'
import type { Catalog } from '../okta/catalog.js'
import type { CompiledPolicy, RuleTable } from './compile.js'
import { covers, disjoint } from './overlap.js'
import { runTest } from './policy-tests.js'
import type { RuleShape } from './shape.js'
import type { WrittenPolicy } from './written.js'
import type { Path, YamlFile } from './yaml.js'

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

/** What checking one policy has found. */
export interface CheckedPolicy {
  readonly problems: readonly Problem[]
  readonly results: readonly TestResult[]
  readonly overlaps: readonly Overlap[]
  readonly all: Seen
  readonly seen: Seen
}

/**
 * Runs the tests of a policy and looks for rules that never answer. A failing test is an error at its line.
 *
 * @param file that the policy was compiled from
 * @param report false: only the problems are wanted
 */
export function checkPolicy (policy: CompiledPolicy, file: WrittenPolicy, catalog: Catalog, report: boolean): CheckedPolicy {
  const problems: Problem[] = []
  const overlaps: Overlap[] = []
  const all: Seen = { rules: new Set(), conditions: new Set() }
  const seen: Seen = { rules: new Set(), conditions: new Set() }
  const results = runTests(policy, file, catalog, seen, problems)
  if (report) addAll(policy, all)
  problems.push(...untestedRules(policy, file, seen), ...neverAnswering(policy, file, report ? overlaps : undefined))
  return { problems, results, overlaps, all, seen }
}

/** What `check` reports of all policies together. */
export function reportOf (checked: readonly CheckedPolicy[], policies: Iterable<CompiledPolicy>): TestReport {
  const union = (of: (one: CheckedPolicy) => ReadonlySet<string>): Set<string> => new Set(checked.flatMap(one => [...of(one)]))
  const observing = [...policies].filter(policy => policy.mode === 'observe' || policy.allow.shapes.some(shape => shape.observe))
  return {
    results: checked.flatMap(one => one.results),
    rules: coverage(union(one => one.all.rules), union(one => one.seen.rules)),
    conditions: coverage(union(one => one.all.conditions), union(one => one.seen.conditions)),
    overlaps: checked.flatMap(one => one.overlaps),
    observing: observing.map(policy => policy.client)
  }
}

/** A policy, and where it is written. `sharing`: it gives a share. */
interface Sharer { readonly policy: CompiledPolicy, readonly sharing: boolean, readonly yaml: YamlFile }

/** Shares and reservations that promise more than there is. */
export function checkShares (policies: readonly Sharer[]): Problem[] {
  return [...oversharing(policies), ...overreserving(policies)]
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
  const allow = ownRules(policy.allow, file.name)
  const deny = ownRules(policy.deny, file.name)
  const rules = new Missing(seen.rules)
  for (const position of allow) rules.look('allow', policy.allow, position, '')
  for (const position of deny) rules.look('deny', policy.deny, position, '')
  const conditions = new Missing(seen.conditions)
  for (const position of allow) for (const condition of conditionsOf(policy.allow.shapes[position]!)) conditions.look('allow', policy.allow, position, ` ${condition}`)
  const problems: Problem[] = []
  if (rules.first !== undefined) problems.push(file.yaml.problem(rules.first, `no test exercises ${rules.missing} of ${rules.total} rules: ${rules.names()}`, { severity: 'warning' }))
  if (conditions.first !== undefined) problems.push(file.yaml.problem(conditions.first, `no deny test fails at ${conditions.missing} of ${conditions.total} conditions: ${conditions.names()}`, { severity: 'warning' }))
  return problems
}

/** Positions of the rules that stand in a file itself, in its order. */
function ownRules (table: RuleTable, file: string): number[] {
  const positions: number[] = []
  for (let position = 0; position < table.shapes.length; position++) if (table.file(position) === file) positions.push(position)
  return positions.sort((a, b) => table.index(a) - table.index(b))
}

/** How many are not among those seen, and the names of the first: names of the others are never put together. */
class Missing {
  total = 0
  missing = 0
  /** where the first stands */
  first: Path | undefined
  readonly #names: string[] = []
  readonly #seen: ReadonlySet<string>

  constructor (seen: ReadonlySet<string>) {
    this.#seen = seen
  }

  look (key: 'allow' | 'deny', table: RuleTable, position: number, more: string): void {
    this.total++
    if (this.#seen.size > 0 && this.#seen.has(table.id(position) + more)) return
    this.first ??= [key, table.index(position)]
    if (++this.missing <= MOST_NAMED) this.#names.push(table.id(position) + more)
  }

  names (): string {
    return [...this.#names, ...this.missing > MOST_NAMED ? ['…'] : []].join(', ')
  }
}

const MOST_NAMED = 5

/** Rules that an earlier rule or a deny leaves nothing to, and pairs of which both can match (when they are wanted). */
function neverAnswering (policy: CompiledPolicy, file: WrittenPolicy, overlaps: Overlap[] | undefined): Problem[] {
  const problems: Problem[] = []
  const { allow } = policy
  const warn = (position: number, message: string) => {
    if (allow.file(position) === file.name) problems.push(file.yaml.problem(['allow', allow.index(position)], message, { severity: 'warning' }))
  }
  let earlier = new EarlierRules()
  for (let second = 0; second < allow.shapes.length; second++) {
    const shape = allow.shapes[second]!
    if (allow.start(allow.group(shape.operation.index)) === second) earlier = new EarlierRules()
    const denied = deniedBy(policy, shape)
    if (denied !== undefined) warn(second, `this rule never answers: ${denied} denies all of it`)
    for (const first of earlier.meeting(shape)) {
      const other = allow.shapes[first]!
      if (covers(other, shape)) { warn(second, `this rule never answers: ${allow.id(first)} "${other.name}" matches first`); break }
      if (overlaps !== undefined && !disjoint(other, shape)) overlaps.push({ client: policy.client, operation: shape.operation.id, first: allow.id(first), second: allow.id(second) })
    }
    earlier.add(second, shape)
  }
  return problems
}

/**
 * The earlier rules of an operation by the values that they list for its first parameter. Lists without a common value leave
 * each other everything, so a thousand rules with lists of their own need not be compared in pairs.
 */
class EarlierRules {
  readonly #all: number[] = []
  readonly #byValue = new Map<unknown, number[]>()
  /** those that list no values there */
  readonly #others: number[] = []

  add (position: number, shape: RuleShape): void {
    this.#all.push(position)
    const first = shape.where?.[0]
    if (first?.kind !== 'values') { this.#others.push(position); return }
    for (const value of first.values) {
      const known = this.#byValue.get(value)
      if (known === undefined) this.#byValue.set(value, [position])
      else known.push(position)
    }
  }

  /** In order, those that the rule may have a call in common with. */
  meeting (shape: RuleShape): Iterable<number> {
    const first = shape.where?.[0]
    if (first?.kind !== 'values') return this.#all
    const found = [...first.values].flatMap(value => this.#byValue.get(value) ?? [])
    return found.length === 0 ? this.#others : [...new Set([...this.#others, ...found])].sort((a, b) => a - b)
  }
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

/** Who gives no share takes what is left. */
function oversharing (policies: readonly Sharer[]): Problem[] {
  const sums = new Map<string, number>()
  const last = new Map<string, YamlFile>()
  for (const { policy, sharing, yaml } of policies) {
    if (!sharing) continue
    sums.set(policy.upstream, (sums.get(policy.upstream) ?? 0) + policy.share)
    last.set(policy.upstream, yaml)
  }
  const over = [...sums].filter(([, sum]) => Math.round(sum * 10_000) > 10_000)
  return over.map(([upstream, sum]) => last.get(upstream)!.problem(['rateLimit', 'share'],
    `the shares given for the upstream "${upstream}" add up to ${Math.round(sum * 100)}%`, { severity: 'warning' }))
}

/** Nobody could keep them. */
function overreserving (policies: readonly Sharer[]): Problem[] {
  const sums = new Map<string, number>()
  const problems: Problem[] = []
  for (const { policy: { upstream, reserve }, yaml } of policies) {
    const sum = (sums.get(upstream) ?? 0) + reserve
    sums.set(upstream, sum)
    if (reserve > 0 && Math.round(sum * 10_000) > 10_000) problems.push(yaml.problem(['rateLimit', 'reserve'], `with this one the reservations for the upstream "${upstream}" add up to ${Math.round(sum * 100)}%`, { hint: 'all of them together can be at most 100%' }))
  }
  return problems
}
