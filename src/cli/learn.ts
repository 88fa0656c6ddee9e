import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AuditEvent } from '../domain/event.js'
import { createCatalog, type Catalog } from '../okta/catalog.js'
import { createLearner, DEFAULT_GENERALISE, type Learned, type Learner } from '../policy/learn.js'
import { learnedPolicy, leftOutText, withEvidence } from '../policy/learn-text.js'
import { judgeSeen } from '../policy/verdict.js'
import type { WrittenPolicy } from '../policy/written.js'
import { addRules, patchText } from '../policy/write-policy.js'
import type { Loaded } from '../server/load.js'
import { auditEvents } from './audit-events.js'
import { EXIT } from './exit.js'
import { hasFiles, loadFiles, type FileOptions } from './files.js'
import { loadErrors, loadOnePolicy } from './policy-sources.js'
import { problemText } from './problems.js'
import type { Shell } from './shell.js'
import { count, painter } from './style.js'
import { UsageFault } from './usage.js'

/** Flags of `narrowgate learn`. */
export interface LearnCommandOptions extends FileOptions {
  readonly from: readonly string[]
  readonly client?: string
  readonly generalise?: string
  /** a policy file to extend */
  readonly merge?: string
  /** a folder for one file per client */
  readonly directory?: string
  readonly json?: boolean
}

/**
 * `narrowgate learn`: the smallest policy that admits what an audit log shows, with its evidence; or with `--merge`
 * the patch of a policy file that admits the rest of it.
 *
 * @returns 0; 1 when calls were left out or, with `--merge`, the policy lacks something
 */
export async function learn (shell: Shell, options: LearnCommandOptions): Promise<number> {
  const generalise = boundOf(options.generalise)
  return options.merge !== undefined ? await merge(shell, options, options.merge, generalise) : await learnAll(shell, options, generalise)
}

function boundOf (text: string | undefined): number {
  if (text === undefined) return DEFAULT_GENERALISE
  if (!/^[0-9]{1,3}$/.test(text)) throw new UsageFault(`--generalise: ${JSON.stringify(text)} is not a number from 0 to 999`)
  return Number(text)
}

/** Why an event teaches nothing; undefined when its call was let through. */
function refusal (event: AuditEvent): string | undefined {
  if (event.decision === 'allow' && event.client !== undefined) return undefined
  return `refused by the gate${event.reason === undefined ? '' : ` (${event.reason})`}`
}

async function learnAll (shell: Shell, options: LearnCommandOptions, generalise: number): Promise<number> {
  const loaded = hasFiles(options) ? await loadFiles(shell, options) : undefined
  const catalog = loaded?.policies?.catalog ?? createCatalog()
  const learners = new Map<string, Learner>()
  const refused = new Map<string, number>()
  for await (const event of auditEvents(shell, options.from)) {
    const { client } = event
    if (options.client !== undefined && client !== options.client) continue
    const why = refusal(event)
    if (why !== undefined) { refused.set(why, (refused.get(why) ?? 0) + 1); continue }
    let learner = learners.get(client!)
    if (learner === undefined) learners.set(client!, learner = createLearner(catalog, { generalise }))
    learner.add(event)
  }
  if (learners.size === 0) throw new UsageFault(`no call ${options.client === undefined ? '' : `of the client ${JSON.stringify(options.client)} `}was let through: nothing to learn from`)
  const learned = new Map([...learners].sort(([a], [b]) => a < b ? -1 : 1).map(([client, learner]) => [client, learner.learned()]))
  if (refused.size > 0) shell.terminal.err(`narrowgate: nothing is learned from calls that were refused: ${leftOutText(refused)}\n`)
  await print(shell, options, learned, loaded)
  return [...learned.values()].some(each => each.leftOut.size > 0) ? EXIT.findings : EXIT.fine
}

