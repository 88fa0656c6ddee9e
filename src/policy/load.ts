import { createHash } from 'node:crypto'
import { ownText } from '../domain/own-text.js'
import { hasErrors, type Problem } from '../domain/problem.js'
import type { Catalog, DeclaredOperation } from '../okta/catalog.js'
import { createAnalyser } from './analyse.js'
import { createSchemaCompiler } from './analyse-body.js'
import { repeatedIdentities } from './authenticate.js'
import { checkPolicy, checkShares, reportOf, type CheckedPolicy, type TestReport } from './check.js'
import { compileFile } from './compile-file.js'
import type { CompiledPolicy } from './compile.js'
import { createDependencies, type Ground, type KeptPolicies, type KeptPolicy, type KeptSet } from './kept.js'
import { readOperations } from './operations-file.js'
import { placeRules, type FileRules } from './place-rules.js'
import { readFile, type ReadPolicy } from './read-file.js'
import { cyclicSets, extendedSets, missingSets } from './sets.js'
import type { WrittenFile, WrittenPolicy, WrittenSet } from './written.js'
import { lazyYaml, readYaml, type YamlFile } from './yaml.js'

/** A file of the policies folder. */
export interface SourceFile {
  /** shown in problems */
  readonly path: string
  readonly text: string
  /** of its bytes, when it is known */
  readonly digest?: string
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
  /** what earlier loads of the same folder have found; it takes up what this one finds. Without `keepWritten` */
  readonly kept?: KeptPolicies
}

/** Everything loaded. With an error among the problems nothing of it may serve. */
export interface PolicySet {
  readonly catalog: Catalog
  /** by client id */
  readonly clients: ReadonlyMap<string, CompiledPolicy>
  readonly problems: readonly Problem[]
  /** absent with `kept`: of a file that is not read again only the problems are known */
  readonly tests?: TestReport
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
export function loadPolicies (files: readonly SourceFile[], catalogFor: (declared: readonly DeclaredOperation[]) => Catalog, now: number, options: Omit<LoadOptions, 'kept'> = {}): PolicySet & { readonly tests: TestReport } {
  const steps = loadInSteps(files, catalogFor, now, options)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value as PolicySet & { readonly tests: TestReport }
  }
}

interface NamedFile { readonly name: string, readonly source: SourceFile, readonly digest: string }

/** How many files that did not change are passed in one step. */
const KEPT_A_STEP = 50

/** A policy of this load, whether read now or kept. */
interface LoadedPolicy {
  readonly policy: CompiledPolicy
  readonly sharing: boolean
  readonly yaml: YamlFile
}

/** Where a load may be interrupted; `long`: what comes next may take as long as everything that may be done at a stretch. */
export type Step = undefined | 'long'

/**
 * loadPolicies() in steps of some milliseconds, so that a serving gate can answer requests between them. Of each file only
 * what a gate needs outlives its step: ten thousand syntax trees would be gigabytes.
 */
