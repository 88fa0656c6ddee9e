import type { Step } from '../emulator/scenario.js'
import { outsideCalls, scenario } from '../emulator/scenario.js'
import { findTripped } from '../emulator/received.js'
import { makeClientKey } from './keys.js'
import type { Answer, DemoClient, DemoRequest } from './demo-client.js'
import { BURST_ORG_LIMIT, GATE_CLIENT_ID, type DemoWorld } from './demo-world.js'

/** One call of the demo and what became of it. */
export interface CallOutcome {
  readonly name: string
  readonly method: string
  readonly target: string
  readonly status: number
  /** calls that arrived at the org because of it */
  readonly reached: number
  readonly expected: boolean
  /** why it was refused, or what was not as expected */
  readonly note?: string
}

/** What became of a burst. */
export interface BurstOutcome {
  readonly bucket: string
  readonly sent: number
  readonly passed: number
  readonly limited: number
  /** calls per minute: the org's, and what the gate's ceiling leaves of it */
  readonly orgLimit: number
  readonly allowance: number
  /** answers 429 that the org itself gave */
  readonly drawn: number
  readonly retryAfterSeconds?: number
  readonly expected: boolean
}

/** Tells of each call as soon as it is answered. */
export type Told = (outcome: CallOutcome) => void

const BURST = 60
const CEILING = 0.5

/** The list's operations: each has to be answered by the org, and to reach it with the credential that its rule names. */
export async function allowedAct (world: DemoWorld, client: DemoClient, stop: AbortSignal, told: Told): Promise<CallOutcome[]> {
  const steps = scenario(world.emulator.org, Date.now())
  return await play(steps, stop, told, async step => {
    const { answer, arrived } = await sendAndWatch(world, client, { ...step, key: world.keys.portal })
    const credential = arrived.at(-1)
    const wanted = CREDENTIALS[step.credential]
    const wrong = answer.status !== step.expected ? `the org should have answered ${step.expected}${answer.cause === undefined ? '' : `: ${answer.cause}`}` : credential !== wanted ? `it should have gone out with ${wanted}` : undefined
    return outcome(step, answer, arrived, arrived.length === 1 && wrong === undefined, wrong ?? CREDENTIAL_NOTES[step.credential])
  })
}

const CREDENTIALS: Readonly<Record<Step['credential'], string>> = { upstream: 'Bearer', authnToken: 'SSWS', none: 'none' }
const CREDENTIAL_NOTES: Readonly<Record<Step['credential'], string>> = { upstream: 'service app', authnToken: 'API token', none: 'anonymous' }

/** Calls outside the list, which the org would all have answered: each has to be refused, and to reach nothing. */
export async function refusedAct (world: DemoWorld, client: DemoClient, stop: AbortSignal, told: Told): Promise<CallOutcome[]> {
  return await play(outsideCalls(world.emulator.org, Date.now()), stop, told, async step => {
    const { answer, arrived } = await sendAndWatch(world, client, { ...step, key: world.keys.portal })
    return outcome(step, answer, arrived, [403, 405].includes(answer.status) && arrived.length === 0, answer.cause)
  })
}