async function print (shell: Shell, options: LearnCommandOptions, learned: ReadonlyMap<string, Learned>, loaded: Loaded | undefined): Promise<void> {
  const { terminal } = shell
  if (options.json === true) {
    terminal.out(`${JSON.stringify([...learned].map(([client, each]) => jsonOf(client, each)), null, 2)}\n`)
    return
  }
  const texts = [...learned].map(([client, each]) => [client, learnedPolicy(client, each, writtenOf(loaded, client)?.value)] as const)
  if (options.directory === undefined) {
    terminal.out(texts.map(([, text]) => text).join('---\n'))
    if (texts.length > 1) terminal.err('narrowgate: one file holds one policy: choose with --client, or write all with --directory\n')
    return
  }
  await mkdir(options.directory, { recursive: true })
  for (const [client, text] of texts) {
    const file = join(options.directory, `${client.replace(/[^A-Za-z0-9._-]/g, '_')}.yaml`)
    await writeFile(file, text, { flag: 'wx' }).catch((error: unknown) => {
      throw new UsageFault(`${file} cannot be written (${String((error as NodeJS.ErrnoException).code)})`)
    })
    terminal.out(`${file}\n`)
  }
}

function jsonOf (client: string, { rules, calls, leftOut }: Learned): object {
  return {
    client,
    calls,
    leftOut: Object.fromEntries(leftOut),
    rules: rules.map(({ rule, group, notes }) => ({ rule, calls: group.calls, first: new Date(group.first).toISOString(), last: new Date(group.last).toISOString(), notes }))
  }
}

function writtenOf (loaded: Loaded | undefined, client: string): WrittenPolicy | undefined {
  const file = loaded?.policies?.written?.get(loaded.policies.clients.get(client)?.file ?? '')
  return file?.kind === 'policy' ? file : undefined
}

async function merge (shell: Shell, options: LearnCommandOptions, file: string, generalise: number): Promise<number> {
  const source = await loadOnePolicy(file, shell.now())
  const { set, texts } = source
  const errors = loadErrors(source)
  const [policy] = set.clients.values()
  const written = policy === undefined ? undefined : set.written?.get(policy.file)
  if (policy === undefined || written === undefined || errors.length > 0) {
    shell.terminal.err(problemText(errors, texts, painter(false)))
    throw new UsageFault(`${file} would not load: nothing can be merged into it`)
  }
  const { added, covered, unsure } = await missing(shell, options, set.catalog, policy, generalise)
  if (unsure > 0) shell.terminal.err(`narrowgate: of ${count(unsure, 'call')} the log does not say whether the policy admits them: it hangs on values that no log carries\n`)
  if (added.calls === 0) {
    shell.terminal.err(`narrowgate: ${file} admits all ${count(covered, 'call')} of ${policy.client}${unsure > 0 ? ' that can be judged' : ''}\n`)
    return EXIT.fine
  }
  const edit = addRules(written.yaml, added.rules.map(withEvidence))
  if (typeof edit === 'string') throw new UsageFault(`${file}: ${edit}`)
  shell.terminal.out(patchText(file, written.yaml.text, edit))
  shell.terminal.err(`narrowgate: ${file} admits ${covered} of ${count(covered + added.calls, 'call')} of ${policy.client}; the patch adds ${count(added.rules.length, 'rule')}\n`)
  return EXIT.findings
}

/** What the policy, enforced, would refuse of the calls that went through. */
async function missing (shell: Shell, options: LearnCommandOptions, catalog: Catalog, policy: Parameters<typeof judgeSeen>[0], generalise: number): Promise<{ added: Learned, covered: number, unsure: number }> {
  const learner = createLearner(catalog, { generalise })
  let covered = 0
  let unsure = 0
  for await (const event of auditEvents(shell, options.from)) {
    if (event.client !== policy.client || refusal(event) !== undefined) continue
    const verdict = event.policy === policy.hash ? (event.wouldDeny === undefined ? 'admitted' : 'refused') : judgeSeen(policy, catalog, event)
    if (verdict === 'refused') learner.add({ ...event, rule: undefined })
    else if (verdict === 'admitted') covered++
    else unsure++
  }
  return { added: learner.learned(), covered, unsure }
}