export function * loadInSteps (files: readonly SourceFile[], catalogFor: (declared: readonly DeclaredOperation[]) => Catalog, now: number, options: LoadOptions = {}): Generator<Step, PolicySet> {
  const kept = options.keepWritten === true ? undefined : options.kept
  kept?.begin(JSON.stringify([options.upstreams, options.authnToken, options.issuers, options.production]))
  const root = commonFolder(files)
  const named: NamedFile[] = []
  for (const [i, source] of files.entries()) {
    named.push({ source, name: source.name ?? source.path.slice(root.length), digest: kept === undefined ? '' : digestOf(source) })
    if (source.digest === undefined && kept !== undefined && i % 50 === 49) yield
  }
  const problems: Problem[] = []
  const ground = readGround(named.find(file => file.name === 'operations.yaml'), catalogFor, kept)
  problems.push(...ground.problems)
  yield

  const loadedSets = yield * loadSets(named.filter(file => isSet(file.name)), ground, kept, problems)
  const { sets, rules, unreadable } = loadedSets
  const dependenciesOf = createDependencies(loadedSets.digests, sets, options.attachments)
  const loaded: LoadedPolicy[] = []
  const broken: LoadedPolicy[] = []
  const clients = new Map<string, CompiledPolicy>()
  const checked: CheckedPolicy[] = []
  const written: WrittenPolicy[] = []
  const keepPolicies = new Map<string, KeptPolicy>()
  let passed = 0

  for (const { name, source, digest } of named) {
    if (name === 'operations.yaml' || isSet(name)) continue
    const known = kept?.policy(name, digest, now, dependenciesOf)
    if (known !== undefined) {
      if (++passed % KEPT_A_STEP === 0) yield
      keepPolicies.set(name, known)
      problems.push(...known.problems)
      loaded.push({ ...known, yaml: lazyYaml(source.path, () => source.text) })
      if (!clients.has(known.policy.client)) clients.set(known.policy.client, known.policy)
      continue
    }
    yield 'long'
    const read = readFile(name, readYaml(source.path, source.text), problems)
    yield
    if (read.file === undefined) continue
    const file = read.file as WrittenPolicy
    const found: Problem[] = []
    let until = Infinity
    let from = -Infinity
    const changes = (at: number): void => { if (at > now) until = Math.min(until, at); else from = Math.max(from, at) }
    found.push(...missingSets(file, sets, unreadable))
    const own = yield * placeRules(file, ground.analyser, found)
    const extended = extendedSets(file, sets)
    const compiled: Problem[] = []
    const policy = compileFile(file, extended, [own, ...extended.map(set => rules.get(set)!)], { options, now, problems: compiled, changes })
    // Warnings may be about what was taken out.
    found.push(...read.sound ? compiled : compiled.filter(problem => problem.severity === 'error'))
    const result = { policy, sharing: file.value.rateLimit?.share !== undefined, yaml: options.keepWritten === true ? file.yaml : lazyYaml(source.path, () => source.text) }
    if (!read.sound) { broken.push(result); problems.push(...found); yield; continue }
    loaded.push(result)
    if (options.keepWritten === true) written.push(file)
    yield
    if (!clients.has(policy.client)) {
      clients.set(policy.client, policy)
      const check = checkPolicy(policy, file, ground.catalog, kept === undefined)
      found.push(...check.problems)
      if (kept === undefined) checked.push(check)
      if (kept !== undefined && !hasErrors(found)) keepPolicies.set(name, remember(read as ReadPolicy, digest, result, found, dependenciesOf, from, until))
    }
    problems.push(...found)
    yield
  }
  const all = [...loaded, ...broken]
  yield 'long'
  problems.push(...cyclicSets(sets), ...duplicates(all))
  yield 'long'
  problems.push(...repeatedIdentities(all))
  yield 'long'
  problems.push(...checkShares(loaded.filter(({ policy }) => clients.get(policy.client) === policy)))
  kept?.end(loadedSets.keep, keepPolicies)
  yield 'long'
  return {
    catalog: ground.catalog,
    clients,
    problems: inOrder(problems, files),
    tests: kept === undefined ? reportOf(checked, clients.values()) : undefined,
    written: options.keepWritten === true ? new Map([...written, ...sets.values()].map(file => [file.name, file])) : undefined
  }
}

function remember ({ file }: ReadPolicy, digest: string, { policy, sharing }: LoadedPolicy, problems: readonly Problem[], dependenciesOf: (kept: Pick<KeptPolicy, 'extends' | 'attachments'>) => string, from: number, until: number): KeptPolicy {
  const names = { extends: file.value.extends ?? NONE, attachments: attachmentsOf(file) }
  // slice: a list that grew has room for more.
  return { digest, policy, sharing, problems: problems.slice(), extends: names.extends, attachments: names.attachments, dependencies: dependenciesOf(names), from, until }
}

const NONE: readonly string[] = []

function attachmentsOf ({ value }: WrittenPolicy): readonly string[] {
  const found = value.authenticate.flatMap(({ privateKeyJwt }) => privateKeyJwt?.jwks.file ?? [])
  return found.length === 0 ? NONE : found
}

/** Files in sub-folders are sets. */
const isSet = (name: string): boolean => name.includes('/')

/** Problems name the path: a file that has moved is another one. */
function digestOf (source: SourceFile): string {
  return ownText(`${source.path} ${source.digest ?? createHash('sha256').update(source.text).digest('base64')}`)
}

