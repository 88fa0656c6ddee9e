// Random policies and calls of a small world, in which they meet.
import fc from 'fast-check'
import { stringify } from 'yaml'
import type { CallBody } from '../../src/domain/decision.js'
import { createCatalog, type DeclaredOperation } from '../../src/okta/catalog.js'
import { loadPolicies } from '../../src/policy/load.js'
import type { RefCall, RefPolicy, RefRule } from './reference.js'

// A small world, so that requests meet rules: two real operations, one with an alias, and two that are declared.
const declared: readonly DeclaredOperation[] = [
  { id: 'one', method: 'POST', template: '/zoo/{keeper}/animals/{animal}', query: ['p', 'q'] },
  { id: 'two', method: 'DELETE', template: '/zoo/{keeper}', query: [] }
]
export const catalog = createCatalog(declared)
export const operations = ['one', 'two', 'authn', 'updateUser'].map(id => catalog.byId(id)!)

const word = fc.constantFrom('a', 'b', 'ab')
const pattern = fc.constantFrom('a', 'a|b', '[ab]{2}', 'b.*', '.{0,1}').map(text => ({ pattern: text }))
const list = fc.uniqueArray(word, { minLength: 1, maxLength: 2 })
const valueTest = fc.oneof(fc.constant('any' as const), list, pattern)
const queryTests = fc.dictionary(fc.constantFrom('p', 'q', 'r'), valueTest, { maxKeys: 2, noNullPrototype: true })
const scalar = fc.constantFrom<unknown>('a', 'b', 'ab', 1, '1', true, 'true', null)
const bodyTest = fc.oneof(fc.constant('any' as const), fc.uniqueArray(scalar, { minLength: 1, maxLength: 2 }), pattern)
const path = fc.constantFrom('x', 'y', 'x.y', 'x[]', 'x.y[]', 'x[].y', 'x[][]', '[].x')
const anyPath = fc.oneof(path, fc.constantFrom('x.*', 'x.y.*', 'x[].*'))

const bodyRequire = fc.dictionary(path, bodyTest, { maxKeys: 2, noNullPrototype: true })
const subtreeRequire = fc.dictionary(anyPath, fc.constant('any' as const), { maxKeys: 2, noNullPrototype: true })
const body = fc.record({ only: fc.option(fc.uniqueArray(anyPath, { maxLength: 4 }), { nil: undefined }), require: fc.oneof(bodyRequire, subtreeRequire) })
  .filter(({ only, require }) => only !== undefined || Object.keys(require).length > 0)

function where (names: readonly string[]) {
  return fc.option(names.length === 0 ? fc.constant({}) : fc.dictionary(fc.constantFrom(...names), fc.oneof(list, pattern), { noNullPrototype: true }), { nil: undefined })
}

const subject = fc.constantFrom(...operations).chain(operation => fc.oneof(
  fc.record({ operation: fc.constant(operation.id), where: where(operation.parameters) }),
  fc.record({
    request: fc.tuple(fc.constantFrom(operation.template, ...operation.aliases), fc.constantFrom('', '', '?p=a', '?p=a&q=b')).map(([template, query]) => {
      return `${operation.method} ${template.replaceAll(/\{(.*?)\}/g, '{my$1}')}${query}`
    }),
    where: where(operation.parameters.map(name => `my${name}`))
  })
))

const hasQuery = (rule: object) => 'request' in rule && String(rule.request).includes('?')

export const allowRule: fc.Arbitrary<RefRule> = fc.tuple(
  subject,
  fc.oneof(fc.constant(undefined), fc.constant('any' as const), fc.record({ require: queryTests, allow: queryTests })
    .filter(({ require, allow }) => Object.keys(require).every(name => !Object.hasOwn(allow, name)))),
  fc.option(body, { nil: undefined }),
  fc.constantFrom(undefined, undefined, 'observe' as const)
).map(([rule, query, body, mode]) => ({ ...rule, query: hasQuery(rule) ? undefined : query, body, mode }))

export const denyRule: fc.Arbitrary<RefRule> = fc.tuple(
  subject,
  fc.option(queryTests.filter(tests => Object.keys(tests).length > 0), { nil: undefined }),
  fc.option(bodyRequire.filter(tests => Object.keys(tests).length > 0), { nil: undefined })
).map(([rule, query, body]) => ({
  ...rule,
  query: query === undefined || hasQuery(rule) ? undefined : { require: query },
  body: body === undefined ? undefined : { require: body }
}))

export const policies: fc.Arbitrary<RefPolicy> = fc.record({
  mode: fc.constantFrom('enforce' as const, 'enforce' as const, 'observe' as const),
  allow: fc.array(allowRule, { maxLength: 5 }),
  deny: fc.array(denyRule, { maxLength: 2 })
})

const json = fc.letrec(tie => ({
  value: fc.oneof({ maxDepth: 3 }, scalar, fc.array(tie('value'), { maxLength: 2 }), fc.dictionary(fc.constantFrom('x', 'y'), tie('value'), { noNullPrototype: true }))
})).value

const bodies: fc.Arbitrary<CallBody> = fc.oneof(
  fc.constant({ kind: 'absent' } as const),
  fc.constant({ kind: 'unjudgeable', why: 'why' } as const),
  json.map(value => ({ kind: 'json', value }) as const),
  json.map(value => ({ kind: 'json', value: { x: value } }) as const)
)

export const calls: fc.Arbitrary<RefCall> = fc.constantFrom(...operations).chain(operation => fc.record({
  operation: fc.constant(operation),
  parameters: fc.tuple(...operation.parameters.map(() => word)).map(values => values as readonly string[]),
  alias: operation.aliases.length > 0 ? fc.boolean() : fc.constant(false),
  query: fc.array(fc.record({ name: fc.constantFrom('p', 'q', 'r'), value: fc.constantFrom('a', 'b', 'ab', ''), ambiguous: fc.constantFrom(false, false, false, true) }), { maxLength: 2 }),
  body: bodies
}))

export function policyText (policy: RefPolicy): string {
  return stringify(JSON.parse(JSON.stringify({
    version: 1, client: 'c', authenticate: [{ apiKey: { sha256: 'a'.repeat(64) } }], ...policy
  })), { aliasDuplicateObjects: false })
}

export function compiled (policy: RefPolicy) {
  const text = policyText(policy)
  const set = loadPolicies([{ path: 'c.yaml', text }], () => catalog, 0, { keepWritten: true })
  return { policy: set.clients.get('c')!, set, errors: set.problems.filter(problem => problem.severity === 'error') }
}

/** A rule that requires what its `only` does not admit is refused at load: not a policy that can decide. */
export function isLoadable (errors: readonly { message: string }[]): boolean {
  const [unexpected] = errors.filter(error => !error.message.includes('required but not in only'))
  if (unexpected !== undefined) throw new Error(unexpected.message)
  return errors.length === 0
}
