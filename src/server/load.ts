import { dirname, join, resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { createReader, FileMemory, type Sources } from '../config/files.js'
import { createConfigLoader } from '../config/load.js'
import type { Config, SecretReference } from '../config/config.js'
import { recordReader, replayReader, type Recorded } from '../config/recorded.js'
import { listSecrets, loadSources, type LoadedSources } from '../config/sources.js'
import { readIdentities, type KeySets, type ReadIdentities } from './identities.js'
import { mismatches } from './mismatches.js'
import { unusableSecrets } from './unusable-secrets.js'
import type { Environment } from '../config/secret-files.js'
import type { SecretStores } from '../config/secret-stores.js'
import { readPolicyFiles, UnreadText } from '../config/texts.js'
import type { Problem } from '../domain/problem.js'
import type { Secret } from '../domain/secret.js'
import { createCatalog } from '../okta/catalog.js'
import { KeptPolicies } from '../policy/kept.js'
import { loadInSteps, type LoadOptions, type PolicySet, type SourceFile } from '../policy/load.js'

/** Texts of files by the path that problems show. */
export type Texts = Pick<ReadonlyMap<string, string>, 'get'>

/**
 * What one load leaves for the next of the same gate: the config file's schema, compiled, and what was made of files
 * that may still be the same.
 */
export class LoadMemory {
  readonly loadConfig = createConfigLoader()
  readonly policies = new KeptPolicies()
  readonly files: FileMemory
  readonly keySets: KeySets = new WeakMap()

  /** @param now epoch milliseconds, by the clock of the files' times */
  constructor (now: () => number = Date.now) { this.files = new FileMemory(now) }
}

/** Everything that a snapshot is made of, read and checked, with every problem of every file. */
export interface Loaded {
  readonly config?: Config
  readonly policies?: PolicySet
  /** keys that callers are known by; absent when the config would not load */
  readonly identities?: ReadIdentities
  readonly secrets: ReadonlyMap<SecretReference, Secret>
  /** in the order of files and lines; an error among them keeps all of it from serving */
  readonly problems: readonly Problem[]
  /** policy files by the path that problems show, for excerpts; never narrowgate.yaml, whose lines may hold a literal secret */
  readonly texts: Texts
  /** of the bytes that were read */
  readonly hash: string
  readonly sources: Sources
  /** what was read, for other processes to load; with `record` only */
  readonly recorded?: Recorded
}

export interface LoadEverythingOptions {
  /** false: secrets that only exist where the gate runs are left out */
  readonly withSecrets?: boolean
  /** asked for the secrets that other services keep; absent: those are left out */
  readonly stores?: SecretStores
  /** keep what was written, with places and comments */
  readonly keepWritten?: boolean
  /** keep what was read */
  readonly record?: boolean
  /** load this, whatever stands on the disk */
  readonly recorded?: Recorded
  /** of earlier loads; without `keepWritten` */
  readonly memory?: LoadMemory
}

/** How long a load may hold the event loop before it lets requests go on, milliseconds: a call that needs three turns waits as often. */
const SLICE_MS = 2

/**
 * Reads narrowgate.yaml, the policies and the secrets that it names, and compiles them. Never throws for what a file
 * holds. Works in slices, so that a serving gate goes on answering.
 *
 * @param configFile as the operator wrote it
 * @param now epoch milliseconds: what has expired is a warning
 */
export async function loadEverything (configFile: string, environment: Environment, now: number, options: LoadEverythingOptions = {}): Promise<Loaded> {
  // Workers are handed every byte, and tools show every line.
  const trusts = options.memory !== undefined && options.record !== true && options.keepWritten !== true
  if (!trusts) return await loadOnce(configFile, environment, now, options, false)
  try {
    return await loadOnce(configFile, environment, now, options, true)
  } catch (error) {
    // What is to be said of a file that did not change needs its text after all.
    if (!(error instanceof UnreadText)) throw error
    return await loadOnce(configFile, environment, now, options, false)
  }
}

/** @param trusts policy files that are as they were are not read @throws UnreadText only then */
async function loadOnce (configFile: string, environment: Environment, now: number, options: LoadEverythingOptions, trusts: boolean): Promise<Loaded> {
  const path = resolve(configFile)
  const { reader, recorded } = recordReader(options.recorded === undefined ? createReader(options.memory?.files, file => trusts && file.endsWith('.yaml')) : replayReader(options.recorded), path)
  const read = await loadSources({ reader, loadConfig: options.memory?.loadConfig ?? createConfigLoader(), path, shown: configFile, environment, now, stores: options.stores, given: options.recorded?.secrets }, options.withSecrets)
  const texts = textsOf(read.policies)
  if (read.config === undefined) return { ...read, policies: undefined, problems: [...read.problems, ...await policyProblems(read, now)], texts }
  const upstreams = [...read.config.upstreams.values()]
  const policies = await compileSliced(read.policies, now, {
    upstreams: upstreams.map(upstream => upstream.name),
    authnToken: upstreams.filter(upstream => upstream.authnToken !== undefined).map(upstream => upstream.name),
    issuers: read.config.issuers.map(({ issuer }) => issuer),
    attachments: read.attachments,
    production: read.config.production,
    keepWritten: options.keepWritten,
    kept: options.memory?.policies
  })
  await turn()
  const identities = await readIdentities(read.config, policies, read.secrets, options.withSecrets !== false, options.memory?.keySets)
  const unusable = options.withSecrets === false ? [] : await unusableSecrets(read.config, read.secrets)
  await turn()
  const unmatched = mismatches(read.config, policies)
  await turn()
  return { ...read, policies, identities, problems: [...read.problems, ...unusable, ...policies.problems, ...identities.problems, ...unmatched], texts, recorded: options.record === true ? recorded(listSecrets(read.config, read.secrets)) : undefined }
}

/** What is wrong with the policies beside a narrowgate.yaml that would not load: everything but what hangs on its values. */
async function policyProblems ({ folder, policies, attachments }: LoadedSources, now: number): Promise<readonly Problem[]> {
  if (folder === undefined) return []
  return (await compileSliced(policies, now, { attachments })).problems
}

/** The same for a policies folder without a narrowgate.yaml: any upstream name goes. */
export async function loadPolicyFolder (directory: string, now: number, options: Pick<LoadEverythingOptions, 'keepWritten'> = {}): Promise<Loaded> {
  const reader = createReader()
  const path = resolve(directory)
  const read = await readPolicyFiles(reader, { path, place: { file: directory, line: 1, column: 1 } }, dirname(path))
  const files = read.sources.map(({ name, text }) => ({ name, text, path: join(directory, name!) }))
  const policies = await compileSliced(files, now, { keepWritten: options.keepWritten, attachments: read.attachments })
  const identities = await readIdentities(undefined, policies, new Map(), false)
  return {
    policies,
    identities,
    secrets: new Map(),
    problems: [...read.problems, ...policies.problems, ...identities.problems],
    texts: textsOf(files),
    hash: reader.hash(),
    sources: reader.sources
  }
}

function textsOf (files: readonly SourceFile[]): Texts {
  return {
    get (path) {
      try {
        return files.find(file => file.path === path)?.text
      } catch (error) {
        // Nothing is shown of it then.
        if (error instanceof UnreadText) return undefined
        throw error
      }
    }
  }
}

async function compileSliced (files: readonly SourceFile[], now: number, options: LoadOptions): Promise<PolicySet> {
  const steps = loadInSteps(files, createCatalog, now, options)
  let began = performance.now()
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    if (step.value !== 'long' && performance.now() - began < SLICE_MS) continue
    await turn()
    began = performance.now()
  }
}