/** Keys that are none, addresses that may not, targets that two parsers could read in two ways. */
export async function keptOutAct (world: DemoWorld, client: DemoClient, stop: AbortSignal, told: Told): Promise<CallOutcome[]> {
  const user = [...world.emulator.org.users.keys()].at(-1)! // the first is the gate's own account
  const { portal, directory, elsewhere, expired } = world.keys
  const unknown = makeClientKey('nobody', undefined, Date.now()).key
  const get = (name: string, target: string, key: string | undefined, expected: number): Trial => ({ name, method: 'GET', target, key, expected })
  const trials: Trial[] = [
    get('no key', `/api/v1/users/${user}`, undefined, 401),
    get('a key that nobody has', `/api/v1/users/${user}`, unknown, 401),
    get('a key with a typing error', `/api/v1/users/${user}`, `${portal.slice(0, -1)}${portal.endsWith('0') ? '1' : '0'}`, 401),
    get('an Okta token', `/api/v1/users/${user}`, '00aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcd', 401),
    get('from the wrong network', `/api/v1/users/${user}`, elsewhere, 403),
    get('after the policy\'s last day', `/api/v1/users/${user}`, expired, 401),
    get('the gate\'s own account', '/api/v1/users/me', directory, 403),
    { name: 'revoke the gate\'s token', method: 'DELETE', target: '/api/v1/api-tokens/current', key: directory, expected: 403 },
    get('the gate\'s own service app', `/api/v1/apps/${GATE_CLIENT_ID}`, directory, 403),
    get('an encoded slash', `/api/v1/users/${user}%2Fgroups`, directory, 400),
    get('a backslash', `/api/v1/users/${user}\\groups`, directory, 400),
    get('a dot segment', `/api/v1/groups/../users/${user}`, directory, 400),
    get('an encoded dot segment', '/api/v1/users/%2e', directory, 400),
    get('a double slash', `//api/v1/users/${user}`, directory, 400),
    get('a trailing slash', '/api/v1/users/', directory, 400),
    get('a path parameter (;)', `/api/v1/users/${user};x=1`, directory, 400),
    { name: 'HEAD', method: 'HEAD', target: `/api/v1/users/${user}`, key: directory, expected: 405 }
  ]
  return await play(trials, stop, told, async trial => {
    const { answer, arrived } = await sendAndWatch(world, client, trial)
    return outcome(trial, answer, arrived, answer.status === trial.expected && arrived.length === 0, answer.cause)
  })
}

interface Trial extends DemoRequest { readonly name: string, readonly expected: number }

/** More calls at once than the gate lets through in a minute: half of the org's limit passes, and the org refuses none. */
export async function burstAct (world: DemoWorld, client: DemoClient): Promise<BurstOutcome> {
  const { emulator, keys, burstBucket } = world
  const group = [...emulator.org.groups.values()].find(one => one.type === 'OKTA_GROUP')!.id
  const call = { method: 'GET', target: `/api/v1/groups/${group}`, key: keys.directory }
  const answers = await Promise.all(Array.from({ length: BURST }, () => client.send(call)))
  const passed = answers.filter(answer => answer.status === 200).length
  const refused = answers.filter(answer => answer.status === 429)
  const counted = emulator.counts().find(one => one.bucket === burstBucket)
  const allowance = Math.floor(BURST_ORG_LIMIT * CEILING)
  const waits = refused.map(answer => Number(answer.retryAfter))
  return {
    bucket: burstBucket,
    sent: BURST,
    passed,
    limited: refused.length,
    orgLimit: BURST_ORG_LIMIT,
    allowance,
    drawn: counted?.refused ?? 0,
    retryAfterSeconds: waits.length === 0 ? undefined : Math.min(...waits),
    expected: passed === allowance && passed + refused.length === BURST && counted?.admitted === passed && counted.refused === 0 && waits.every(wait => wait > 0)
  }
}

/** What arrived at the org and must not have: client keys, cookies, forwarding headers. */
export function leaks ({ emulator, keys }: DemoWorld): string[] {
  return findTripped(emulator.received.all, Object.values(keys)).map(({ target, what }) => `${what} in ${target}`)
}

async function play<T> (items: readonly T[], stop: AbortSignal, told: Told, act: (item: T) => Promise<CallOutcome>): Promise<CallOutcome[]> {
  const outcomes: CallOutcome[] = []
  for (const item of items) {
    if (stop.aborted) break
    const done = await act(item)
    outcomes.push(done)
    told(done)
  }
  return outcomes
}

/** Sends a call and says what arrived at the org meanwhile, by its Authorization scheme. Token requests are the gate's own. */
async function sendAndWatch ({ emulator }: DemoWorld, client: DemoClient, call: DemoRequest): Promise<{ answer: Answer, arrived: string[] }> {
  const before = emulator.received.all.length
  const answer = await client.send(call)
  const arrived = emulator.received.all.slice(before).filter(one => !one.target.startsWith('/oauth2/v1/token'))
  return { answer, arrived: arrived.map(one => one.authorization) }
}

function outcome ({ name, method, target }: { name: string, method: string, target: string }, answer: Answer, arrived: readonly string[], expected: boolean, note?: string): CallOutcome {
  return { name, method, target, status: answer.status, reached: arrived.length, expected, note }
}
