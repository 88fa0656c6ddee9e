import { createHash } from 'node:crypto'
import { isCidrProblem, parseCidr } from '../domain/cidr.js'
import type { Problem } from '../domain/problem.js'
import type { Catalog, DeclaredOperation } from '../okta/catalog.js'
import { createAnalyser, type Analyser } from './analyse.js'
import { createSchemaCompiler } from './analyse-body.js'
import { checkPolicies, type TestReport } from './check.js'
import { compileAuthenticate, repeatedIdentities } from './authenticate.js'
import { compile, type CompiledPolicy, type PlacedRule } from './compile.js'
import { didYouMean } from './nearest.js'
import { readOperations } from './operations-file.js'
import { soundParts } from './salvage.js'
import { PolicySchema, SetSchema, type PolicyFile, type SetFile } from './schema.js'
import { cyclicSets, extendedSets, missingSets } from './sets.js'
import { validate } from './validate.js'
import { endOfDay, startOfDay, type WrittenFile, type WrittenPolicy, type WrittenSet } from './written.js'
import { readYaml, type Path, type YamlFile } from './yaml.js'

/** A file of the policies folder. */
export interface SourceFile {
  /** shown in problems */
  readonly path: string
  readonly text: string
  /** relative to the policies folder; default: to the folder that all files share */
  readonly name?: string
}

export interface LoadOptions {
  /** names of narrowgate.yaml's upstreams; absent: any name goes */
  readonly upstreams?: readonly string[]
  /** those of them that have an `authnToken`; absent: not checked */
  readonly authnToken?: readonly string[]
  /** issuers of narrowgate.yaml; absent: any goes */
  readonly issuers?: readonly string[]
  /** other files of the policies folder by their name in it: JWK Sets; absent: not looked at */
  readonly attachments?: ReadonlyMap<string, string>
  /** narrowgate.yaml says `production: true`: observing for over 30 days is a warning */
  readonly production?: boolean
  /** keep what was written, with places and comments, for tools; a running gate has no use for it */
  readonly keepWritten?: boolean
}

/** Everything loaded. With an error among the problems nothing of it may serve. */
export interface PolicySet {
  readonly catalog: Catalog
  /** by client id */
  readonly clients: ReadonlyMap<string, CompiledPolicy>
  readonly problems: readonly Problem[]
  readonly tests: TestReport
  /** by name; only with `keepWritten` */
  readonly written?: ReadonlyMap<string, WrittenFile>
}

/**
 * Reads, checks and compiles all policies, and runs their tests. Never throws for what a file holds: everything
 * wrong comes back in `problems`, in the order of files and lines.
 *
 * @param files the folder's *.yaml and those below it: operations.yaml, clients beside it, sets in sub-folders
 * @param catalogFor makes the catalogue with the declared operations
 * @param now epoch milliseconds: what has expired is a warning
 */
