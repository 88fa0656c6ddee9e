import { dirname } from 'node:path'
import { hasErrors, type Problem } from '../domain/problem.js'
import { Secret } from '../domain/secret.js'
import { isStored, secretReferences, type Config, type SecretReference } from './config.js'
import type { Reader, Sources } from './files.js'
import type { LoadedConfig, SourceFile } from './load.js'
import { readSecrets, type Environment } from './secret-files.js'
import type { SecretStores } from './secret-stores.js'
import { readConfigFile, readPolicyFiles } from './texts.js'

/** Everything that a snapshot is made of, read once. */
export interface LoadedSources {
  /** undefined when the config file itself would not load */
  readonly config?: Config
  /** absolute path of the policies folder; undefined when it could not be told */
  readonly folder?: string
  readonly policies: readonly SourceFile[]
  /** other files of the policies folder that a policy may name, by their path inside it */
  readonly attachments: ReadonlyMap<string, string>
  readonly secrets: ReadonlyMap<SecretReference, Secret>
  /** of the config file, the policy files as files, and the secrets; the policies' contents are judged elsewhere */
  readonly problems: readonly Problem[]
  /** of the bytes that were read; watch() compares with it */
  readonly hash: string
  /** what to watch, files that do not exist yet included */
  readonly sources: Sources
}

export interface LoadOptions {
  readonly reader: Reader
  readonly loadConfig: (source: SourceFile, directory: string, now: number) => LoadedConfig
  /** absolute path of the config file */
  readonly path: string
  /** what problems call it */
  readonly shown: string
  readonly environment: Environment
  readonly now: number
  /** asked for the secrets that other services keep; absent: those are left out, as `check` does */
  readonly stores?: SecretStores
  /** in the order of `secretReferences`: another process has read them already */
  readonly given?: ReadonlyArray<string | null>
}

/**
 * Reads the config file, then what it names: the policies folder and the secrets. All problems together.
 * `check` has no use for secrets that only exist where the gate runs: `withSecrets: false` leaves them out.
 */
export async function loadSources (options: LoadOptions, withSecrets: boolean = true): Promise<LoadedSources> {
  const { reader, loadConfig, path, shown, environment, now, stores, given } = options
  const directory = dirname(path)
  const file = await readConfigFile(reader, path, shown)
  const loaded: LoadedConfig = file.source === undefined ? { problems: [] } : loadConfig(file.source, directory, now)
  const problems = [...file.problems, ...loaded.problems]
  const { config } = loaded
  if (loaded.policies === undefined) return finish({ policies: [], attachments: new Map(), secrets: new Map(), problems }, reader)
  const policies = await readPolicyFiles(reader, loaded.policies, directory)
  const read = withSecrets && config !== undefined ? given === undefined ? await readAllSecrets(reader, config, environment, stores) : takeSecrets(config, given) : { secrets: new Map<SecretReference, Secret>(), problems: [] }
  return finish({ config, folder: loaded.policies.path, policies: policies.sources, attachments: policies.attachments, secrets: read.secrets, problems: [...problems, ...policies.problems, ...read.problems] }, reader)
}

/** Those on this machine first: the others are asked for with them. */
async function readAllSecrets (reader: Reader, config: Config, environment: Environment, stores: SecretStores | undefined): Promise<{ secrets: ReadonlyMap<SecretReference, Secret>, problems: readonly Problem[] }> {
  const references = secretReferences(config)
  const local = await readSecrets(reader, references.filter(reference => !isStored(reference)), environment)
  const stored = references.filter(isStored)
  if (stores === undefined) return local
  const kept = await stores.read(config.secretStores, local.secrets, stored)
  return { secrets: new Map([...local.secrets, ...kept.secrets]), problems: [...local.problems, ...kept.problems] }
}

/** The secrets of a config in the order of its references, for a process that is handed them. */
export function listSecrets (config: Config, secrets: ReadonlyMap<SecretReference, Secret>): Array<string | null> {
  return secretReferences(config).map(reference => secrets.get(reference)?.reveal() ?? null)
}

function takeSecrets (config: Config, given: ReadonlyArray<string | null>): { secrets: Map<SecretReference, Secret>, problems: Problem[] } {
  const found = secretReferences(config).flatMap((reference, i): Array<[SecretReference, Secret]> => given[i] == null ? [] : [[reference, new Secret(given[i])]])
  return { secrets: new Map(found), problems: [] }
}

/** True when a snapshot may be made of it. */
export function isLoadable (loaded: LoadedSources): loaded is LoadedSources & { readonly config: Config } {
  return loaded.config !== undefined && !hasErrors(loaded.problems)
}

function finish (loaded: Omit<LoadedSources, 'hash' | 'sources'>, reader: Reader): LoadedSources {
  return { ...loaded, hash: reader.hash(), sources: reader.sources }
}
