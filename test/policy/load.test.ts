import t from 'tap'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Type as TypeBox } from '@sinclair/typebox'
import { Type } from '../../src/domain/json-schema.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { excerpt } from '../../src/policy/excerpt.js'
import { KeptPolicies } from '../../src/policy/kept.js'
import { loadInSteps, loadPolicies, type LoadOptions, type PolicySet, type SourceFile } from '../../src/policy/load.js'
import { neededOperations } from '../../src/policy/needed.js'
import { jsonSchemaText } from '../../src/policy/schema.js'
import { mulberry } from '../limits/model.js'

const NOW = Date.parse('2026-11-22T12:00:00Z')
const KEY = 'a'.repeat(64)
const HEAD = `version: 1\nclient: c\nauthenticate: [{ apiKey: { sha256: ${KEY} } }]\n`
const FOLDER = join(import.meta.dirname, '../../policies')

function load (files: Record<string, string>, options: LoadOptions = {}) {
  const sources: SourceFile[] = Object.entries(files).map(([name, text]) => ({ path: `policies/${name}`, text, name }))
  return loadPolicies(sources, createCatalog, NOW, options)
}

/** The names of the list of 48 operations, entry 1 first, exactly as it writes them. */
const LISTED = [
  'create user', 'activate user', 'get user', 'suspend user', 'unsuspend user', 'unlock user', 'verify answer', 'change user name', 'set password',
  'reset password', 'expire password', 'get security Qs', 'get factors', 'get factors to enroll', 'enroll security question',
  'set security question', 'set recovery question', 'reset factors', 'reset factor', 'update profile', 'change password', 'get user by loginId',
  'add user to group', 'create internal recovery token', 'check password', 'resend recovery code', 'get current status', 'check password',
  'check answer', 'send pass code', 'resend pass code', 'check pass code', 'change pass code', 'reset password', 'enroll security Q', 'enroll Oob',
  'resend activation code', 'enroll Otp', 'activate Otp', 'create recovery token', 'check recovery token', 'send recovery token',
  'resend recovery code', 'check recovery code', 'check recovery answer', 'skip', 'previous', 'cancel'
]

/** `line:column message; hint` of the problems of one policy whose head has three lines */
function problemsOf (yaml: string, options: LoadOptions = {}, head = HEAD): string[] {
  return load({ 'c.yaml': head + yaml }, options).problems
    .filter(problem => !/^no (deny )?test/.test(problem.message))
    .map(({ line, column, severity, message, hint }) => `${line}:${column} ${severity === 'warning' ? 'warning: ' : ''}${message}${hint === undefined ? '' : `; ${hint}`}`)
}

