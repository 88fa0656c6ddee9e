import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { createPlainLines } from '../../src/audit/plain.js'
import { configJsonSchema } from '../../src/config/schema.js'
import type { AuditEvent } from '../../src/domain/event.js'
import { loadPolicies } from '../../src/policy/load.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { narrowgate, NOW } from './shell.js'

const LIST = 'test/cli/fixtures/operations.txt'
const DAY = 86_400_000
const key = (digit: string) => digit.repeat(64)

const POLICY = `version: 1
client: helpdesk
authenticate:
  - apiKey: { sha256: ${key('a')} }
allow:
  # whoever it is
  - operation: getUser
    query: {}
  - operation: updateUser
    as: change name
    body: { only: [profile.login] }
tests:
  - allow: GET /api/v1/users/00u1
  - deny: GET /api/v1/users/00u1?expand=x
  - allow: POST /api/v1/users/00u1
    body: { profile: { login: x } }
  - deny: POST /api/v1/users/00u1
    body: { profile: { email: x } }
`

async function folder (t: Test, files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  const root = t.testdir({})
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), content)
  }
  return root
}

const line = createPlainLines()

/** One line of an audit log, as the gate writes it. */
function event (parts: Partial<AuditEvent>): string {
  return line({
    time: NOW - DAY,
    id: 'x',
    outcome: 'allowed',
    stage: 'observe',
    method: 'GET',
    source: '192.0.2.1',
    client: 'helpdesk',
    decision: 'allow',
    credential: 'upstream',
    bytesIn: 0,
    bytesOut: 2,
    durationMs: 1,
    ...parts
  })
}

const getUser = { method: 'GET', path: '/api/v1/users/00u1', operation: 'getUser', rule: 'getUser', ruleId: 'helpdesk.yaml#0' } as const
const update = { method: 'POST', path: '/api/v1/users/00u1', operation: 'updateUser', bytesIn: 30, bodyPaths: ['profile.login', 'profile.email'], rule: 'observe', ruleId: 'helpdesk.yaml#observe', wouldDeny: 'body' } as const

t.test('import makes a policy of the list of 48, and names the three lines that are no Okta operations, with the real ones', async t => {
  const { code, out, err } = await narrowgate(['import', LIST, '--client', 'portal'])
  t.equal(code, 1)
  const set = loadPolicies([{ path: 'p/portal.yaml', name: 'portal.yaml', text: out }, { path: 'p/operations.yaml', name: 'operations.yaml', text: readFileSync('policies/operations.yaml', 'utf8') }], createCatalog, NOW)
  t.same(set.problems.filter(problem => problem.severity === 'error'), [], 'the gate takes it')
  t.equal(set.clients.get('portal')?.allow.shapes.length, 35)
  const errors = err.split('\n').filter(each => each.startsWith(LIST) && !each.includes('warning:')).map(each => Number(/:(\d+) /.exec(each)![1]))
  t.same(errors, [1, 10, 21])
  for (const real of ['POST /api/v1/users?activate=false (createUser)', 'POST /api/v1/users/{id}/lifecycle/reset_password?sendEmail=false (resetPassword)', 'POST /api/v1/users/{userId}/credentials/change_password (changePassword)']) {
    t.ok(err.includes(`Okta has ${real}`) && out.includes(`Okta has ${real}`), real)
  }
  t.match(err, /:11 warning: Okta does not document tempPassword/)
  t.match(err, /warning: lines 8, 17, 20 .* only their bodies/)
  const json = JSON.parse((await narrowgate(['import', '-', '--json'], { input: readFileSync(LIST, 'utf8') })).out) as { rules: unknown[], findings: unknown[] }
  t.same([json.rules.length, json.findings.length], [35, 10])
})

