import { createHash } from 'node:crypto'
import { isCidrProblem, parseCidr } from '../domain/cidr.js'
import type { Problem } from '../domain/problem.js'
import { compileAuthenticate } from './authenticate.js'
import { compile, type CompiledPolicy } from './compile.js'
import type { LoadOptions } from './load.js'
import { didYouMean } from './nearest.js'
import type { FileRules } from './place-rules.js'
import type { PolicyFile } from './schema.js'
import { endOfDay, startOfDay, type WrittenFile, type WrittenPolicy, type WrittenSet } from './written.js'
import type { Path, YamlFile } from './yaml.js'

/** What compiling a file looks at beside the file, and what it finds. */
export interface CompileContext {
  readonly options: LoadOptions
  /** epoch milliseconds */
  readonly now: number
  readonly problems: Problem[]
  /** told of each moment, in epoch milliseconds, from which on something else would have to be said */
  readonly changes: (at: number) => void
}

/** Makes the policy of a file and of the sets that it extends. Their rules have been placed already, in this order. */
export function compileFile (file: WrittenPolicy, sets: readonly WrittenSet[], rules: readonly FileRules[], context: CompileContext): CompiledPolicy {
  const { value, yaml } = file
  const { options, problems, now } = context
  const say = (...problem: Parameters<YamlFile['problem']>) => problems.push(yaml.problem(...problem))
  const allow = rules.flatMap(source => source.allow)
  const deny = rules.flatMap(source => source.deny)
  const upstream = value.upstream ?? 'default'
  if (options.upstreams !== undefined && !options.upstreams.includes(upstream)) {
    say(['upstream'], `unknown upstream "${upstream}"`, { hint: didYouMean(upstream, options.upstreams) ?? `known: ${options.upstreams.join(', ')}` })
  }
  if (options.authnToken?.includes(upstream) === false) checkAuthnToken(file, sets, allow, upstream, problems)
  if ((value.allow ?? []).length === 0 && (value.extends ?? []).length === 0) say(['allow'], 'this policy allows nothing', { severity: 'warning' })
  for (const [i, network] of (value.networks ?? []).entries()) {
    const cidr = parseCidr(network)
    if (isCidrProblem(cidr)) say(['networks', i], cidr.problem, { hint: cidr.hint })
  }
  if (options.production === true) problems.push(...longObserved(file, allow.some(rule => rule.shape.observe), now, context.changes))
  if (value.observeSince !== undefined && startOfDay(value.observeSince) === undefined) say(['observeSince'], `${value.observeSince} is no day of the calendar`)
  return compile({
    client: value.client,
    owner: value.owner ?? '',
    description: value.description ?? '',
    file: file.name,
    hash: hashOf([file, ...sets]),
    mode: value.mode ?? 'enforce',
    upstream,
    expiresAt: expiry(value.expires, ['expires'], 'the policy', yaml, context),
    networks: value.networks,
    share: shareOf(value, yaml, problems),
    reserve: reserveOf(value, yaml, problems),
    level: LEVELS[value.rateLimit?.priority ?? 'normal'],
    waitMs: value.wait?.upToMs,
    authenticate: compileAuthenticate(file, options, problems, (date, path) => expiry(date, path, 'this key', yaml, context))
  }, allow, deny)
}

function checkAuthnToken (file: WrittenPolicy, sets: readonly WrittenSet[], allow: FileRules['allow'], upstream: string, problems: Problem[]): void {
  for (const rule of allow) {
    if (rule.shape.credential !== 'authnToken') continue
    const source = [file, ...sets].find(candidate => candidate.name === rule.file)!
    problems.push(source.yaml.problem(['allow', rule.index, 'credential'], `the upstream "${upstream}" of ${file.value.client} has no authnToken`, { hint: 'give it one in narrowgate.yaml' }))
  }
}

const WARN_BEFORE_MS = 30 * 86_400_000

/** What only time changes never stops the gate: it is a warning here and a refusal at run time. */
function expiry (date: string | undefined, path: Path, what: string, yaml: YamlFile, { now, problems, changes }: CompileContext): number | undefined {
  if (date === undefined) return undefined
  const end = endOfDay(date)
  if (end === undefined) { problems.push(yaml.problem(path, `${date} is no day of the calendar`)); return undefined }
  changes(end - WARN_BEFORE_MS)
  changes(end)
  if (end <= now) problems.push(yaml.problem(path, `${what} expired on ${date}`, { severity: 'warning' }))
  else if (end - now <= WARN_BEFORE_MS) problems.push(yaml.problem(path, `${what} expires on ${date}, within 30 days`, { severity: 'warning' }))
  return end
}

const OBSERVE_MS = 30 * 86_400_000

/** Observing is for finding out: what observes a production org for long has been forgotten. */
function longObserved ({ value, yaml }: WrittenPolicy, someRule: boolean, now: number, changes: (at: number) => void): Problem[] {
  const whole = value.mode === 'observe'
  if (!whole && !someRule) return []
  const what = whole ? 'this client is' : 'rules of this client are'
  const path = whole ? ['mode'] : ['client']
  const since = value.observeSince === undefined ? undefined : startOfDay(value.observeSince)
  if (since === undefined) return [yaml.problem(path, `${what} only observed, in production, and nothing says since when`, { severity: 'warning', hint: 'write observeSince: YYYY-MM-DD, or mode: enforce' })]
  changes(since + OBSERVE_MS + 1)
  if (now - since <= OBSERVE_MS) return []
  return [yaml.problem(['observeSince'], `${what} only observed, in production, since ${value.observeSince}: for over 30 days`, { severity: 'warning', hint: '`narrowgate learn` proposes the rules that enforcing needs' })]
}

const LEVELS = { high: 0, normal: 1, low: 2 } as const

function reserveOf ({ rateLimit }: PolicyFile, yaml: YamlFile, problems: Problem[]): number {
  if (rateLimit?.reserve === undefined) return 0
  const reserve = Number.parseFloat(rateLimit.reserve) / 100
  if (reserve <= 0 || reserve > 1) problems.push(yaml.problem(['rateLimit', 'reserve'], 'a reservation is more than 0% and at most 100%'))
  else if (reserve > Number.parseFloat(rateLimit.share ?? '100%') / 100) problems.push(yaml.problem(['rateLimit', 'reserve'], 'more is reserved than the client may use', { hint: 'a reservation is at most the share' }))
  return reserve
}

function shareOf (value: PolicyFile, yaml: YamlFile, problems: Problem[]): number {
  const share = Number.parseFloat(value.rateLimit?.share ?? '100%') / 100
  if (share <= 0 || share > 1) problems.push(yaml.problem(['rateLimit', 'share'], 'a share is more than 0% and at most 100%'))
  return share
}

function hashOf (files: readonly WrittenFile[]): string {
  const hash = createHash('sha256')
  for (const file of files) hash.update(`${file.name}\0${file.yaml.text}\0`)
  return hash.digest('hex').slice(0, 12)
}