function readGround (file: NamedFile | undefined, catalogFor: (declared: readonly DeclaredOperation[]) => Catalog, kept: KeptPolicies | undefined): Ground {
  const known = kept?.ground(file?.digest)
  if (known !== undefined) return known
  const read = file === undefined ? { problems: [], operations: [] } : operationsOf(file)
  const catalog = catalogFor(read.operations)
  const ground: Ground = { digest: file?.digest, problems: read.problems, catalog, analyser: createAnalyser(catalog, createSchemaCompiler()) }
  kept?.setGround(ground)
  return ground
}

function operationsOf ({ source }: NamedFile): ReturnType<typeof readOperations> {
  return readOperations(readYaml(source.path, source.text))
}

interface LoadedSets {
  /** sound ones, by name */
  readonly sets: ReadonlyMap<string, WrittenSet>
  readonly rules: ReadonlyMap<WrittenSet, FileRules>
  /** names of those that are not */
  readonly unreadable: ReadonlySet<string>
  /** of all, by name */
  readonly digests: ReadonlyMap<string, string>
  readonly keep: ReadonlyMap<string, KeptSet>
}

function * loadSets (files: readonly NamedFile[], ground: Ground, kept: KeptPolicies | undefined, problems: Problem[]): Generator<Step, LoadedSets> {
  const sets = new Map<string, WrittenSet>()
  const rules = new Map<WrittenSet, FileRules>()
  const unreadable = new Set<string>()
  const keep = new Map<string, KeptSet>()
  const unsound: WrittenSet[] = []
  const digests = new Map(files.map(({ name, digest }) => [name, digest]))
  for (const { name, source, digest } of files) {
    const known = kept?.set(name, digest)
    if (known !== undefined) {
      const set: WrittenSet = { kind: 'set', name, yaml: lazyYaml(source.path, () => source.text), value: known.value }
      sets.set(name, set)
      rules.set(set, known.rules)
      keep.set(name, known)
      continue
    }
    const { file, sound } = readFile(name, readYaml(source.path, source.text), problems)
    if (!sound) unreadable.add(name)
    if (file?.kind === 'set') { if (sound) sets.set(name, file); else unsound.push(file) }
    yield
  }
  for (const set of [...sets.values(), ...unsound]) {
    problems.push(...missingSets(set, sets, unreadable))
    const known = keep.get(set.name)
    if (known !== undefined) { problems.push(...known.problems); continue }
    const found: Problem[] = []
    const placed = yield * placeRules(set, ground.analyser, found)
    rules.set(set, placed)
    problems.push(...found)
    if (!hasErrors(found) && sets.get(set.name) === set) keep.set(set.name, { digest: digests.get(set.name)!, value: set.value, rules: placed, problems: found })
    yield
  }
  return { sets, rules, unreadable, digests, keep }
}

function commonFolder (files: readonly SourceFile[]): string {
  const folders = files.map(file => file.path.slice(0, file.path.lastIndexOf('/') + 1))
  let common = folders[0] ?? ''
  for (const folder of folders) {
    while (!folder.startsWith(common)) common = common.slice(0, common.lastIndexOf('/', common.length - 2) + 1)
  }
  return common
}

function duplicates (policies: readonly LoadedPolicy[]): Problem[] {
  const problems: Problem[] = []
  const clients = new Map<string, LoadedPolicy>()
  for (const loaded of policies) {
    const { client } = loaded.policy
    if (client === '') continue
    const first = clients.get(client)
    if (first !== undefined) problems.push(loaded.yaml.problem(['client'], `the client "${client}" has a policy already`, { hint: `in ${first.yaml.path}` }))
    else clients.set(client, loaded)
  }
  return problems
}

function inOrder (problems: readonly Problem[], files: readonly SourceFile[]): Problem[] {
  const position = new Map(files.map((file, i) => [file.path, i]))
  const placed = problems.map(problem => ({ problem, at: position.get(problem.file) ?? -1 }))
  return placed.sort((a, b) => a.at - b.at || a.problem.line - b.problem.line || a.problem.column - b.problem.column).map(({ problem }) => problem)
}
