import fc from 'fast-check'
import t from 'tap'
import type { CallBody } from '../../src/domain/decision.js'
import { leafPaths } from '../../src/policy/body-path.js'
import { decide } from '../../src/policy/decide.js'
import { importList, parseListLine } from '../../src/policy/import-list.js'
import { createLearner, type SeenCall } from '../../src/policy/learn.js'
import { learnedPolicy } from '../../src/policy/learn-text.js'
import { loadPolicies } from '../../src/policy/load.js'
import { judgeSeen } from '../../src/policy/verdict.js'
import { addRules, applyEdit, patchText, policyText } from '../../src/policy/write-policy.js'
import { readYaml } from '../../src/policy/yaml.js'
import { calls, catalog } from './arbitrary.js'
import type { RefCall } from './reference.js'

const RUNS = 300
const TIME = Date.UTC(2026, 10, 1)

/** What the audit log says of a call of an observed client: names, never values. */
function seen ({ operation, parameters, alias, query, body }: RefCall, credential?: string): SeenCall {
  let next = 0
  const path = alias ? operation.aliases[0]! : `/${operation.segments.map(segment => segment.kind === 'literal' ? segment.name : parameters[next++]!).join('/')}`
  return {
    time: TIME,
    method: operation.method,
    path,
    operation: operation.id,
    queryNames: query.length === 0 ? undefined : query.map(parameter => parameter.name),
    bytesIn: body.kind === 'absent' ? 0 : 10,
    bodyPaths: pathsOf(body),
    credential
  }
}

function pathsOf (body: CallBody): string[] | undefined {
  return body.kind === 'json' ? leafPaths(body.value, 100) : undefined
}

function learn (log: readonly SeenCall[], generalise: number) {
  const learner = createLearner(catalog, { generalise })
  for (const call of log) learner.add(call)
  const learned = learner.learned()
  return { learned, text: learnedPolicy('c', learned, undefined) }
}

function load (text: string) {
  const set = loadPolicies([{ path: 'c.yaml', text, name: 'c.yaml' }], () => catalog, TIME, { keepWritten: true })
  const errors = set.problems.filter(problem => problem.severity === 'error')
  if (errors.length > 0) throw new Error(`${JSON.stringify(errors)}\n${text}`)
  return set.clients.get('c')!
}

// What the raw text of a query held beside names is not in the log.
const clear = calls.map(call => ({ ...call, query: call.query.map(parameter => ({ ...parameter, ambiguous: false })) }))

t.test('what was learned admits every call of the log, and no rule of it can go', async t => {
  let rules = 0
  fc.assert(fc.property(fc.array(clear, { minLength: 1, maxLength: 12 }), fc.nat(3), (requests, generalise) => {
    const log = requests.map(request => seen(request))
    const { learned, text } = learn(log, generalise)
    const policy = load(text)
    for (const [i, request] of requests.entries()) {
      if (decide(policy, request).effect !== 'allow') throw new Error(`refused: ${JSON.stringify(log[i])}\n${text}`)
      if (judgeSeen(policy, catalog, log[i]!) === 'refused') throw new Error(`judged refused: ${JSON.stringify(log[i])}\n${text}`)
    }
    for (const left of learned.rules) {
      rules++
      const without = load(learnedPolicy('c', { ...learned, rules: learned.rules.filter(rule => rule !== left) }, undefined))
      if (requests.every(request => decide(without, request).effect === 'allow')) throw new Error(`not needed: ${JSON.stringify(left.rule)}\n${text}`)
    }
  }), { numRuns: RUNS })
  t.ok(rules > RUNS, `${rules} rules`)
})

t.test('what was learned refuses another leaf, another parameter of the query and another value', async t => {
  let refused = 0
  fc.assert(fc.property(fc.array(clear, { minLength: 1, maxLength: 8 }), requests => {
    const judged = requests.filter(({ body }) => body.kind !== 'unjudgeable' && !pathsOf(body)?.includes(''))
    fc.pre(judged.length > 0 && judged.every(({ query }) => new Set(query.map(({ name }) => name)).size === query.length))
    const policy = load(learn(judged.map(request => seen(request)), 99).text)
    for (const request of judged) {
      const value = request.body.kind === 'json' && !Array.isArray(request.body.value) ? { ...request.body.value as object, other: 1 } : { other: 1 }
      const others: RefCall[] = [
        { ...request, body: { kind: 'json', value } },
        { ...request, query: [...request.query, { name: 'other', value: '', ambiguous: false }] },
        ...request.parameters.length > 0 ? [{ ...request, parameters: [...request.parameters.slice(1), 'other'] }] : []
      ]
      for (const other of others) {
        if (decide(policy, other).effect !== 'deny') throw new Error(`admitted: ${JSON.stringify({ ...other, operation: other.operation.id })}`)
        refused++
      }
    }
  }), { numRuns: RUNS })
  t.ok(refused > RUNS, `${refused} refused`)
})

