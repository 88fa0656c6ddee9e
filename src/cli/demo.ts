import { pino } from 'pino'
import { printable } from '../domain/printable.js'
import { LoadFault } from '../server/usable.js'
import { allowedAct, burstAct, keptOutAct, leaks, refusedAct, type BurstOutcome, type CallOutcome } from './demo-acts.js'
import { DemoClient } from './demo-client.js'
import { startWorld, type DemoWorld } from './demo-world.js'
import { EXIT } from './exit.js'
import { problemText } from './problems.js'
import type { Shell, Terminal } from './shell.js'
import { fit, painter, type Paint } from './style.js'

/** Flags of `narrowgate demo`. */
export interface DemoOptions {
  /** end when the calls are done */
  readonly once?: boolean
  readonly json?: boolean
}

/** All that the demo found. */
interface Outcomes {
  readonly allowed: readonly CallOutcome[]
  readonly refused: readonly CallOutcome[]
  readonly keptOut: readonly CallOutcome[]
  readonly limited: BurstOutcome
  readonly leaks: readonly string[]
}

/** How many calls the list has, and how many the demo makes outside it. */
const LISTED = 48
const OUTSIDE = 40

/**
 * `narrowgate demo`: an emulated Okta org, the gate in front of it, and real calls through real sockets.
 *
 * @returns 0 when every outcome was as expected, else 1; without `once` after SIGINT or SIGTERM
 */
export async function demo (shell: Shell, options: DemoOptions): Promise<number> {
  const { terminal } = shell
  const stop = shell.stopSignal()
  terminal.err('starting an emulated Okta org and the gate in front of it …\n')
  const log = pino({ level: 'error' }, { write: line => { terminal.err(line) } })
  let world: DemoWorld
  try {
    world = await startWorld(log, shell.now())
  } catch (error) {
    if (!(error instanceof LoadFault)) throw error
    terminal.err(problemText(error.problems, error.texts, painter(false)))
    return EXIT.usage
  }
  const client = new DemoClient(world.gate.url)
  try {
    const outcomes = await perform(world, client, terminal, stop, options.json === true)
    const good = isGood(outcomes)
    if (options.json === true) terminal.out(`${JSON.stringify({ expected: good, ...outcomes }, null, 2)}\n`)
    else terminal.out(summary(outcomes, painter(terminal.color)))
    if (options.once !== true && !stop.aborted) await stayUp(world, terminal, stop)
    return good ? EXIT.fine : EXIT.findings
  } finally {
    client.close()
    await world.close()
  }
}

async function perform (world: DemoWorld, client: DemoClient, terminal: Terminal, stop: AbortSignal, quiet: boolean): Promise<Outcomes> {
  const paint = painter(terminal.color)
  const say = (text: string): void => { if (!quiet) terminal.out(text) }
  const heading = (text: string): void => { say(`\n${paint('bold', text)}\n`) }
  const told = (outcome: CallOutcome): void => { say(row(outcome, terminal.columns, paint)) }
  heading(`Allowed: the ${LISTED} operations of policies/account-self-service.yaml`)
  const allowed = await allowedAct(world, client, stop, told)
  heading(`Refused: ${OUTSIDE} other operations that the org would have answered`)
  const refused = await refusedAct(world, client, stop, told)
  heading('Kept out: other keys, other places, ambiguous targets')
  const keptOut = await keptOutAct(world, client, stop, told)
  heading('Limited: a burst of policies/read-only-directory.yaml')
  const limited = await burstAct(world, client)
  say(burstText(limited, paint))
  return { allowed, refused, keptOut, limited, leaks: leaks(world) }
}

function isGood ({ allowed, refused, keptOut, limited, leaks }: Outcomes): boolean {
  return allowed.length === LISTED && refused.length === OUTSIDE && keptOut.length > 0 &&
    [...allowed, ...refused, ...keptOut].every(outcome => outcome.expected) && limited.expected && leaks.length === 0
}

