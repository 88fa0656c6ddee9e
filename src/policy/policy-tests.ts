import { addressBytes, canonicalAddress, isCidrProblem, parseCidr } from '../domain/cidr.js'
import type { CallBody, Decision, DenyReason } from '../domain/decision.js'
import type { Catalog } from '../okta/catalog.js'
import { resolveCall } from './call.js'
import type { CompiledPolicy } from './compile.js'
import { decide } from './decide.js'
import { splitRequest } from './request-line.js'
import type { WrittenTest } from './schema.js'
import { endOfDay, startOfDay } from './written.js'

/** What became of one test of a policy. */
export interface TestOutcome {
  readonly passed: boolean
  /** what happened instead, or why the test is none */
  readonly message?: string
  /** what the rules said; absent when they were not asked */
  readonly decision?: Decision
}

/**
 * Runs one test as the gate would judge the request, in enforce mode. Expiry and networks count only where the test
 * gives `at` or `from`. A deny test that is refused before any rule is asked, because its target is malformed,
 * tests nothing and fails.
 */
export function runTest (policy: CompiledPolicy, catalog: Catalog, test: WrittenTest): TestOutcome {
  const line = test.allow ?? test.deny
  const request = line === undefined ? undefined : splitRequest(line)
  if (request === undefined || (test.allow !== undefined && test.deny !== undefined)) return failed('a test is `allow: METHOD /path` or `deny: METHOD /path`')
  const wrong = contradiction(test)
  if (wrong !== undefined) return failed(wrong)

  const resolved = resolveCall(catalog, request.method, request.target, bodyOf(test))
  if (resolved.kind === 'target') return failed(`this request is refused before any rule is asked: ${resolved.why}`)
  const gate = gateReason(policy, test)
  if (gate !== undefined) return expectRefusal(test, gate, undefined, gate === 'expired' ? 'the policy has expired by then' : 'the address is in none of its networks')
  if (resolved.kind !== 'call') return expectRefusal(test, 'no_rule', undefined, resolved.why)

  const decision = decide(policy, resolved.call)
  if (decision.effect === 'undecided') return failed('the rules came to no decision')
  if (decision.effect === 'allow' && decision.wouldDeny === undefined) return expectAllowed(test, decision)
  const reason = decision.effect === 'deny' ? decision.reason : decision.wouldDeny!
  return expectRefusal(test, reason, decision, refusalText(decision))
}

function failed (message: string, decision?: Decision): TestOutcome {
  return { passed: false, message, decision }
}

function contradiction (test: WrittenTest): string | undefined {
  if (test.because !== undefined && test.allow !== undefined) return '`because` belongs to a deny test'
  if (test.from !== undefined && canonicalAddress(test.from) === undefined) return `"${test.from}" is no IP address`
  if (test.at !== undefined && timeOf(test.at) === undefined) return `${test.at} is no time of the calendar`
  return undefined
}

function bodyOf (test: WrittenTest): CallBody {
  return Object.hasOwn(test, 'body') ? { kind: 'json', value: test.body } : { kind: 'absent' }
}

function timeOf (text: string): number | undefined {
  if (endOfDay(text.slice(0, 10)) === undefined) return undefined
  const time = text.length === 10 ? startOfDay(text) : Date.parse(text)
  return time === undefined || Number.isNaN(time) ? undefined : time
}

/** What identify() looks at before any rule: expiry first, then the address. */
function gateReason (policy: CompiledPolicy, test: WrittenTest): 'expired' | 'network' | undefined {
  if (test.at !== undefined && policy.expiresAt !== undefined && timeOf(test.at)! >= policy.expiresAt) return 'expired'
  if (test.from !== undefined && policy.networks?.some(network => isWithin(network, test.from!)) === false) return 'network'
  return undefined
}

function isWithin (network: string, address: string): boolean {
  const cidr = parseCidr(network)
  const bytes = addressBytes(canonicalAddress(address) ?? '')
  if (isCidrProblem(cidr) || bytes === undefined) return false
  const base = addressBytes(cidr.address)
  if (base?.length !== bytes.length) return false
  for (let bit = 0; bit < cidr.prefix; bit++) {
    const mask = 0x80 >> (bit & 7)
    if ((base[bit >> 3]! & mask) !== (bytes[bit >> 3]! & mask)) return false
  }
  return true
}

function expectAllowed (test: WrittenTest, decision: Extract<Decision, { effect: 'allow' }>): TestOutcome {
  const answer = `${decision.rule.id} "${decision.rule.name}"`
  if (test.allow === undefined) return failed(`this request has to be refused and is allowed by ${answer}`, decision)
  if (test.rule !== undefined && test.rule !== decision.rule.name && test.rule !== decision.rule.id) {
    return failed(`this request has to be answered by "${test.rule}" and is by ${answer}`, decision)
  }
  return { passed: true, decision }
}

function expectRefusal (test: WrittenTest, reason: DenyReason, decision: Decision | undefined, why: string): TestOutcome {
  if (test.deny === undefined) return failed(`this request has to be allowed and is refused: ${reason} (${why})`, decision)
  if (test.because !== undefined && test.because !== reason) return failed(`this request has to be refused because of ${test.because} and is because of ${reason} (${why})`, decision)
  return { passed: true, decision }
}

function refusalText (decision: Exclude<Decision, { effect: 'undecided' }>): string {
  const attempts = decision.attempts ?? []
  if (decision.effect === 'deny' && decision.reason === 'deny') return `${decision.rule?.id} "${decision.rule?.name}"`
  if (attempts.length === 0) return 'no rule is about this operation'
  return attempts.map(attempt => `${attempt.rule.id} "${attempt.rule.name}": ${attempt.condition}`).join('; ')
}
