import { hasErrors } from '../domain/problem.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { entitlements as report } from '../policy/entitlements.js'
import { didYouMean } from '../policy/nearest.js'
import { createUsageCounter, type Usage } from '../policy/usage.js'
import { auditEvents, withRotated } from './audit-events.js'
import { entitlementMarkdown, entitlementText } from './entitlements-text.js'
import { EXIT } from './exit.js'
import { loadFiles, type FileOptions } from './files.js'
import { problemText } from './problems.js'
import type { Shell } from './shell.js'
import { painter } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate entitlements`. */
export interface EntitlementOptions extends FileOptions {
  readonly client?: readonly string[]
  readonly upstream?: string
  readonly usage?: readonly string[]
  readonly days?: string
  readonly json?: boolean
  readonly markdown?: boolean
}

const DEFAULT_DAYS = 90

/**
 * `narrowgate entitlements`: which scopes and admin rights the account behind the gate needs for the policies, with
 * how sure that is, and what else those open.
 *
 * @returns 0; with `--usage` 1 when rules are granted and not used
 */
export async function entitlements (shell: Shell, options: EntitlementOptions): Promise<number> {
  if (options.json === true && options.markdown === true) throw new UsageFault('give --json or --markdown, not both')
  const days = daysOf(options.days)
  const { policies: set, problems, texts } = await loadFiles(shell, options)
  const { terminal } = shell
  if (set === undefined || hasErrors(problems)) {
    terminal.err(problemText(problems.filter(problem => problem.severity === 'error'), texts, painter(false)))
    throw new UsageFault('these files would not load: what the policies need can\'t be told')
  }
  const policies = chosen([...set.clients.values()], options)
  const result = report(policies, set.catalog)
  const usage = options.usage === undefined ? undefined : await usageOf(shell, options.usage, policies, days)
  if (options.json === true) terminal.out(`${JSON.stringify({ ...result, usage }, null, 2)}\n`)
  else if (options.markdown === true) terminal.out(entitlementMarkdown(result, usage))
  else terminal.out(entitlementText(result, usage, shell.now(), painter(terminal.color)))
  return usage !== undefined && usage.unused.length > 0 ? EXIT.findings : EXIT.fine
}

function daysOf (text: string | undefined): number {
  if (text === undefined) return DEFAULT_DAYS
  if (!/^[1-9][0-9]{0,3}$/.test(text)) throw new UsageFault(`--days: ${JSON.stringify(text)} is not a number of days`)
  return Number(text)
}

function chosen (policies: readonly CompiledPolicy[], { client, upstream }: EntitlementOptions): readonly CompiledPolicy[] {
  const known = policies.map(policy => policy.client)
  for (const id of client ?? []) {
    if (!known.includes(id)) throw new UsageFault(`there is no client ${JSON.stringify(id)}; ${didYouMean(id, known) ?? `known: ${known.slice(0, 10).join(', ')}`}`)
  }
  const found = policies.filter(policy => (client === undefined || client.includes(policy.client)) && (upstream === undefined || policy.upstream === upstream))
  if (found.length === 0) throw new UsageFault(upstream === undefined ? 'there is no policy' : `no policy goes to the upstream ${JSON.stringify(upstream)}`)
  return found
}

async function usageOf (shell: Shell, files: readonly string[], policies: readonly CompiledPolicy[], days: number): Promise<Usage> {
  const counter = createUsageCounter(policies, days, shell.now())
  for await (const event of auditEvents(shell, withRotated(files))) counter.add(event)
  return counter.usage()
}