const NAME_WIDTH = 30
const MIN_WIDTH = 30
/** A segment of Okta's id form: its first three characters say what it is. */
const OKTA_ID = /(?<=\/)([0-9A-Za-z]{3})[0-9A-Za-z]{17}(?![0-9A-Za-z])/g

function row ({ name, method, target, status, expected, note }: CallOutcome, columns: number, paint: Paint): string {
  const mark = expected ? paint('green', '✓') : paint('red', '✗')
  const rest = Math.max(MIN_WIDTH * 2, columns - NAME_WIDTH - 20)
  const noteWidth = Math.max(MIN_WIDTH, Math.floor(rest * 0.4))
  const request = fit(printable(target.replace(OKTA_ID, '$1…')), rest - noteWidth)
  return `  ${mark} ${fit(name, NAME_WIDTH)} ${method.padEnd(6)} ${request} ${status} ${paint('dim', fit(printable(note ?? ''), noteWidth).trimEnd())}\n`
}

function burstText (burst: BurstOutcome, paint: Paint): string {
  const { bucket, sent, passed, limited, orgLimit, allowance, drawn, retryAfterSeconds, expected } = burst
  const mark = expected ? paint('green', '✓') : paint('red', '✗')
  const wait = retryAfterSeconds === undefined ? '' : `, Retry-After ${retryAfterSeconds} s or more`
  return `  ${mark} ${sent} calls at once in the bucket ${bucket}: ${passed} passed (half of the org's ${orgLimit} a minute: ${allowance}), ${limited} got a 429 of the gate${wait}; 429s that the org gave: ${drawn}\n`
}

function summary (outcomes: Outcomes, paint: Paint): string {
  const { allowed, refused, keptOut, limited, leaks } = outcomes
  const line = (name: string, good: number, all: number, more: string): string =>
    `  ${fit(name, 9)} ${paint(good === all ? 'green' : 'red', `${good}/${all}`)}${more}\n`
  const good = (list: readonly CallOutcome[]): number => list.filter(outcome => outcome.expected).length
  const reached = [...refused, ...keptOut].reduce((sum, outcome) => sum + outcome.reached, 0)
  return `\n${paint('bold', 'Summary')}\n` +
    line('allowed', good(allowed), LISTED, '') +
    line('refused', good(refused), OUTSIDE, `, ${reached} reached the org`) +
    line('kept out', good(keptOut), keptOut.length, '') +
    line('limited', limited.passed, limited.allowance, ` passed of ${limited.sent}: 50% of ${limited.orgLimit} a minute`) +
    leaks.map(leak => `  ${paint('red', 'leaked')} ${printable(leak)}\n`).join('') +
    `  ${isGood(outcomes) ? paint('green', 'every outcome was as expected') : paint('red', 'not every outcome was as expected')}\n`
}

/** Leaves everything running, with lines to try. */
async function stayUp ({ emulator, gate, folder, keys }: DemoWorld, terminal: Terminal, stop: AbortSignal): Promise<void> {
  const user = [...emulator.org.users.keys()][1]!
  terminal.err(`
Up until Ctrl-C. To try:
  KEY=${keys.portal}
  curl -i -H "Authorization: SSWS $KEY" ${gate.url}/api/v1/users/${user}
  curl -i -H "Authorization: SSWS $KEY" -X DELETE ${gate.url}/api/v1/users/${user}
  KEY=${keys.directory}
  curl -i -H "Authorization: SSWS $KEY" '${gate.url}/api/v1/users?limit=2'
  curl -s ${gate.adminUrl}/readyz
  curl -s ${gate.adminUrl}/metrics
  narrowgate audit tail ${folder}/audit.jsonl
  narrowgate explain -c ${folder}/narrowgate.yaml --client account-self-service DELETE /api/v1/users/${user}
Change a file in ${folder}/policies: the gate takes it up by itself.
`)
  await new Promise<void>(resolve => {
    if (stop.aborted) resolve()
    else stop.addEventListener('abort', () => { resolve() }, { once: true })
  })
  terminal.err('stopping …\n')
}
