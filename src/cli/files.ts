import { existsSync } from 'node:fs'
import { secretReferences } from '../config/config.js'
import { SecretStores } from '../config/secret-stores.js'
import type { Problem } from '../domain/problem.js'
import { loadEverything, loadPolicyFolder, type Loaded } from '../server/load.js'
import type { Shell } from './shell.js'
import { UsageFault } from './usage.js'

/** Which files a command is about. */
export interface FileOptions {
  /** narrowgate.yaml */
  readonly config?: string
  /** a policies folder, without a narrowgate.yaml */
  readonly policies?: string
}

const CONFIG_FILE = 'narrowgate.yaml'
const POLICIES_FOLDER = './policies'

/**
 * Loads what a command is about, by default narrowgate.yaml here, else ./policies. A secret that is not here is a
 * warning that says what `serve` would say: who checks files need not hold the secrets, and no service is asked for its own.
 *
 * @throws UsageFault when both are named, or none and neither is here
 */
export async function loadFiles (shell: Shell, options: FileOptions): Promise<Loaded> {
  const { config, policies } = options
  if (config !== undefined && policies !== undefined) throw new UsageFault('give --config or --policies, not both')
  if (policies !== undefined) return await loadPolicyFolder(policies, shell.now(), { keepWritten: true })
  if (config !== undefined || existsSync(CONFIG_FILE)) {
    const loaded = await loadEverything(config ?? CONFIG_FILE, shell.environment, shell.now(), { keepWritten: true })
    return { ...loaded, problems: withoutSecrets(loaded) }
  }
  if (!existsSync(POLICIES_FOLDER)) throw new UsageFault(`neither ${CONFIG_FILE} nor ${POLICIES_FOLDER} is here: name one with --config or --policies`)
  return await loadPolicyFolder(POLICIES_FOLDER, shell.now(), { keepWritten: true })
}

/** Loads for a command that calls Okta: with every secret, those that other services keep included. */
export async function loadForCalls (shell: Shell, config: string): Promise<Loaded> {
  const stores = new SecretStores({ clock: () => performance.now() })
  try {
    return await loadEverything(config, shell.environment, shell.now(), { stores })
  } finally {
    stores.close()
  }
}

/** Whether a command that can do without files has some to load. */
export function hasFiles ({ config, policies }: FileOptions): boolean {
  return config !== undefined || policies !== undefined || existsSync(CONFIG_FILE) || existsSync(POLICIES_FOLDER)
}

/** What could not be read is said where the config refers to it; what was read and is no use stays an error. */
function withoutSecrets ({ config, secrets, problems }: Loaded): readonly Problem[] {
  if (config === undefined) return problems
  const missing = secretReferences(config).filter(reference => !secrets.has(reference))
  const places = new Set(missing.map(({ place }) => key(place)))
  return problems.map(problem => problem.severity === 'error' && places.has(key(problem))
    ? { ...problem, severity: 'warning', message: `serve would not start here: ${problem.message}` }
    : problem)
}

function key ({ file, line, column }: { file: string, line: number, column: number }): string {
  return `${file}:${line}:${column}`
}
