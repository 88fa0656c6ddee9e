import { diffPolicies } from '../policy/diff.js'
import { createReplay, type ReplayedChange } from '../policy/diff-replay.js'
import { auditEvents } from './audit-events.js'
import { diffMarkdown, diffText, isOpening } from './diff-text.js'
import { EXIT } from './exit.js'
import { loadErrors, loadPolicySource, type Sourced } from './policy-sources.js'
import { problemText } from './problems.js'
import type { Shell } from './shell.js'
import { painter } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate diff`. */
export interface DiffOptions {
  readonly client?: string
  /** audit logs */
  readonly replay?: readonly string[]
  readonly json?: boolean
  readonly markdown?: boolean
}

/**
 * `narrowgate diff`: what each client gains and loses between two versions of the policies, in operations, each with a
 * request that shows it.
 *
 * @returns 0; 1 when a client gains something, or may; 2 when either version would not load
 */
export async function diff (shell: Shell, before: string, after: string, options: DiffOptions): Promise<number> {
  if (options.json === true && options.markdown === true) throw new UsageFault('give --json or --markdown, not both')
  const [old, now] = [await loadPolicySource(before, shell.now()), await loadPolicySource(after, shell.now())]
  mustLoad(shell, before, old)
  mustLoad(shell, after, now)
  const diffs = diffPolicies(old.set, now.set).filter(each => options.client === undefined || each.client === options.client)
  const replayed = options.replay === undefined ? undefined : await replay(shell, options.replay, old, now, options.client)
  const { terminal } = shell
  if (options.json === true) terminal.out(`${JSON.stringify({ clients: diffs, replayed }, null, 2)}\n`)
  else if (options.markdown === true) terminal.out(diffMarkdown(diffs, replayed))
  else terminal.out(diffText(diffs, replayed, painter(terminal.color)))
  return diffs.some(({ changes, operations }) => [...changes, ...operations].some(({ kind }) => isOpening(kind))) ? EXIT.findings : EXIT.fine
}

function mustLoad (shell: Shell, name: string, source: Sourced): void {
  const errors = loadErrors(source)
  if (errors.length === 0) return
  shell.terminal.err(problemText(errors, source.texts, painter(false)))
  throw new UsageFault(`${name} would not load: it can't be compared`)
}

async function replay (shell: Shell, files: readonly string[], old: Sourced, now: Sourced, client: string | undefined): Promise<readonly ReplayedChange[]> {
  const judged = createReplay(old.set, now.set)
  for await (const event of auditEvents(shell, files)) if (client === undefined || event.client === client) judged.add(event)
  return judged.changes()
}