t.test('import reads a HAR file and a Postman collection for names, never values', async t => {
  const secret = 'hunter2'
  const har = {
    log: {
      version: '1.2',
      entries: [
        { startedDateTime: '2026-11-01T08:00:00.000Z', request: { method: 'POST', url: 'https://acme.okta.com/api/v1/users/00u1?strict=true', postData: { mimeType: 'application/json', text: JSON.stringify({ credentials: { password: { value: secret } } }) } } },
        { startedDateTime: '2026-11-02T08:00:00.000Z', request: { method: 'GET', url: 'https://acme.okta.com/assets/logo.png' } },
        { startedDateTime: '2026-11-02T08:00:00.000Z', request: { method: 'GET', url: 'https://acme.okta.com/api/v1/nonsense' } },
        { startedDateTime: '2026-11-03T08:00:00.000Z', request: { method: 'GET', url: `https://acme.okta.com/api/v1/users?search=${secret}&limit=2` } }
      ]
    }
  }
  const postman = {
    info: { schema: 'https://schema.getpostman.com/json/collection/v2.1.0/collection.json' },
    item: [{
      name: 'Users',
      item: [
        { name: 'Set a password', request: { method: 'POST', url: { raw: '{{url}}/api/v1/users/:id?strict={{x}}', host: ['{{url}}'], path: ['api', 'v1', 'users', ':id'], query: [{ key: 'strict', value: '{{x}}' }, { key: 'off', value: '1', disabled: true }] }, body: { mode: 'raw', raw: '{ "credentials": { "password": { "value": "{{password}}" } } }' } } },
        { name: 'List', request: { method: 'GET', url: '{{url}}/api/v1/users?limit=2&search=x' } }
      ]
    }]
  }
  const root = await folder(t, { 'a.har': JSON.stringify(har), 'b.json': JSON.stringify(postman), 'c.json': '{"x":1}', 'd.json': '{"x"' })
  const fromHar = await narrowgate(['import', join(root, 'a.har')])
  t.equal(fromHar.code, 1)
  t.notOk((fromHar.out + fromHar.err).includes(secret))
  t.match(fromHar.out, /# 1 call, 2026-11-01T08:00Z\n {2}- operation: updateUser\n {4}body: \{ only: \[ credentials\.password\.value \] \}/)
  t.match(fromHar.out, /- operation: listUsers\n {4}query: \{ allow: \{ limit: any, search: any \} \}/)
  t.match(fromHar.err, /GET \/api\/v1\/nonsense: no operation of the catalogue/)
  t.notMatch(fromHar.err, /logo/)
  const fromPostman = await narrowgate(['import', join(root, 'b.json')])
  t.equal(fromPostman.code, 0)
  t.match(fromPostman.out, /- operation: updateUser\n {4}as: Set a password\n {4}body: \{ only: \[ credentials\.password\.value \] \}/)
  t.match(fromPostman.out, /- operation: listUsers\n {4}as: List\n/)
  t.equal((await narrowgate(['import', join(root, 'c.json')])).code, 2)
  t.equal((await narrowgate(['import', join(root, 'd.json')])).code, 2)
})

t.test('learn reads rotated and gzipped logs, and writes the policy of each client', async t => {
  const root = await folder(t, {
    'audit.jsonl': [event(update), event({ ...getUser, client: 'other' }), event({ client: 'helpdesk', decision: 'deny', reason: 'query', outcome: 'refused', ...getUser }), '{"cut'].join(''),
    'audit.jsonl.1.gz': gzipSync(event(getUser).repeat(4)),
    'policies/helpdesk.yaml': POLICY.replace('client: helpdesk', 'client: helpdesk\nowner: me@example.com\nmode: observe')
  })
  const logs = [join(root, 'audit.jsonl'), join(root, 'audit.jsonl.1.gz')]
  const both = await narrowgate(['learn', '--from', ...logs, '--policies', join(root, 'policies')])
  t.equal(both.code, 0)
  t.match(both.out, /client: helpdesk\nowner: me@example\.com\nauthenticate:\n {2}- \{ apiKey: \{ sha256: a{64} \} \}\nallow:/, 'who the client is, its policy says')
  t.notMatch(both.out, /mode: observe/)
  t.match(both.out, /# 4 calls, 2026-11-21T12:00Z\n {2}- operation: getUser\n {4}where: \{ id: \[ 00u1 \] \}\n {4}query: \{\}/)
  t.match(both.err, /nothing is learned from calls that were refused: 1 refused by the gate \(query\)/)
  t.match(both.err, /1 line of .* is no event/)
  const { out } = await narrowgate(['learn', '--from', ...logs, '--policies', join(root, 'policies'), '--directory', join(root, 'new')])
  t.equal(out, `${join(root, 'new/helpdesk.yaml')}\n${join(root, 'new/other.yaml')}\n`)
  t.match((await narrowgate(['check', '--policies', join(root, 'new')])).out, /2 clients, 3 rules.* 0 errors/)
  t.equal((await narrowgate(['learn', '--from', ...logs, '--directory', join(root, 'new')])).code, 2, 'nothing is overwritten')
  const wide = JSON.parse((await narrowgate(['learn', '--from', ...logs, '--client', 'helpdesk', '--generalise', '0', '--json'])).out) as { client: string, rules: { rule: object, calls: number }[] }[]
  t.same(wide.map(each => [each.client, ...each.rules.map(({ rule, calls }) => [rule, calls])]), [['helpdesk', [{ operation: 'getUser', query: {} }, 4], [{ operation: 'updateUser', query: {}, body: { only: ['profile.email', 'profile.login'] } }, 1]]])
  for (const wrong of [['--from', join(root, 'none')], ['--from', join(root, 'policies/helpdesk.yaml')], ['--from', ...logs, '--client', 'nobody'], ['--from', ...logs, '--generalise', 'x']]) {
    t.equal((await narrowgate(['learn', ...wrong])).code, 2, wrong.join(' '))
  }
})

t.test('learn --merge prints a patch that makes the policy admit the log, and nothing when it does', async t => {
  const root = await folder(t, { 'audit.jsonl': event(getUser) + event(update), 'policies/helpdesk.yaml': POLICY })
  const file = join(root, 'policies/helpdesk.yaml')
  const first = await narrowgate(['learn', '--from', join(root, 'audit.jsonl'), '--merge', file])
  t.equal(first.code, 1)
  t.match(first.err, /admits 1 of 2 calls of helpdesk; the patch adds 1 rule/)
  execFileSync('patch', ['-p0', file], { input: first.out })
  const patched = await readFile(file, 'utf8')
  t.ok(patched.includes('  # whoever it is\n  - operation: getUser\n    query: {}\n'), 'comments stay')
  t.match(patched, /only: \[profile\.login\] \}\n {2}# 1 call, .*\n {2}- operation: updateUser\n {4}where: .*\n {4}query: \{\}\n {4}body: \{ only: \[ profile\.email, profile\.login \] \}\ntests:/)
  const second = await narrowgate(['learn', '--from', join(root, 'audit.jsonl'), '--merge', file])
  t.same([second.code, second.out], [0, ''])
  t.equal((await narrowgate(['learn', '--from', join(root, 'audit.jsonl'), '--merge', join(root, 'none.yaml')])).code, 2)
})

t.test('diff speaks in operations: between folders, files and git revisions, with a witness and recorded calls', async t => {
  const wider = POLICY.replace('only: [profile.login]', 'only: [profile.*]').replace('  - operation: updateUser', '  - operation: deleteUser\n  - operation: updateUser').replace('  - deny: POST /api/v1/users/00u1\n    body: { profile: { email: x } }\n', '')
  const root = await folder(t, { 'old/helpdesk.yaml': POLICY, 'new/helpdesk.yaml': wider, 'new/operations.yaml': 'operations: [{ id: mine, request: GET /api/v1/mine }]\n', 'broken/helpdesk.yaml': 'client: x', 'audit.jsonl': event(update) + event(getUser) })
  const [old, now] = [join(root, 'old'), join(root, 'new')]
  const opened = await narrowgate(['diff', old, now, '--replay', join(root, 'audit.jsonl')])
  t.equal(opened.code, 1)
  t.match(opened.out, /gained {3}deleteUser {2}DELETE \/api\/v1\/users\/\{id\}\n +DELETE \/api\/v1\/users\/narrowgate0\n +now admitted by helpdesk\.yaml#1 "deleteUser"; refused before: no rule is about this operation/)
  t.match(opened.out, /widened {2}updateUser .*\n +POST \/api\/v1\/users\/narrowgate0\n +\{"profile":\{"narrowgate":"narrowgate"\}\}\n/)
  t.match(opened.out, /decision changes: 1\n {2}now admitted {2}helpdesk: POST \/api\/v1\/users\/00u1 {2}\(1 call/)
  t.match(opened.out, /1 client: 1 gained, 1 widened\n$/)
  const closed = await narrowgate(['diff', now, old])
  t.equal(closed.code, 0)
  t.match(closed.out, /1 narrowed, 1 lost\n$/)
  t.same(await narrowgate(['diff', join(old, 'helpdesk.yaml'), old]), { code: 0, out: 'no client can do more or less than before\n', err: '' })
  t.match((await narrowgate(['diff', old, now, '--markdown'])).out, /\*\*This opens something.*\n\n### helpdesk\n\n\| \| operation \| for example \|\n\|---\|---\|---\|\n\| \*\*widened\*\* \| `updateUser`|\| \*\*gained\*\* \| `deleteUser`/)
  const json = JSON.parse((await narrowgate(['diff', old, now, '--json'])).out) as { clients: { client: string, operations: { kind: string }[] }[] }
  t.same(json.clients.map(each => [each.client, each.operations.map(({ kind }) => kind).sort()]), [['helpdesk', ['gained', 'widened']]])

  const git = (...argv: string[]) => execFileSync('git', ['-C', root, '-c', 'user.name=t', '-c', 'user.email=t@example.com', ...argv], { env: { ...process.env, GIT_DIR: join(root, '.git'), GIT_WORK_TREE: root } })
  git('init', '-q')
  git('add', 'old')
  git('commit', '-q', '-m', 'first')
  const before = process.cwd()
  process.chdir(root)
  t.teardown(() => { process.chdir(before) })
  t.equal((await narrowgate(['diff', 'HEAD:old', 'new'])).code, 1)
  t.match((await narrowgate(['diff', 'HEAD:old/helpdesk.yaml', 'old'])).out, /no client/)
  t.match((await narrowgate(['diff', 'nowhere:old', 'old'])).err, /cannot be read: fatal/)
  t.equal((await narrowgate(['diff', 'broken', 'old'])).code, 2)
  t.equal((await narrowgate(['diff', 'nothing', 'old'])).code, 2)
  process.chdir(before)
})

t.test('diff says what changed of a client beside its rules', async t => {
  const change = (more: string) => POLICY.replace('client: helpdesk\n', `client: helpdesk\n${more}`)
  const root = await folder(t, {
    'a/h.yaml': change('networks: [10.0.0.0/8]\nexpires: 2027-01-31\nrateLimit: { share: 50% }\n'),
    'b/h.yaml': change('networks: [10.1.0.0/16, 192.0.2.0/24]\nexpires: 2027-02-28\nmode: observe\nupstream: two\n').replace(key('a'), key('b'))
  })
  const { code, out } = await narrowgate(['diff', join(root, 'a'), join(root, 'b')])
  t.equal(code, 1)
  for (const expected of [/widened {2}mode: observe/, /widened {2}upstream: calls go to "two"/, /widened {2}networks: 192\.0\.2\.0\/24 added/, /narrowed networks: 10\.0\.0\.0\/8 removed/, /widened {2}expires: 2027-02-28 instead of 2027-01-31/, /changed {2}authenticate: 1 added, 1 removed/, /changed {2}rateLimit: a share of 100% instead of 50%/]) t.match(out, expected)
  const removed = await folder(t, { 'a/h.yaml': POLICY, 'b/other.yaml': POLICY.replace('client: helpdesk', 'client: other') })
  const gone = await narrowgate(['diff', join(removed, 'a'), join(removed, 'b')])
  t.match(gone.out, /helpdesk \(removed\)\n {2}lost {5}getUser/)
  t.match(gone.out, /other \(added\)\n {2}gained {3}getUser/)
})

t.test('entitlements says what the account behind the gate needs, how sure that is, and what comes with it', async t => {
  const { code, out } = await narrowgate(['entitlements', '--policies', 'policies', '--client', 'account-self-service'])
  t.equal(code, 0)
  t.match(out, /OAuth scopes that the service app needs\n {2}okta\.groups\.manage .*\n {2}okta\.users\.manage/)
  t.match(out, /activateUser, activate user\n {4}permission {2}okta\.users\.lifecycle\.activate \(certain; ROLES2024, SUP_LIFECYCLE\)/)
  t.match(out, /verifyFactor, verify answer\n {4}permission {2}not established/)
  t.match(out, /replaceFactor: declared in operations\.yaml: which scope it needs is not established/)
  t.match(out, /an API token: listSupportedSecurityQuestions \(Okta documents no OAuth for it\)\n {2}an API token: authnRecoverPassword \(a rule says credential: authnToken\)/)
  t.match(out, /no credential at all: authn, /)
  const opened = Number(/What else these scopes open: (\d+) operations/.exec(out)![1])
  t.ok(opened > 50, `${opened}`)
  t.match(out, /okta\.users\.manage {2}\(\d+: deleteUser, /)
  const json = JSON.parse((await narrowgate(['entitlements', '--policies', 'policies', '--json'])).out) as { clients: string[], opened: { operations: string[] }[], openedCount: number, rights: { operation: string, uses: { permissions: { certainty: string } }[] }[] }
  t.same(json.clients, ['account-self-service', 'example', 'read-only-directory'])
  t.ok(json.opened.some(({ operations }) => operations.includes('deleteUser')))
  t.match((await narrowgate(['entitlements', '--policies', 'policies', '--markdown'])).out, /\| `suspendUser` \(suspend user\) \| okta\.users\.lifecycle\.suspend \(certain/)
  for (const wrong of [['--client', 'exmaple'], ['--upstream', 'two'], ['--days', '0'], ['--json', '--markdown']]) t.equal((await narrowgate(['entitlements', '--policies', 'policies', ...wrong])).code, 2, wrong.join(' '))
})

t.test('entitlements --usage lists what is granted and not used', async t => {
  const root = await folder(t, { 'policies/helpdesk.yaml': POLICY, 'audit.jsonl': event({ ...getUser, policy: 'aaaaaaaaaaaa', ruleId: 'helpdesk.yaml#7' }) + event({ ...update, wouldDeny: undefined, rule: 'change name', ruleId: 'helpdesk.yaml#1', time: NOW - 40 * DAY }) })
  const ask = async (...more: string[]) => await narrowgate(['entitlements', '--policies', join(root, 'policies'), '--usage', join(root, 'audit.jsonl'), ...more])
  const month = await ask('--days', '30')
  t.equal(month.code, 1)
  t.match(month.out, /not used in 30 days: 1 of 2 rules\n {2}helpdesk: helpdesk\.yaml#1 "change name", last used on 2026-10-13\n$/)
  const quarter = await ask()
  t.equal(quarter.code, 0)
  t.match(quarter.out, /not used in 90 days: 0 of 2 rules\n {2}the log \(2 events\) begins on 2026-10-13: what was used before is not in it/)
})

t.test('check says which of two rules answers, and warns of what production only observes', async t => {
  const two = POLICY.replace('tests:', '  - operation: updateUser\n    as: other\n    body: { only: [profile.email] }\ntests:')
  const config = 'production: true\npublicUrl: https://gate.example.com\nupstreams: { default: { org: https://acme.okta.com, credential: { apiToken: { value: { env: T }, exception: { ticket: S, approvedBy: i, expires: 2027-06-30 } } } } }\n'
  const observed = (since: string) => two.replace('client: helpdesk', `client: helpdesk\nmode: observe\n${since}`)
  const root = await folder(t, { 'narrowgate.yaml': config, 'policies/h.yaml': two })
  const run = async () => await narrowgate(['check', '-c', join(root, 'narrowgate.yaml')], { environment: { T: '00token' } })
  const plain = await run()
  t.match(plain.out, /which of them answers\n {2}helpdesk, updateUser: h\.yaml#1 answers before h\.yaml#2\n/)
  t.notMatch(plain.out, /only observed, in production/)
  for (const [since, expected] of [['', /nothing says since when/], ['observeSince: 2026-10-01\n', /since 2026-10-01: for over 30 days/], ['observeSince: 2026-02-30\n', /2026-02-30 is no day of the calendar/]] as const) {
    await writeFile(join(root, 'policies/h.yaml'), observed(since))
    t.match((await run()).out, expected, since)
  }
  await writeFile(join(root, 'policies/h.yaml'), observed('observeSince: 2026-11-01\n'))
  t.notMatch((await run()).out, /in production/)
})

t.test('a thousand clients of a hundred rules are checked at once', async t => {
  const rules = createCatalog().operations.filter(operation => !operation.reserved).slice(0, 100).map(({ id }) => `  - operation: ${id}\n`).join('')
  const files = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`c${i}.yaml`,
    `version: 1\nclient: c${i}\nauthenticate: [{ apiKey: { sha256: f${i.toString(16).padStart(63, '0')} } }]\nallow:\n${rules}tests: [{ deny: DELETE /api/v1/users/00u1 }]\n`]))
  const root = await folder(t, files)
  const began = performance.now()
  const { out } = await narrowgate(['check', '--policies', root])
  const seconds = (performance.now() - began) / 1000
  t.match(out, /1000 clients, 100000 rules; 1000 of 1000 tests passed/)
  t.comment(`${seconds.toFixed(1)} s: to be read, for a loaded machine is no fault`)
})

t.test('the checked-in schema of narrowgate.yaml is that of the source', async t => {
  t.equal(readFileSync('policies/narrowgate.schema.json', 'utf8'), `${JSON.stringify(configJsonSchema(), null, 2)}\n`, 'run npm run schemas')
})