t.test('a rule says how many calls speak for it, what the log does not say, and which credential they took', async t => {
  const base = { time: TIME, method: 'POST', bytesIn: 20 }
  const recovery = '/api/v1/authn/recovery/password'
  const { text, learned } = learn([
    ...[1, 2, 3, 4, 5].map(i => ({ time: TIME + i * 60_000, method: 'GET', path: `/api/v1/users/00u${i}`, bytesIn: 0, queryNames: ['expand'], rule: 'who is it' })),
    { ...base, path: recovery, credential: 'authnToken', bodyPaths: ['username', 'relayState'] },
    { ...base, path: recovery, credential: 'none', bodyPaths: ['username', 'factorType'] },
    { ...base, path: '/api/v1/groups' },
    { ...base, path: '/api/v1/users/me', method: 'DELETE' },
    { ...base, path: '/api/v1/users/00u1', bodyPaths: ['profile["a.b"]'], rule: 'observe', wouldDeny: 'no_rule' as const }
  ], 3)
  t.same([...learned.leftOut], [['no operation of the catalogue', 1]])
  t.equal(text.split('\n').slice(9).join('\n'), `allow:
  # 1 call, 2026-11-01T00:00Z
  # no leaf paths in the log: the client was not observed, or the bodies are no JSON objects
  - operation: addGroup
  # 5 calls, 2026-11-01T00:01Z to 2026-11-01T00:05Z
  # id had 5 values
  - operation: getUser
    as: who is it
  # 1 call, 2026-11-01T00:00Z
  - operation: updateUser
    where: { id: [ 00u1 ] }
    query: {}
    body: { only: [ 'profile["a.b"]' ] }
  # 1 call, 2026-11-01T00:00Z
  - operation: authnRecoverPassword
    body: { only: [ relayState, username ], require: { relayState: any, username: any } }
    credential: authnToken
  # 1 call, 2026-11-01T00:00Z
  - operation: authnRecoverPassword
    body: { only: [ factorType, username ], require: { factorType: any, username: any } }
`)
  load(text)
})

t.test('rules are added to a policy file without touching a byte of it', async t => {
  const rule = { rule: { operation: 'getGroup', where: { groupId: ['00g1'] } }, comment: ['why'] }
  const head = `version: 1   # one\nclient: c\nauthenticate:\n  - apiKey: { sha256: ${'a'.repeat(64)} }\n`
  const cases = [
    ['a list of blocks', `${head}allow:\n    # first\n    - operation:   getUser # here\n      where: {id: [a]}\n    # stays below\n\n# the end\ntests: []\n`, /where: \{id: \[a\]\}\n {4}# why\n {4}- operation: getGroup\n {6}where: \{ groupId: \[ 00g1 \] \}\n {4}# stays below/],
    ['a list at the end, without a line end', `${head}deny: [deleteUser]\nallow:\n- operation: getUser`, /getUser\n# why\n- operation: getGroup/],
    ['a list in brackets', `${head}allow: [{ operation: getUser }] # all\ndeny: []\n`, /allow:\n {2}- operation: getUser\n {2}# why\n {2}- operation: getGroup\n {4}where: .*\ndeny: \[\]/],
    ['no list', head, /aaaa \}\nallow:\n {2}# why\n {2}- operation: getGroup/]
  ] as const
  for (const [name, text, expected] of cases) {
    const edit = addRules(readYaml('c.yaml', text), [rule])
    if (typeof edit === 'string') throw new Error(edit)
    const result = applyEdit(text, edit)
    t.match(result, expected, name)
    t.equal(load(result).allow.shapes.filter(shape => shape.operation.id === 'getGroup').length, 1)
    const kept = text.split('\n').filter(line => !/^allow: \[/.test(line) && line !== '')
    t.ok(kept.every(line => result.split('\n').includes(line)), 'every other line is as it was')
    t.match(patchText('c.yaml', text, edit), /^--- c\.yaml\n\+\+\+ c\.yaml\n@@ -\d+,\d+ \+\d+,\d+ @@\n/)
  }
  t.type(addRules(readYaml('c.yaml', '{ version: 1, client: c }'), [rule]), 'string')
})

t.test('a line of a list is read however people write it', async t => {
  const request = 'POST /api/v1/users/{userId}/lifecycle/suspend'
  const lines = [
    'suspend user POST: /api/v1/users/{userId}/lifecycle/suspend', '- suspend user POST /api/v1/users/{userId}/lifecycle/suspend (soon)', 'POST suspend user: /api/v1/users/:userId/lifecycle/suspend',
    '* POST: /api/v1/users/<userId>/lifecycle/suspend - suspend user', '12. suspend user: POST: https://acme.okta.com/api/v1/users/{{userId}}/lifecycle/suspend', '• `POST` `/api/v1/users/$' + '{userId}/lifecycle/suspend` suspend user',
    '(3) suspend user – POST "/api/v1/users/{userId}/lifecycle/suspend", (calls DELETE later)'
  ]
  for (const line of lines) {
    const { rules, findings } = importList(line, catalog)
    t.same([rules[0]?.rule, findings], [{ request, as: 'suspend user' }, []], line)
  }
  t.equal(importList('GET /api/v1/users/00u1abc', catalog).rules[0]?.rule.request, 'GET /api/v1/users/{id}', 'an id in the path is a parameter')
  t.equal(parseListLine('just words, /with/a/path', 1), undefined)
  t.same(importList('what is this\n\n# a comment\n', catalog), { rules: [], entries: 0, findings: [{ line: 1, severity: 'warning', message: '"what is this" names no method and path', real: [] }] })
  load(policyText({ client: 'c', authenticate: [{ apiKey: { sha256: 'a'.repeat(64) } }] }, importList(lines.join('\n'), catalog).rules, ['x']))
})
