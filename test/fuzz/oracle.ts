// What has reached Okta, read from its bytes alone and without the gate's own readers: two that share a mistake would
// agree with each other.
import type { CallBody } from '../../src/domain/decision.js'
import type { Operation } from '../../src/domain/operation.js'
import { judgeArrival, type Parties } from '../bypass/judge.js'
import { interpret, type RefCall, type RefPolicy } from '../policy/reference.js'
import type { StubRequest } from '../support/gate.js'
import { ambiguity } from './targets/json.js'

/** Words for who calls: whatever operation the path looks like, they are no id. */
const CALLER = /^(?:me|current)$/i

/** The operation that a path names: a literal before a parameter, segment by segment. @returns a text: there is none */
function operationOf (method: string, path: string, operations: readonly Operation[]): Pick<RefCall, 'operation' | 'parameters' | 'alias'> | string {
  const segments = path.split('/')
  const found = operations.filter(each => each.method === method).flatMap(operation => [operation.template, ...operation.aliases].map((spelling, nth) => ({ operation, alias: nth > 0, steps: spelling.split('/') })))
    .filter(({ steps }) => steps.length === segments.length && steps.every((step, i) => step.startsWith('{') ? segments[i] !== '' : step === segments[i]))
    .sort((a, b) => specificity(b.steps) < specificity(a.steps) ? -1 : 1)[0]
  if (found === undefined) return 'no operation'
  const parameters = segments.filter((_, i) => found.steps[i]!.startsWith('{')).map(decodeURIComponent)
  if (parameters.some(value => CALLER.test(value) || value === '.' || value === '..' || /[\\/%;?#]|[^\x20-\x7e]/.test(value))) return 'a parameter that is no id'
  return { operation: found.operation, parameters, alias: found.alias }
}

function specificity (steps: readonly string[]): string {
  return steps.map(step => step.startsWith('{') ? '0' : '1').join('')
}

function queryOf (raw: string | undefined): RefCall['query'] {
  const pieces = (raw ?? '').split('&').filter(piece => piece !== '')
  const ambiguous = /[;[\]]/.test(raw ?? '')
  return [...new URLSearchParams(pieces.join('&'))].map(([name, value]) => ({ name, value, ambiguous }))
}

/** JSON.parse's reading, where no other parser has another one. */
function bodyOf (got: StubRequest): CallBody {
  if (got.body.length === 0) return { kind: 'absent' }
  const type = got.header('content-type') ?? ''
  const coded = got.header('content-encoding')
  if (!/^application\/json/i.test(type) || /charset=(?!"?utf-8"?(?:;|$|\s))/i.test(type) || (coded !== undefined && coded.toLowerCase() !== 'identity')) return { kind: 'unjudgeable', why: 'its type' }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(got.body)
    const value: unknown = JSON.parse(text)
    const odd = ambiguity(text)
    return odd === undefined ? { kind: 'json', value } : { kind: 'unjudgeable', why: odd }
  } catch {
    return { kind: 'unjudgeable', why: 'no JSON' }
  }
}

/** Why a request should not have arrived; nothing: the policy admits it as the reference interpreter reads it. */
export function objection (got: StubRequest, policy: RefPolicy | undefined, operations: readonly Operation[], { keys, ...parties }: Omit<Parties, 'key'> & { readonly keys: readonly string[] }): string | undefined {
  const path = got.target.split('?', 1)[0]!
  if (!/^[\x21-\x7e]+$/.test(got.target) || /[\\#]/.test(got.target) || new URL(`http://x${got.target}`).href.replaceAll('%27', "'") !== `http://x${got.target}`) return 'not in canonical spelling'
  const named = operationOf(got.method, path, operations)
  if (typeof named === 'string') return named
  const anonymous = named.operation.template.startsWith('/api/v1/authn')
  const wrong = keys.flatMap(key => judgeArrival(got, { ...parties, key })).filter(text => !(anonymous && text === 'credential: '))
  if (anonymous && got.header('authorization') !== undefined) wrong.push('a credential for an anonymous call')
  if (wrong.length > 0) return wrong.join('; ')
  if (policy === undefined) return 'no client'
  const answer = interpret(policy, { ...named, query: queryOf(got.target.split(/\?(.*)/s)[1]), body: bodyOf(got) })
  return 'deny' in answer ? `the policy denies it: ${answer.deny}` : undefined
}