export function loadPolicies (files: readonly SourceFile[], catalogFor: (declared: readonly DeclaredOperation[]) => Catalog, now: number, options: LoadOptions = {}): PolicySet {
  const steps = loadInSteps(files, catalogFor, now, options)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** loadPolicies() in steps of one file each, so that a serving gate can answer requests between them. */
export function * loadInSteps (files: readonly SourceFile[], catalogFor: (declared: readonly DeclaredOperation[]) => Catalog, now: number, options: LoadOptions = {}): Generator<undefined, PolicySet> {
  const problems: Problem[] = []
  const policies: WrittenPolicy[] = []
  const sets = new Map<string, WrittenSet>()
  const unsound: WrittenFile[] = []
  const unreadable = new Set<string>()
  let declared: readonly DeclaredOperation[] = []
  const root = commonFolder(files)

  for (const file of files) {
    const name = file.name ?? file.path.slice(root.length)
    const yaml = readYaml(file.path, file.text)
    if (name === 'operations.yaml') {
      const read = readOperations(yaml)
      problems.push(...read.problems)
      declared = read.operations
    } else {
      const { file: written, sound } = readFile(name, yaml, problems)
      if (!sound) unreadable.add(name)
      if (written === undefined) continue
      if (!sound) unsound.push(written)
      else if (written.kind === 'set') sets.set(name, written)
      else policies.push(written)
    }
    yield
  }

  const catalog = catalogFor(declared)
  const analyser = createAnalyser(catalog, createSchemaCompiler())
  const rules = new Map<WrittenFile, FileRules>()
  for (const file of [...policies, ...sets.values(), ...unsound]) {
    problems.push(...missingSets(file, sets, unreadable))
    rules.set(file, placeRules(file, analyser, problems))
    yield
  }
  const broken = unsound.filter(file => file.kind === 'policy')
  problems.push(...cyclicSets(sets), ...duplicates([...policies, ...broken]))
  for (const file of broken) {
    const found: Problem[] = []
    compileFile(file, extendedSets(file, sets), rules, options, now, found)
    // Warnings may be about what was taken out.
    problems.push(...found.filter(problem => problem.severity === 'error'))
  }

  const clients = new Map<string, CompiledPolicy>()
  const sources = new Map<CompiledPolicy, WrittenPolicy>()
  for (const file of policies) {
    const policy = compileFile(file, extendedSets(file, sets), rules, options, now, problems)
    if (clients.has(policy.client)) continue
    clients.set(policy.client, policy)
    sources.set(policy, file)
    yield
  }
  const checked = yield * checkPolicies(sources, catalog)
  problems.push(...checked.problems)
  const written = options.keepWritten === true ? new Map([...policies, ...sets.values()].map(file => [file.name, file])) : undefined
  return { catalog, clients, problems: inOrder(problems, files), tests: checked.report, written }
}

function commonFolder (files: readonly SourceFile[]): string {
  const folders = files.map(file => file.path.slice(0, file.path.lastIndexOf('/') + 1))
  let common = folders[0] ?? ''
  for (const folder of folders) {
    while (!folder.startsWith(common)) common = common.slice(0, common.lastIndexOf('/', common.length - 2) + 1)
  }
  return common
}

/** `sound`: its schema has nothing against it; otherwise the file is only judged, never served. */
function readFile (name: string, yaml: YamlFile, problems: Problem[]): { file?: WrittenFile, sound: boolean } {
  problems.push(...yaml.problems)
  if (yaml.value === undefined) return { sound: false }
  const isSet = name.includes('/')
  const found = validate(isSet ? SetSchema : PolicySchema, yaml.value)
  for (const { path, message, ...more } of found) problems.push(yaml.problem(path, message, more))
  const sound = found.length === 0
  const value = sound ? yaml.value : { client: '', authenticate: [], ...soundParts(yaml.value, found) }
  return {
    sound,
    file: isSet ? { kind: 'set', name, yaml, value: value as SetFile } : { kind: 'policy', name, yaml, value: value as PolicyFile }
  }
}

interface FileRules { readonly allow: readonly PlacedRule[], readonly deny: readonly PlacedRule[] }

/** Most entries of one list: rule ids are held in 16 bits. */
const MAX_RULES = 65_535

function placeRules (file: WrittenFile, analyser: Analyser, problems: Problem[]): FileRules {
  const place = <T>(key: 'allow' | 'deny', written: readonly T[], analyse: (rule: T) => ReturnType<Analyser['allow']>): PlacedRule[] => {
    if (written.length > MAX_RULES) problems.push(file.yaml.problem([key], `more than ${MAX_RULES} rules in one file`, { hint: 'move some to a set' }))
    return written.slice(0, MAX_RULES).flatMap((rule, index) => {
      if (rule === undefined) return []
      const { shape, findings } = analyse(rule)
      for (const found of findings) problems.push(file.yaml.problem(placeOf(key, index, rule, found.path), found.message, found))
      return shape === undefined ? [] : [{ shape, file: file.name, index }]
    })
  }
  return {
    allow: place('allow', file.value.allow ?? [], rule => analyser.allow(rule)),
    deny: place('deny', file.value.deny ?? [], rule => analyser.deny(rule))
  }
}

/** A deny that is only a text has no parts of its own. */
function placeOf (key: string, index: number, rule: unknown, path: Path): Path {
  return typeof rule === 'string' ? [key, index] : [key, index, ...path]
}

function duplicates (policies: readonly WrittenPolicy[]): Problem[] {
  const problems: Problem[] = []
  const clients = new Map<string, WrittenPolicy>()
  for (const { yaml, value, ...file } of policies) {
    if (value.client === '') continue
    const first = clients.get(value.client)
    if (first !== undefined) problems.push(yaml.problem(['client'], `the client "${value.client}" has a policy already`, { hint: `in ${first.yaml.path}` }))
    else clients.set(value.client, { yaml, value, ...file })
  }
  return [...problems, ...repeatedIdentities(policies)]
}

function compileFile (file: WrittenPolicy, sets: readonly WrittenSet[], rules: ReadonlyMap<WrittenFile, FileRules>, options: LoadOptions, now: number, problems: Problem[]): CompiledPolicy {
  const { value, yaml } = file
  const say = (...problem: Parameters<YamlFile['problem']>) => problems.push(yaml.problem(...problem))
  const sources = [file, ...sets].map(source => rules.get(source)!)
  const allow = sources.flatMap(source => source.allow)
  const deny = sources.flatMap(source => source.deny)
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
  if (options.production === true) problems.push(...longObserved(file, allow, now))
  if (value.observeSince !== undefined && startOfDay(value.observeSince) === undefined) say(['observeSince'], `${value.observeSince} is no day of the calendar`)
  return compile({
    client: value.client,
    owner: value.owner ?? '',
    description: value.description ?? '',
    file: file.name,
    hash: hashOf([file, ...sets]),
    mode: value.mode ?? 'enforce',
    upstream,
    expiresAt: expiry(value.expires, ['expires'], 'the policy', yaml, now, problems),
    networks: value.networks,
    share: shareOf(value, yaml, problems),
    reserve: reserveOf(value, yaml, problems),
    level: LEVELS[value.rateLimit?.priority ?? 'normal'],
    waitMs: value.wait?.upToMs,
    authenticate: compileAuthenticate(file, options, problems, (date, path) => expiry(date, path, 'this key', yaml, now, problems))
  }, allow, deny)
}

function checkAuthnToken (file: WrittenPolicy, sets: readonly WrittenSet[], allow: readonly PlacedRule[], upstream: string, problems: Problem[]): void {
  for (const rule of allow) {
    if (rule.shape.credential !== 'authnToken') continue
    const source = [file, ...sets].find(candidate => candidate.name === rule.file)!
    problems.push(source.yaml.problem(['allow', rule.index, 'credential'], `the upstream "${upstream}" of ${file.value.client} has no authnToken`, { hint: 'give it one in narrowgate.yaml' }))
  }
}

const WARN_BEFORE_MS = 30 * 86_400_000

/** What only time changes never stops the gate: it is a warning here and a refusal at run time. */
function expiry (date: string | undefined, path: Path, what: string, yaml: YamlFile, now: number, problems: Problem[]): number | undefined {
  if (date === undefined) return undefined
  const end = endOfDay(date)
  if (end === undefined) problems.push(yaml.problem(path, `${date} is no day of the calendar`))
  else if (end <= now) problems.push(yaml.problem(path, `${what} expired on ${date}`, { severity: 'warning' }))
  else if (end - now <= WARN_BEFORE_MS) problems.push(yaml.problem(path, `${what} expires on ${date}, within 30 days`, { severity: 'warning' }))
  return end
}

const OBSERVE_MS = 30 * 86_400_000

/** Observing is for finding out: what observes a production org for long has been forgotten. */
function longObserved ({ value, yaml }: WrittenPolicy, allow: readonly PlacedRule[], now: number): Problem[] {
  const whole = value.mode === 'observe'
  if (!whole && !allow.some(rule => rule.shape.observe)) return []
  const what = whole ? 'this client is' : 'rules of this client are'
  const path = whole ? ['mode'] : ['client']
  const since = value.observeSince === undefined ? undefined : startOfDay(value.observeSince)
  if (since === undefined) return [yaml.problem(path, `${what} only observed, in production, and nothing says since when`, { severity: 'warning', hint: 'write observeSince: YYYY-MM-DD, or mode: enforce' })]
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

function inOrder (problems: readonly Problem[], files: readonly SourceFile[]): Problem[] {
  const position = new Map(files.map((file, i) => [file.path, i]))
  const place = (problem: Problem) => position.get(problem.file) ?? -1
  return problems.toSorted((a, b) => place(a) - place(b) || a.line - b.line || a.column - b.column)
}