t.test('every mistake has its place and a hint', async t => {
  const table: readonly [yaml: string, ...expected: RegExp[]][] = [
    ['allow: [{ operation: listUser }]', /^4:22 unknown operation "listUser"; did you mean "listUsers"/],
    ['allow:\n  - request: PUT /api/v1/users/{id}/lifecycle/reset_password?sendEmail=false', /^5:14 PUT .* is no operation of the catalogue; did you mean POST\?/],
    ['allow: [{ request: POST /api/v1/users/credentials/change_password }]', /^4:20 .*did you mean .*credentials\/change_password/],
    ['allow: [{ request: get /api/v1/users }]', /^4:20 .*small letters: write GET/],
    ['allow: [{ request: "/api/v1/users" }]', /^4:20 .*not of the form METHOD/],
    ['allow: [{ request: "GET /api/v1/users/{a}{b}" }]', /^4:20 .*neither a literal nor one/],
    ['allow: [{ request: "GET /api/v1/users?" }]', /^4:20 .*ends in \?/],
    ['allow: [{ request: "GET /api/v1/users?q=1&q=2" }]', /^4:20 .*"q" twice/],
    ['allow: [{ request: "GET /api/v1/users?q[]=1" }]', /^4:20 .*can never match/],
    ['allow: [{ request: "GET /api/v1/users?q=%zz" }]', /^4:20 .*no request can carry/],
    ['allow: [{ operation: getUser, request: GET /api/v1/users }]', /^4:31 "operation" and "request" exclude each other/],
    ['allow: [{ as: x }]', /^4:9 "operation" or "request" is missing/],
    ['alow: []', /^4:1 unknown key "alow"; did you mean "allow"\?/],
    ['forwardContext: [x-forwarded-for]', /^4:1 "forwardContext" is not built yet/],
    ['rateLimit: { reserve: 0% }\nallow: [{ operation: getUser }]', /^4:23 a reservation is more than 0%/],
    ['rateLimit: { share: 10%, reserve: 20% }\nallow: [{ operation: getUser }]', /^4:35 more is reserved than the client may use/],
    ['rateLimit: { priority: urgent }', /^4:24 "urgent" is not one of high, normal, low/],
    ['wait: { upToMs: 90000 }', /^4:17 a whole number from 1 to 60000 is needed here, not 90000/],
    ['allow: [{ operation: getUser, redact: [x] }]', /^4:31 "redact" is not built yet/],
    ['allow: [{ operation: getUser, where: { userId: [x] } }]', /^4:40 "userId" is no parameter of this rule; its parameters are id/],
    ['allow: [{ operation: getUser, where: { id: [] } }]', /^4:44 this list is empty/],
    ['allow: [{ operation: getUser, where: { id: [me] } }]', /^4:45 "me" can never match: it is a word of Okta's own paths/],
    ['allow: [{ operation: getGroup, where: { groupId: [ok, rules] } }]', /"rules" can never match/],
    ['allow: [{ operation: getUser, where: { id: ["a/b", "..", "a%41"] } }]', /"a\/b" can never match/, /"\.\." can never match/, /"a%41" can never match/],
    ['allow: [{ operation: getUser, where: { id: { pattern: me|current } } }]', /^4:55 the pattern can never match: it is a word of Okta's own paths/],
    ['allow: [{ operation: getUser, where: { id: { pattern: me|00u1 } } }]'],
    ['allow: [{ operation: updateUser, body: { schema: { type: objct } } }]', /^4:50 this JSON Schema is not accepted: .*must be equal to one of the allowed values/],
    ['allow: [{ operation: getUser, where: { id: [12] } }]', /^4:45 a text is needed here, not a number; put it in quotes: '12'/],
    ["allow: [{ operation: getUser, where: { id: { pattern: '(a+)+' } } }]", /^4:55 the pattern can backtrack/],
    ["allow: [{ operation: getUser, where: { id: { pattern: '(?=a)b' } } }]", /^4:55 the pattern /],
    ["allow: [{ operation: getUser, where: { id: { pattern: 'a)|(?:b' } } }]", /^4:55 the pattern is not a regular expression/],
    ['allow: [{ operation: listUsers, query: { require: { limit: any }, allow: { limit: any } } }]', /^4:76 "limit" stands under require and under allow/],
    ['allow: [{ request: "GET /api/v1/users?limit=1", query: any }]', /^4:49 "query" beside a query in the request line/],
    ['allow: [{ operation: listUsers, query: { require: { limit: 20 } } }]', /^4:60 any or a list or a group of keys is needed here, not a number$/],
    ['allow: [{ operation: listUsers, query: { allow: { debug: any } } }]', /^4:40 warning: Okta does not document debug/],
    ['allow: [{ operation: getUser, body: { only: [a] } }]', /^4:31 a GET carries no body/],
    ['allow: [{ operation: updateUser, body: {} }]', /^4:34 this body condition says nothing/],
    ['allow: [{ operation: updateUser, body: { only: [a..b] } }]', /^4:49 the path "a\.\.b" has an empty key/],
    ['allow: [{ operation: updateUser, body: { only: [a.b], require: { a.c: any } } }]', /^4:66 "a\.c" is required but not in only: the rule can never match; add a\.c to only/],
    ['allow: [{ operation: updateUser, body: { require: { "a.*": [x] } } }]', /stands for a subtree/],
    ['allow: [{ operation: updateUser, body: { schema: { typ: object } } }]', /^4:50 this JSON Schema is not accepted: .*typ/],
    ['allow: [{ operation: updateUser, body: { schema: { $ref: "https://example.com/x" } } }]', /^4:50 this JSON Schema is not accepted/],
    ['allow: [{ operation: updateUser, body: { schema: { type: string, pattern: "(a+)+" } } }]', /not accepted: the pattern .*backtrack/],
    ['allow: [{ operation: getUser, credential: authnToken }]', /^4:43 credential: authnToken is only for operations under \/api\/v1\/authn/],
    ['allow: [{ operation: authn, credential: upstream }]', /^4:41 warning: credential: upstream sends/],
    ['allow: [{ operation: getUser, credential: bearer }]', /^4:43 "bearer" is not one of none, upstream, authnToken/],
    ['allow: [{ operation: getUser, rateLimit: 30/h }]', /^4:42 "30\/h" has not the form/],
    ['allow: []', /^4:8 warning: this policy allows nothing/],
    ['deny: [{ operation: updateUser, body: { only: [a] } }]', /"require" is missing/, /unknown key "only"/],
    ['allow: [{ operation: getUser }]\ndeny: [deleteUsr]', /^5:8 unknown operation "deleteUsr"; did you mean "deleteUser"/],
    ['deny: [{ operation: getUser, credential: none }]', /^4:30 unknown key "credential"/],
    ['allow: [{ operation: getUser }]\nupstream: other', /^5:11 unknown upstream "other"/],
    ['allow: [{ operation: getUser }]\nnetworks: [10.0.0.1/8, x]', /^5:12 "10\.0\.0\.1\/8" has bits/, /^5:24 this is not an IP/],
    ['allow: [{ operation: getUser }]\nrateLimit: { share: 0% }', /^5:21 a share is more than 0%/],
    ['allow: [{ operation: getUser }]\nrateLimit: { share: 50 }', /^5:21 a text is needed here, not a number/],
    ['allow: [{ operation: getUser }]\nexpires: 2027-02-30', /^5:10 2027-02-30 is no day/],
    ['allow: [{ operation: getUser }]\nexpires: 2026-11-21', /^5:10 warning: the policy expired on 2026-11-21/],
    ['allow: [{ operation: getUser }]\nexpires: 2026-12-21', /^5:10 warning: the policy expires on 2026-12-21, within 30 days/],
    ['allow: [{ operation: getUser }]\nexpires: 2026-12-22'],
    ['allow: [{ operation: getUser }, { request: "GET /api/v1/users/{u}", where: { u: [a] } }]', /^4:33 warning: this rule never answers: c\.yaml#0 "getUser" matches first/],
    ['allow: [{ operation: getUser }]\ndeny: [getUser]', /^4:9 warning: this rule never answers: c\.yaml#deny0 denies all of it/],
    ['extends: [sets/x.yaml]', /^4:11 there is no set "sets\/x\.yaml"/],
    ['allow: [{ operation: getUser }]\ntests: [{ allow: GET /api/v1/users }]', /^5:18 this request has to be allowed and is refused: no_rule \(no rule is about this operation\)/],
    ['allow: [{ operation: getUser, as: get }]\ntests: [{ deny: GET /api/v1/users/x }]', /^5:17 this request has to be refused and is allowed by c\.yaml#0 "get"/],
    ['allow: [{ operation: getUser }]\ntests: [{ deny: "GET /api/v1/users/{id}" }]', /^5:17 this request is refused before any rule is asked: it holds the character \{/],
    ['allow: [{ operation: getUser }]\ntests: [{ deny: GET /api/v1/users/x?y=1, because: where }]', /because of where and is because of query/],
    ['allow: [{ operation: getUser, as: a }]\ntests: [{ allow: GET /api/v1/users/x, rule: b }]', /has to be answered by "b" and is by c\.yaml#0 "a"/],
    ['allow: [{ operation: getUser }]\nexpires: 2027-03-31\nnetworks: [10.0.0.0/8, "2001:db8::/32"]\ntests:\n' +
      ['  - { allow: GET /api/v1/users/x, at: 2027-03-31T23:59:59Z, from: 10.255.0.1 }', '  - { deny: GET /api/v1/users/x, at: 2027-04-01, because: expired }',
        '  - { deny: GET /api/v1/users/x, from: 11.0.0.1, because: network }', '  - { allow: GET /api/v1/users/x, from: "2001:db8::1" }', '  - { allow: GET /api/v1/users/x, from: "::ffff:10.1.2.3" }'].join('\n')]
  ]
  for (const [yaml, ...expected] of table) {
    const problems = problemsOf(yaml, { upstreams: ['default'] })
    t.equal(problems.length, expected.length, `${yaml}\n${problems.join('\n')}`)
    for (const [i, pattern] of expected.entries()) t.match(problems[i], pattern, yaml)
  }
})

t.test('a file that is no sound YAML document is a problem, never a crash', async t => {
  const table: readonly [text: string, expected: RegExp][] = [
    ['', /1:1 the file is empty/],
    ['# only a comment\n', /the file is empty/],
    ['---\n', /the file is empty/],
    ['version: 1\nversion: 1\n', /2:1 map keys must be unique/],
    ['version: 1\n---\nversion: 1\n', /3:1 the file holds several YAML documents/],
    ['a: &x [1]\nb: *x\n', /1:\d+ the anchor &x is not accepted.*2:4 the alias \*x is not accepted/s],
    ['a: 1\n<<: { b: 2 }\n', /2:1 the merge key << is not accepted/],
    ['version: 1\nallow:\n\t- operation: x\n', /3:1 .*[Tt]abs/],
    ['version: 1\nallow: [{ operation: getUser\n', /\d+:\d+ /],
    ['allow: [{ request: GET /api/v1/users/{id} }]', /1:\d+ .*inside \{ … \} a path with \{parameters\} has to be in quotes/],
    ['client: "half', /\d+:\d+ /],
    ['? [a]\n: b\n', /a key must be text/],
    ['1: b\n', /1:1 a key must be text; put it in quotes/],
    ['__proto__: { version: 1 }\n', /the key __proto__ is not accepted/],
    ['version: !!js/function x\n', /1:10 /],
    ['%YAML 1.1\n---\nversion: 1\n', /YAML 1\.1 is not accepted/],
    ['- 1\n', /1:1 a group of keys is needed here, not a list/],
    ['just text', /1:1 a group of keys is needed here, not a text/],
    ['['.repeat(20_000), /1:1 the file is nested too deeply/],
    ['- '.repeat(20_000), /nested too deeply/],
    ['{a: '.repeat(20_000), /nested too deeply/],
    [Array.from({ length: 2000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'), /nested too deeply/],
    ['['.repeat(150) + ']'.repeat(150), /1:1 a group of keys/],
    ['a: \0b', /\d+:\d+ /],
    ['version: 2\nclient: "a b"\nauthenticate: []\n', /1:10 2 is not 1.*2:9 "a b" has not the form.*3:15 this list is empty/s]
  ]
  for (const [text, expected] of table) {
    const { problems, clients } = load({ 'c.yaml': text })
    t.match(problems.map(problem => `${problem.line}:${problem.column} ${problem.message}; ${problem.hint}`).join('\n'), expected, JSON.stringify(text.slice(0, 60)))
    t.ok(problems.every(problem => problem.severity === 'error' && problem.line > 0 && problem.column > 0))
    t.equal(clients.size, 0)
  }
})

t.test('who pastes a key instead of its hash does not find it in the message', async t => {
  const [problem] = problemsOf('', {}, 'version: 1\nclient: c\nauthenticate: [{ apiKey: { sha256: ngk_secretsecret } }]\n')
  t.match(problem, /^3:36 this has not the form/)
  t.notMatch(problem, /secretsecret/)
})

t.test('every kind of authentication has its problems, with their places', async t => {
  const table: [string, RegExp][] = [
    ['{}', /^3:16 this is empty/],
    [`{ apiKey: { sha256: ${KEY} }, mtls: { dns: a } }`, /^3:16 exactly one of apiKey, privateKeyJwt, workload, mtls/],
    ['{ privateKeyJwt: {} }', /^3:\d+ "jwks" is missing/],
    ['{ privateKeyJwt: { jwks: { file: ../x.json } } }', /^3:\d+ a JWK Set is a \.json file inside the policies folder/],
    ['{ privateKeyJwt: { jwks: { file: keys/none.json } } }', /^3:\d+ there is no such file in the policies folder/],
    ['{ privateKeyJwt: { jwks: { file: keys/bad.json } } }', /^3:\d+ this file is not JSON/],
    ['{ privateKeyJwt: { jwks: { file: keys/good.json }, dpop: maybe } }', /^3:\d+ "maybe" is not one of required, optional/],
    ['{ workload: { issuer: https://b.example, audience: x, claims: { a: b } } }', /^3:\d+ narrowgate\.yaml has no issuer "https:\/\/b\.example"/],
    ['{ workload: { issuer: https://a.example, audience: x, claims: {} } }', /^3:\d+ this is empty/],
    ["{ workload: { issuer: https://a.example, audience: x, claims: { a: { pattern: '(' } } } }", /^3:\d+ this is not a regular expression/],
    ['{ mtls: { dns: a, uri: spiffe://a/b } }', /^3:\d+ exactly one of uri, dns, sha256/],
    ['{ mtls: { sha256: AB } }', /^3:\d+ "AB" has not the form/]
  ]
  const options = { upstreams: ['default'], issuers: ['https://a.example'], attachments: new Map([['keys/bad.json', '{'], ['keys/good.json', '{"keys":[]}']]) }
  for (const [entry, expected] of table) {
    const { problems } = loadPolicies([{ path: 'c.yaml', text: `version: 1\nclient: c\nauthenticate: [${entry}]\nallow: [{ operation: getUser }]\n` }], createCatalog, NOW, options)
    t.match(problems.map(({ line, column, message }) => `${line}:${column} ${message}`)[0], expected, entry)
  }
  const good = "version: 1\nclient: c\nauthenticate: [{ workload: { issuer: https://a.example, audience: x, claims: { sub: job, n: 1, ref: { pattern: 'main|dev' } } } }]\nallow: [{ operation: getUser }]\n"
  const { problems, clients } = loadPolicies([{ path: 'c.yaml', text: good }], createCatalog, NOW, options)
  t.same(problems.filter(problem => problem.severity === 'error'), [])
  const [entry] = clients.get('c')!.authenticate
  if (entry?.kind !== 'workload') return t.fail('no workload')
  const fits = (name: string, value: unknown) => entry.claims.get(name)!(value)
  t.same([fits('sub', 'job'), fits('sub', 'jobs'), fits('n', 1), fits('n', '1'), fits('ref', 'dev'), fits('ref', 'devel'), fits('ref', 'xmain'), fits('ref', ['main'])], [true, false, true, false, true, false, false, false])
})

t.test('authentication: hints, and files of keys by any way of writing them', async t => {
  const options = { upstreams: ['default'], issuers: ['https://a.example', 'https://b.example'], attachments: new Map([['keys/bad.json', '{'], ['keys/good.json', '{"keys":[1]}']]) }
  const load = (entries: string, more: object = {}): ReturnType<typeof loadPolicies> => loadPolicies([{ path: 'c.yaml', text: `version: 1\nclient: c\nauthenticate: [${entries}]\nallow: [{ operation: getUser }]\n` }], createCatalog, NOW, { ...options, ...more })
  const problems = (entries: string, more: object = {}): string[] => load(entries, more).problems.map(({ line, column, message, hint }) => `${line}:${column} ${message} | ${hint ?? ''}`)
  const file = (name: string): string => `{ privateKeyJwt: { jwks: { file: '${name}' } } }`
  for (const name of ['/keys/good.json', '../good.json', 'keys/../good.json', 'keys\\..\\good.json', 'keys/good.yaml', 'keys/good.json.txt']) t.match(problems(file(name))[0], /^3:\d+ a JWK Set is a \.json file inside the policies folder \| write e\.g\. keys\/helpdesk\.jwks\.json$/, name)
  for (const name of ['keys/good.json', './keys/good.json', '././keys/good.json']) {
    const { problems, clients } = load(file(name))
    t.strictSame(problems.filter(one => one.severity === 'error'), [], name)
    t.match(clients.get('c')!.authenticate, [{ kind: 'privateKeyJwt', jwks: { keys: [1] }, dpop: undefined, requireJti: false, place: { file: 'c.yaml', line: 3 } }])
  }
  t.match(problems(file('keys/god.json'))[0], /there is no such file in the policies folder \| did you mean "keys\/good\.json"\?/)
  for (const name of ['x/./keys/good.json', 'keys/./good.json']) t.match(problems(file(name))[0], /there is no such file/, name)
  t.match(problems(file('keys/bad.json'))[0], /this file is not JSON \| $/)
  t.match(load(file('keys/none.json'), { attachments: undefined }).problems.filter(one => one.severity === 'error'), [], 'where files are not at hand nothing is said of them')
  t.match(load('{ privateKeyJwt: { jwks: { keys: [{ kty: EC }] }, dpop: required, requireJti: true } }').clients.get('c')?.authenticate, [{ jwks: { keys: [{ kty: 'EC' }] }, dpop: 'required', requireJti: true }])

  const workload = (issuer: string, claims = '{ a: b }'): string => `{ workload: { issuer: ${issuer}, audience: x, claims: ${claims} } }`
  t.match(problems(workload('https://a.exampel'))[0], /no issuer "https:\/\/a\.exampel" \| did you mean "https:\/\/a\.example"\?/)
  t.match(problems(workload('https://somewhere.test/else'))[0], /\| known: https:\/\/a\.example, https:\/\/b\.example$/)
  t.match(problems(workload('https://somewhere.test/else'), { issuers: [] })[0], /\| add it under issuers$/)
  t.strictSame(load(workload('https://somewhere.test/else'), { issuers: undefined }).problems.filter(one => one.severity === 'error'), [])
  t.match(problems(workload('https://a.example', "{ a: { pattern: '(' } }"))[0], /^3:\d+ this is not a regular expression/)
  const [entry] = load(workload('https://a.example', "{ a: b, t: true, p: { pattern: 'x+' } }")).clients.get('c')!.authenticate
  t.match(entry, { kind: 'workload', issuer: 'https://a.example', audience: 'x' })
  t.match(load('{ mtls: { dns: a.example } }').clients.get('c')!.authenticate, [{ kind: 'mtls', dns: 'a.example', place: { file: 'c.yaml', line: 3 } }])
  t.match(load(`{ apiKey: { sha256: ${KEY}, expires: 2027-01-31 } }`).clients.get('c')!.authenticate, [{ kind: 'apiKey', sha256: KEY, expiresAt: Date.UTC(2027, 1, 1) }])

  const column = (entries: string, what: string): number => `authenticate: [${entries}]`.indexOf(what) + 1
  const places: [string, string][] = [
    [file('/x.json'), "'/x.json'"], [file('keys/none.json'), "'keys/none"], [file('keys/bad.json'), "'keys/bad"],
    [workload('https://a.exampel'), 'https://a.exampel'], [workload('https://a.example', "{ a: b, p: { pattern: '(' } }"), "'('"]
  ]
  for (const [entries, what] of places) t.match(problems(entries)[0], new RegExp(`^3:${column(entries, what)} `), entries)
  for (const [entries, what] of [[file('keys/good.json'), '{ file'], ['{ mtls: { dns: a.example } }', '{ dns']] as const) t.match(load(entries).clients.get('c')!.authenticate, [{ place: { line: 3, column: column(entries, what) } }], entries)

  const twice = (one: string, two: string): string[] => loadPolicies([['a', one], ['b', two]].map(([client, entry]) => ({ path: `${client}.yaml`, text: `version: 1\nclient: ${client}\nauthenticate: [${entry}]\nallow: [{ operation: getUser }]\n` })), createCatalog, NOW, options).problems.filter(one => one.severity === 'error').map(({ file, line, column, message, hint }) => `${file}:${line}:${column} ${message} | ${hint ?? ''}`)
  t.strictSame(twice(`{ apiKey: { sha256: ${KEY} } }`, `{ mtls: { dns: x } }, { apiKey: { sha256: ${KEY} } }`), ['b.yaml:3:58 this key is in use already | at a.yaml:3:36'])
  t.strictSame(twice('{ mtls: { dns: x } }', '{ mtls: { dns: x } }'), ['b.yaml:3:24 this certificate is in use already | at a.yaml:3:24'])
  t.strictSame(twice('{ mtls: { dns: x } }', '{ mtls: { dns: y } }, { mtls: { uri: "spiffe://x" } }'), [])
  t.strictSame(twice(file('keys/good.json'), file('keys/good.json')), [], 'sets of keys are looked at elsewhere')
})

t.test('all problems of all files come together, in order', async t => {
  const { problems, clients } = load({
    'a.yaml': HEAD + 'allow: [{ operation: getUser }]',
    'b.yaml': HEAD + 'allow: [{ operation: nothing }, { operation: noneSuch }]',
    'sets/s.yaml': 'version: 1\nclient: x\n',
    'operations.yaml': 'operations: [{ id: getUser, request: GET /api/v1/x }, { id: own, request: "GET /api/v1/users/{u}" }, { id: q, request: "GET /api/v1/y?z=1" }]'
  })
  t.same(problems.filter(problem => problem.severity === 'error').map(problem => `${problem.file}:${problem.line}:${problem.column}`), [
    'policies/b.yaml:2:9', 'policies/b.yaml:3:36', 'policies/b.yaml:4:22', 'policies/b.yaml:4:46', 'policies/sets/s.yaml:2:1', 'policies/operations.yaml:1:120'
  ])
  t.match(problems.find(problem => problem.line === 2)?.message, /already/)
  t.match(problems.find(problem => problem.line === 3)?.hint, /policies\/a\.yaml:3:36/)
  t.same([...clients.keys()], ['c'])
})

t.test('a file that its schema refuses has the rest of its problems said in the same run', async t => {
  const { problems, clients } = load({
    'a.yaml': HEAD + [
      'foo: 1', 'networks: [10.0.0.1/8]', 'extends: [sets/none.yaml, sets/s.yaml]', 'allow:', '  - { operation: listUser }', '  - { operation: getUser, bar: 1, where: { userId: [x] } }',
      '  - 3', '  - { operation: 4 }', 'deny: [nothing, 5]', 'tests: 6'
    ].join('\n'),
    'b.yaml': HEAD + 'foo: 1',
    'c.yaml': 'version: 1\nallow: [{ operation: noneSuch }]',
    'sets/s.yaml': 'version: 1\nclient: x\nallow: [{ operation: nope }]'
  })
  t.same(problems.filter(problem => problem.severity === 'error').map(problem => `${problem.file.slice(9)}:${problem.line}:${problem.column}`), [
    'a.yaml:4:1', 'a.yaml:5:12', 'a.yaml:6:11', 'a.yaml:8:18', 'a.yaml:9:27', 'a.yaml:9:44', 'a.yaml:10:5', 'a.yaml:11:18', 'a.yaml:12:8', 'a.yaml:12:17', 'a.yaml:13:8',
    'b.yaml:2:9', 'b.yaml:3:36', 'b.yaml:4:1', 'c.yaml:1:1', 'c.yaml:1:1', 'c.yaml:2:22', 'sets/s.yaml:2:1', 'sets/s.yaml:3:22'
  ])
  t.equal(clients.size, 0, 'and nothing of it serves')
})

t.test('operations.yaml adds operations, and says what conflicts', async t => {
  const policy = HEAD + 'allow: [{ operation: getSettings }]\ntests: [{ allow: "GET /api/v1/internal/apps/a/settings?limit=1" }, { deny: GET /api/v1/internal/apps/a/settings?x=1, because: query }]'
  const good = load({ 'c.yaml': policy, 'operations.yaml': 'operations: [{ id: getSettings, request: "GET /api/v1/internal/apps/{appId}/settings", bucket: /api/v1/apps, query: [limit] }]' })
  t.same(good.problems, [])
  const me = load({ 'c.yaml': HEAD + 'allow: [{ operation: getMe }]\ntests: [{ allow: GET /api/v1/users/me }]', 'operations.yaml': 'operations: [{ id: getMe, request: GET /api/v1/users/me }]' })
  t.match(me.problems.map(problem => problem.message), [/shows the gate's own account/])
  const bad = load({ 'operations.yaml': 'operations: [{ id: getUser, request: GET /api/v1/x }, { id: own, request: "GET /api/v1/users/{u}" }]' })
  t.same(bad.problems.map(problem => `${problem.line}:${problem.column}`), ['1:20', '1:75'])
})

t.test('sets are extended over several levels; circles and missing sets are problems', async t => {
  const files = {
    'c.yaml': HEAD + 'extends: [sets/a.yaml]\nallow: [{ operation: getUser, as: mine }]\ntests:\n  - { allow: GET /api/v1/users/x, rule: mine }\n  - { allow: GET /api/v1/groups, rule: c }\n  - { deny: DELETE /api/v1/users/x, because: deny }',
    'sets/a.yaml': 'version: 1\nextends: [sets/b.yaml]\nallow: [{ operation: getUser, as: inherited }]',
    'sets/b.yaml': 'version: 1\nallow: [{ operation: deleteUser }, { operation: listGroups, as: c }]\ndeny: [deleteUser]'
  }
  const set = load(files)
  t.same(set.problems, [])
  t.same([...neededOperations(set.clients.values())].map(need => [need.operation.id, need.rule, need.credential]), [['listGroups', 'sets/b.yaml#1', 'upstream'], ['getUser', 'c.yaml#0', 'upstream']])
  const circle = load({ ...files, 'sets/b.yaml': 'version: 1\nextends: [sets/a.yaml]' }).problems.filter(problem => problem.message.startsWith('sets extend'))
  t.match(circle, [{ file: 'policies/sets/b.yaml', line: 2, column: 11, message: 'sets extend each other: sets/a.yaml → sets/b.yaml → sets/a.yaml' }])
  t.match(load({ 'sets/a.yaml': 'version: 1\nextends: [sets/a.yaml]' }).problems, [{ message: 'sets extend each other: sets/a.yaml → sets/a.yaml' }])
  const chain = (name: string, next: string): [string, string] => [`sets/${name}.yaml`, `version: 1\nextends: [sets/${next}.yaml]`]
  const circles = load(Object.fromEntries([chain('a', 'b'), chain('b', 'c'), chain('c', 'b'), chain('d', 'c')])).problems.filter(problem => problem.message.startsWith('sets extend'))
  t.same(circles.map(({ file, message }) => `${file} ${message}`), ['policies/sets/c.yaml sets extend each other: sets/b.yaml → sets/c.yaml → sets/b.yaml'], 'once, without what leads there')
  const named = load({ 'c.yaml': HEAD + 'extends: [sets/a.yaml, sets/a.yaml, sets/b.yaml, sets/quite-another.yaml]', 'sets/a.yaml': 'version: 1\nallow: [{ operation: getUser }]' }).problems
  t.match(named.filter(({ message }) => /twice|no set/.test(message)), [
    { severity: 'warning', message: '"sets/a.yaml" stands here twice' },
    { severity: 'error', message: 'there is no set "sets/b.yaml"', hint: /did you mean "?sets\/a\.yaml/ },
    { severity: 'error', message: 'there is no set "sets/quite-another.yaml"', hint: 'sets stand below the policies folder, e.g. sets/read-directory.yaml' }
  ])
  t.not(load({ ...files, 'sets/b.yaml': files['sets/b.yaml'] + ' ' }).clients.get('c')?.hash, set.clients.get('c')?.hash, 'the version covers the sets')
})

t.test('names of files come from the folder that they share, or are given', async t => {
  const set = loadPolicies([{ path: '/etc/ng/policies/c.yaml', text: HEAD + 'extends: [sets/s.yaml]' }, { path: '/etc/ng/policies/sets/s.yaml', text: 'version: 1\nallow: [{ operation: getUser }]' }], createCatalog, NOW)
  t.same(set.problems, [])
  t.equal(set.clients.get('c')?.allow.id(0), 'sets/s.yaml#0')
})

t.test('authnToken needs an upstream that has one', async t => {
  const yaml = 'allow: [{ operation: authnRecoverPassword, credential: authnToken }]'
  t.same(problemsOf(yaml, { authnToken: ['default'] }), [])
  t.match(problemsOf(yaml, { authnToken: [] }), [/^4:56 the upstream "default" of c has no authnToken/])
})

t.test('coverage, overlaps and shares are reported', async t => {
  const policy = (client: string, key: string) => `version: 1\nclient: ${client}\nauthenticate: [{ apiKey: { sha256: ${key.repeat(64)} } }]\nrateLimit: { share: 60% }\n` +
    'allow: [{ operation: getUser, where: { id: [a, b] } }, { operation: getUser, where: { id: [b, c] } }, { operation: listUsers }]\ntests: [{ allow: GET /api/v1/users/a }, { deny: GET /api/v1/users/d }]'
  const { tests, problems } = load({ 'x.yaml': policy('x', 'b'), 'y.yaml': policy('y', 'd') })
  t.same(tests.rules, { total: 6, tested: 2, untested: ['x.yaml#1', 'x.yaml#2', 'y.yaml#1', 'y.yaml#2'] })
  t.same(tests.conditions, { total: 4, tested: 4, untested: [] })
  t.same(tests.overlaps[0], { client: 'x', operation: 'getUser', first: 'x.yaml#0', second: 'x.yaml#1' })
  t.equal(tests.results.filter(result => result.passed).length, 4)
  t.ok(problems.every(problem => problem.severity === 'warning'))
  t.match(problems.at(-1)?.message ?? problems.map(problem => problem.message), /./)
  t.ok(problems.some(problem => /add up to 120%/.test(problem.message)))
  t.ok(problems.some(problem => /no test exercises 2 of 3 rules: x\.yaml#1, x\.yaml#2/.test(problem.message)))
})

t.test('dates end at 24:00 UTC', async t => {
  const { clients } = load({ 'c.yaml': HEAD.replace('} }]', ', expires: 2027-01-31 } }]') + 'expires: 2027-03-31\nmode: observe\nnetworks: [10.0.0.0/8]\nrateLimit: { share: 12.5% }\nowner: o\nallow: [{ operation: getUser }]' })
  const policy = clients.get('c')
  t.match(policy, { client: 'c', file: 'c.yaml', owner: 'o', description: '', mode: 'observe', upstream: 'default', share: 0.125, networks: ['10.0.0.0/8'], expiresAt: Date.parse('2027-04-01T00:00:00Z'), hash: /^[0-9a-f]{12}$/ })
  t.same(policy?.authenticate, [{ kind: 'apiKey', sha256: KEY, expiresAt: Date.parse('2027-02-01T00:00:00Z') }])
})

t.test('an excerpt shows the line and a caret', async t => {
  const text = HEAD + 'allow:\n  - operation: listUser\u001b[31m\n'
  const problem = { severity: 'error' as const, file: 'p.yaml', line: 5, column: 16, message: 'unknown', hint: 'did you mean x?' }
  t.equal(excerpt(problem, text), 'p.yaml:5:16 unknown\n  5 |   - operation: listUser [31m\n    |                ^\n  = did you mean x?')
  const secret = 'ngk_CANARY3jxxvLB2NKm7Qc6oKIUJahMUgbhl4xFPp11q2JqXkQ'
  for (const line of [`  - apiKey: { sha256: ${secret} }`, '    keys: [{ "kty": "EC", "d":"CANARYcanaryCANARYcanary", x: abc }]', '      d: CANARYcanaryCANARYcanary', "{ 'dp' : 'CANARYcanaryCANARYcanary' }", `${' '.repeat(60)}sha256: ${secret}`]) {
    for (const column of [1, 30, 90]) t.notMatch(excerpt({ ...problem, line: 1, column }, line), /CANARY|JqXk/, 'secrets are starred out')
  }
  t.match(excerpt({ ...problem, line: 1 }, '  id: { pattern: 00u[A-Za-z0-9]{17} }, kid: "abcdefghijklmnopqrstuvwxyz"'), /00u\[A-Za-z0-9\].*abcdefghijklmnopqrstuvwxyz/)
  t.equal(excerpt({ ...problem, line: 99 }, text), 'p.yaml:99:16 unknown\n  = did you mean x?')
  t.ok(excerpt({ ...problem, column: 400 }, `${'\n'.repeat(4)}${'x'.repeat(500)}`).split('\n').every(line => line.length < 120), 'long lines are cut around the place')
})

t.test('schemas are what TypeBox would make of them', t => {
  const both: ReadonlyArray<(type: typeof TypeBox) => unknown> = [
    type => type.String(), type => type.Integer({ minimum: 1 }), type => type.Boolean({ default: false }), type => type.Null(), type => type.Number({ title: 'n' }), type => type.Literal('a', { description: 'd' }), type => type.Literal(1),
    type => type.Array(type.String(), { minItems: 1 }), type => type.Union([type.Literal('a'), type.Null()], { default: 'a' }), type => type.Union([type.Literal('a')], { errorMessage: 'm' }), type => type.Unsafe({ type: 'object', writeOnly: true }),
    type => type.Record(type.String(), type.Integer()), type => type.Record(type.String({ pattern: '^a$' }), type.Optional(type.Integer()), { minProperties: 1 }),
    type => type.Object({ a: type.String(), b: type.Optional(type.String()) }, { additionalProperties: false }), type => type.Object({ b: type.Optional(type.Object({ c: type.String() })) })
  ]
  for (const make of both) t.equal(JSON.stringify(make(Type as unknown as typeof TypeBox)), JSON.stringify(make(TypeBox)))
  t.end()
})

t.test('the checked-in JSON Schemas are those of the source', async t => {
  for (const kind of ['policy', 'set', 'operations'] as const) {
    t.equal(readFileSync(join(FOLDER, `${kind}.schema.json`), 'utf8'), jsonSchemaText(kind), `regenerate policies/${kind}.schema.json`)
  }
})

/** A gate's loads of one folder: what did not change is kept. */
function reloader () {
  const kept = new KeptPolicies()
  return (files: Record<string, string>, options: LoadOptions = {}, now = NOW): PolicySet => {
    const steps = loadInSteps(Object.entries(files).map(([name, text]) => ({ path: `policies/${name}`, text, name })), createCatalog, now, { ...options, kept })
    for (;;) {
      const step = steps.next()
      if (step.done === true) return step.value
    }
  }
}

const client = (name: string, rest: string) => `version: 1\nclient: ${name}\nauthenticate: [{ apiKey: { sha256: ${createHash('sha256').update(name).digest('hex')} } }]\n${rest}\n`

t.test('a reload reads what has changed, and what hangs on it; the rest is the same object as before', async t => {
  const files: Record<string, string> = {
    'a.yaml': client('a', 'allow: [{ operation: getUser }]'),
    'b.yaml': client('b', 'extends: [sets/one.yaml]'),
    'c.yaml': client('c', 'extends: [sets/two.yaml]\nallow: [{ operation: listApplications }]'),
    'd.yaml': client('d', 'expires: 2026-12-31\nallow: [{ operation: getUser }]'),
    'e.yaml': client('e', 'allow: [{ operation: getUser }]').replace(/authenticate.*/, 'authenticate: [{ privateKeyJwt: { jwks: { file: keys/e.json } } }]'),
    'sets/one.yaml': 'version: 1\nextends: [sets/under.yaml]\nallow: [{ operation: listGroups }]',
    'sets/two.yaml': 'version: 1\nallow: [{ operation: listUsers }]',
    'sets/under.yaml': 'version: 1\nallow: [{ operation: listUsers }]'
  }
  const options: LoadOptions = { upstreams: ['default'], attachments: new Map([['keys/e.json', '{"keys":[]}']]) }
  const DAY = 86_400_000
  const changes: ReadonlyArray<readonly [what: string, anew: string, files: Record<string, string>, options?: LoadOptions, now?: number]> = [
    ['nothing', '', files],
    ['one file', 'a', { ...files, 'a.yaml': files['a.yaml']! + '# changed' }],
    ['a set', 'c', { ...files, 'sets/two.yaml': 'version: 1\nallow: [{ operation: getGroup }]' }],
    ['a set of a set', 'b', { ...files, 'sets/under.yaml': files['sets/under.yaml']! + '\ndeny: [listGroups]' }],
    ['the operations', 'abcde', { ...files, 'operations.yaml': 'operations: [{ id: own, request: GET /api/v1/own }]' }],
    ['a JWK Set', 'e', files, { ...options, attachments: new Map([['keys/e.json', '{"keys":[{}]}']]) }],
    ['upstreams', 'abcde', files, { ...options, upstreams: ['default', 'other'] }],
    ['an issuer', 'abcde', files, { ...options, issuers: ['https://issuer.example.com'] }],
    ['production', 'abcde', files, { ...options, production: true }],
    ['a day on which nothing ends', '', files, options, NOW + 1 * DAY],
    ['the day from which an end is told', 'd', files, options, NOW + 11 * DAY],
    ['a day after an end', 'd', files, options, NOW + 60 * DAY],
    ['a clock that was set back', 'd', files, options, NOW - 1 * DAY]
  ]
  for (const [what, anew, changed, with_ = options, now = NOW] of changes) {
    const reload = reloader()
    const before = reload(files, options, what.startsWith('a clock') ? NOW + 60 * DAY : NOW)
    const after = reload(changed, with_, now)
    t.equal([...after.clients].filter(([name, policy]) => before.clients.get(name) !== policy).map(([name]) => name).join(''), anew, what)
    t.same(after.problems, loadPolicies(Object.entries(changed).map(([name, text]) => ({ path: `policies/${name}`, text, name })), createCatalog, now, with_).problems, `${what}: the same is said as of a first load`)
  }
})

t.test('after any change a reload is what a first load would be', async t => {
  const random = mulberry(20261127)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  const rests = [
    'allow: [{ operation: getUser }]', 'allow: [{ operation: own }]', 'extends: [sets/one.yaml]', 'extends: [sets/one.yaml, sets/two.yaml]\nallow: [{ operation: getUser, where: { userId: [x] } }]',
    'expires: 2026-12-10\nallow: [{ operation: getUser }]', 'allow: [{ operation: nobody }]', 'rateLimit: { share: 60% }\nallow: [{ operation: getUser }]', 'rateLimit: { reserve: 60% }\nallow: [{ operation: getUser }]',
    'allow: [{ operation: getUser }]\ntests: [{ deny: GET /api/v1/users/x }]', 'upstream: other\nallow: [{ operation: getUser }]', 'alow: []', '[', 'allow: [{ operation: getUser }]\ndeny: [getUser]', 'mode: observe\nobserveSince: 2026-11-01\nallow: [{ operation: getUser }]'
  ]
  const sets = ['version: 1\nallow: [{ operation: listGroups }]', 'version: 1\nextends: [sets/two.yaml]\nallow: [{ operation: listUsers }]', 'version: 1\nextends: [sets/one.yaml]', 'version: 1\nallow: [{ operation: own }]\ndeny: [getUser]', 'rules: []']
  const operations = ['operations: [{ id: own, request: GET /api/v1/own }]', 'operations: [{ id: own, request: GET /api/v1/other }]', 'operations: [{ id: getUser, request: GET /api/v1/x }]']
  const shown = ({ clients, problems }: PolicySet): unknown => [problems, [...clients].map(([name, policy]) => [name, policy.hash, policy.expiresAt, policy.share, policy.reserve, policy.file, ...[policy.allow, policy.deny].map(table => table.shapes.map((shape, i) => [table.id(i), shape.operation.template, shape.name]))])]
  const reload = reloader()
  const files: Record<string, string> = {}
  let now = NOW
  let options: LoadOptions = { upstreams: ['default'] }
  for (let step = 0; step < 150; step++) {
    for (let i = pick([1, 1, 3]); i > 0; i--) {
      const name = pick(['a.yaml', 'b.yaml', 'c.yaml', 'd.yaml', 'sets/one.yaml', 'sets/two.yaml', 'operations.yaml'])
      if (random() < 0.2) Reflect.deleteProperty(files, name)
      else files[name] = name === 'operations.yaml' ? pick(operations) : name.startsWith('sets') ? pick(sets) : client(pick(['a', 'b', 'c', 'd']), pick(rests))
    }
    if (random() < 0.1) now += 5 * 86_400_000
    if (random() < 0.1) options = pick([{ upstreams: ['default'] }, { upstreams: ['default', 'other'] }, { production: true }, { authnToken: [] }])
    const first = loadPolicies(Object.entries(files).map(([name, text]) => ({ path: `policies/${name}`, text, name })), createCatalog, now, options)
    t.same(shown(reload(files, options, now)), shown(first), `step ${step}`)
  }
})

t.test('the policies that come with Narrowgate', async t => {
  const names = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.yaml')).sort()
  const files = names.map(name => ({ path: `policies/${name}`, text: readFileSync(join(FOLDER, name), 'utf8'), name }))
  const set = loadPolicies(files, createCatalog, NOW, { upstreams: ['default'], authnToken: ['default'], keepWritten: true })

  t.same(set.problems.map(problem => [problem.severity, problem.message]), [['warning', 'Okta does not document tempPassword for expirePassword']])
  t.same([set.tests.rules.untested, set.tests.conditions.untested], [[], []])

  t.test('hold all 48 entries of the list under their names, each with an admitted call and three near misses', async t => {
    const written = set.written?.get('account-self-service.yaml')
    if (written?.kind !== 'policy') throw new Error('account-self-service.yaml is missing')
    const { text } = written.yaml
    const sections = new Map<number, string>()
    for (const section of text.slice(text.indexOf('\ntests:')).split(/\n {2}# (?=[0-9])/).slice(1)) {
      const numbers = /^[0-9, ]+/.exec(section)![0].split(',').map(Number)
      for (const number of numbers) sections.set(number, (sections.get(number) ?? '') + section)
    }
    for (const [i, name] of LISTED.entries()) {
      const n = i + 1
      const section = sections.get(n) ?? ''
      t.ok((section.match(/- allow: /g) ?? []).length >= 1, `${n} admits`)
      t.ok((section.match(/- deny: /g) ?? []).length >= 3, `${n} refuses`)
      const shared = n === 40 ? text.includes('40 "create recovery token"') : (written.value.allow ?? []).some(rule => rule.as === name)
      t.ok(shared && (n === 40 || section.includes(`rule: ${name}`)), `${n} ${name}`)
    }
  })
})
