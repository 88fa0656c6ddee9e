import { readFile } from 'node:fs/promises'
import { printable } from '../domain/printable.js'
import { hasErrors } from '../domain/problem.js'
import { rejections, type Rejection, type RejectionCode } from '../domain/rejection.js'
import { errorBody } from '../okta/error-body.js'
import type { CompiledPolicy } from '../policy/compile.js'
import { explain as explainDecision, explanationLines, type Explanation } from '../policy/explain.js'
import { parseStrictJson } from '../policy/json.js'
import { didYouMean } from '../policy/nearest.js'
import type { Loaded } from '../server/load.js'
import { EXIT } from './exit.js'
import { loadFiles, type FileOptions } from './files.js'
import { problemText } from './problems.js'
import { rehearse } from './rehearse.js'
import type { Shell } from './shell.js'
import { count, painter, type Paint } from './style.js'
import { UsageFault } from './usage.js'

/** Refusals that the gate makes whatever the rules say. */
const BESIDE_RULES: ReadonlySet<RejectionCode> = new Set(['self_protection', 'policy_expired', 'bad_framing', 'bad_body', 'unsupported_body', 'body_too_large'])

/** Flags of `narrowgate explain`. */
export interface ExplainOptions extends FileOptions {
  readonly client: string
  /** a file with the request body, `-` for standard input */
  readonly body?: string
  readonly json?: boolean
}

/**
 * `narrowgate explain`: the decision that the gate would take, every rule tried, and what the developer would see.
 *
 * @returns 0 when the call would be allowed, 1 when refused, 2 when the client's policy would not load
 * @throws UsageFault when there is no such client, or the body can't be read
 */
export async function explain (shell: Shell, method: string, target: string, options: ExplainOptions): Promise<number> {
  const loaded = await loadFiles(shell, options)
  const policy = loaded.policies?.clients.get(options.client)
  if (policy === undefined) return unknownClient(shell, loaded, options.client)
  const body = options.body === undefined ? Buffer.alloc(0) : await readBody(shell, options.body)

  const { catalog, written } = loaded.policies!
  const verb = method.toUpperCase()
  const explanation = explainDecision(policy, catalog, verb, target, parseStrictJson(body, 'application/json', undefined), written)
  const refusal = rehearse(loaded, policy, verb, target, body, shell.now())

  const { terminal } = shell
  if (hasErrors(loaded.problems)) terminal.err(`narrowgate: the gate would not start with these files (${count(loaded.problems.length, 'problem')}): see narrowgate check\n`)
  terminal.out(options.json === true ? `${JSON.stringify(jsonOf(explanation, refusal), null, 2)}\n` : text(explanation, policy, refusal, painter(terminal.color)))
  return refusal === undefined ? EXIT.fine : EXIT.findings
}

/** The client has a policy that would not load, or none. */
function unknownClient (shell: Shell, { policies, problems, texts }: Loaded, client: string): number {
  const errors = problems.filter(problem => problem.severity === 'error')
  if (errors.length > 0) {
    shell.terminal.err(`${problemText(errors, texts, painter(false))}narrowgate: no policy of the client ${JSON.stringify(client)} would load\n`)
    return EXIT.usage
  }
  const known = [...policies?.clients.keys() ?? []]
  const hint = didYouMean(client, known) ?? (known.length === 0 ? 'there is no policy at all' : `known: ${known.slice(0, 10).join(', ')}${known.length > 10 ? ', …' : ''}`)
  throw new UsageFault(`there is no client ${JSON.stringify(client)}; ${hint}`)
}

async function readBody (shell: Shell, file: string): Promise<Buffer> {
  if (file === '-') return await shell.readInput()
  try {
    return await readFile(file)
  } catch (error) {
    throw new UsageFault(`--body: ${file} cannot be read (${String((error as NodeJS.ErrnoException).code)})`)
  }
}

function text (explanation: Explanation, policy: CompiledPolicy, refusal: Rejection | undefined, paint: Paint): string {
  const lines = explanationLines(explanation).map(printable)
  const verdict = lines.pop()!
  const beside = refusal !== undefined && BESIDE_RULES.has(refusal.code)
  lines.push(paint(refusal === undefined ? 'green' : 'red', beside ? `REFUSED: ${refusal.code}` : verdict))
  if (policy.networks !== undefined) lines.push(`  only from ${policy.networks.join(', ')}`)
  if (refusal !== undefined) lines.push('', ...developerLines(refusal).map(printable))
  return `${lines.join('\n')}\n`
}

/** The answer as the client would get it, but for its id. */
function developerLines (refusal: Rejection): string[] {
  const body = JSON.parse(errorBody(refusal, '…')) as object
  const allow = refusal.allow === undefined ? [] : [`  Allow: ${refusal.allow.join(', ')}`]
  return ['The client would get:', `  HTTP ${rejections[refusal.code].status}`, ...allow, ...JSON.stringify(body, null, 2).split('\n').map(line => `  ${line}`)]
}

function jsonOf (explanation: Explanation, refusal: Rejection | undefined): object {
  if (refusal === undefined) return { allowed: true, ...explanation }
  const { status } = rejections[refusal.code]
  return { allowed: false, ...explanation, rejection: { code: refusal.code, status, body: JSON.parse(errorBody(refusal, '')) as object } }
}
