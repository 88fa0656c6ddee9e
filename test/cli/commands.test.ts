import { readFileSync, statSync, readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { hashKey, isWellFormedKey } from '../../src/clients/api-key.js'
import { narrowgate } from './shell.js'

const HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'

const POLICY = `version: 1
client: helpdesk
authenticate:
  - apiKey: { sha256: ${HASH} }
allow:
  - operation: getUser
  - request: POST /api/v1/users/{userId}
    as: change user name
    body: { only: [profile.login] }
tests:
  - allow: GET /api/v1/users/00u1
  - allow: POST /api/v1/users/00u1
    body: { profile: { login: a@example.com } }
  - deny: POST /api/v1/users/00u1
    body: { credentials: {} }
    because: body
`

const CONFIG = `publicUrl: https://gate.example.com
upstreams:
  default:
    org: https://acme.okta.com
    credential:
      apiToken:
        value: { env: OKTA_API_TOKEN }
        exception: { ticket: SEC-1, approvedBy: identity-team, expires: 2027-06-30 }
`

/** A folder of files, by path. */
async function folder (t: Test, files: Readonly<Record<string, string | Buffer>>): Promise<string> {
  const root = t.testdir({})
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), content)
  }
  return root
}

t.test('every command explains itself', async t => {
  for (const command of ['serve', 'demo', 'init', 'check', 'explain', 'diff', 'learn', 'import', 'entitlements', 'keys', 'keys new', 'health']) {
    const { code, out, err } = await narrowgate([...command.split(' '), '--help'])
    t.equal(code, 0, command)
    t.match(out, new RegExp(`Usage: narrowgate ${command}`))
    t.equal(err, '')
  }
  const all = await narrowgate(['--help'])
  const documented = /^\| `([a-z]+)/gm
  const planned = new Set(['doctor', 'catalog', 'audit', 'limits', 'upstream'])
  for (const [, name] of readFileSync('docs/interfaces.md', 'utf8').split('## Command line')[1]!.split('\n## ')[0]!.matchAll(documented)) {
    if (!planned.has(name!)) t.match(all.out, new RegExp(`^  ${name} `, 'm'), `docs/interfaces.md promises ${name}`)
  }
})

t.test('docs/operations.md is true of the code', async t => {
  const guide = readFileSync('docs/operations.md', 'utf8')
  const source = ['gauges', 'metrics', 'worker-status'].map(name => readFileSync(`src/server/${name}.ts`, 'utf8')).join('')
  const metrics = [...source.matchAll(/(?:name: |new Durations\()'(narrowgate_\w+)'/g)].map(match => match[1]!)
  t.ok(metrics.length > 10)
  for (const name of metrics) t.match(guide, new RegExp(`\\b${name}\\b`), `it names ${name}`)
  for (const [name] of guide.matchAll(/\bnarrowgate_\w+\b/g)) t.ok(metrics.includes(name) || /^narrowgate_(process|nodejs)_$/.test(name), `${name} is a metric`)
  for (const [, command, rest] of guide.matchAll(/^\| `narrowgate ((?:keys |upstream |audit |limits (?=plan))?[a-z]+)([^`]*)`/gm)) {
    const { out } = await narrowgate([...command!.split(' '), '--help'])
    for (const [flag] of rest!.matchAll(/(?<=[ [])--?[a-z-]+/g)) t.match(out, new RegExp(`(^|[ ,])${flag}\\b`, 'm'), `${command} has ${flag}`)
    for (const [flag] of out.matchAll(/--(?!help)[a-z-]+/g)) t.match(guide, flag, `the guide names ${flag} of ${command}`)
  }
})

t.test('wrong usage is exit 2, on stderr, with nothing on stdout', async t => {
  const cases: ReadonlyArray<readonly [string[], RegExp]> = [
    [['nonsense'], /unknown command 'nonsense'/],
    [[], /Usage: narrowgate/],
    [['check', '--colour'], /unknown option '--colour'/],
    [['check', '--config', 'a', '--policies', 'b'], /not both/],
    [['check', '--policies', 'policies', '--junit', 'no/such/folder/x.xml'], /--junit: .* cannot be written \(ENOENT\)/],
    [['explain', 'GET', '/api/v1/users'], /required option '--client/],
    [['explain', '--policies', 'policies', '--client', 'exmaple', 'GET', '/api/v1/users/1'], /no client "exmaple"; did you mean "example"\?/],
    [['explain', '--policies', 'policies', '--client', 'example', 'POST', '/api/v1/users/1', '--body', 'no-such'], /--body: no-such cannot be read \(ENOENT\)/],
    [['keys', 'new', 'two words'], /not an id for a client/],
    [['keys', 'new', 'x', '--expires', '2026-02-30'], /not a day of the calendar/],
    [['keys', 'new', 'x', '--expires', '2026-11-21'], /ended at 24:00 UTC/],
    [['init'], /give --org and --client-id/],
    [['init', '--org', 'acme.okta.com', '--client-id', 'x'], /--org must be an https origin/],
    [['init', '--org', 'https://acme-admin.okta.com', '--client-id', 'x'], /--org is the address of the admin console/],
    [['health', '--url', 'nowhere'], /--url is not a URL/]
  ]
  for (const [argv, message] of cases) {
    const { code, out, err } = await narrowgate(argv)
    t.equal(code, 2, argv.join(' '))
    t.match(err, message)
    t.equal(out, '')
  }
})

t.test('check is 0 for files without fault, 1 for warnings, 2 for errors', async t => {
  const root = await folder(t, { 'narrowgate.yaml': CONFIG, 'policies/helpdesk.yaml': POLICY })
  const config = join(root, 'narrowgate.yaml')
  const fine = await narrowgate(['check', '-c', config], { environment: { OKTA_API_TOKEN: '00token' } })
  t.equal(fine.code, 0)
  t.match(fine.out, /^1 client, 2 rules; 3 of 3 tests passed; tested: 2 of 2 rules, .*; 0 errors, 0 warnings: fit to serve\n$/)

  const withoutSecret = await narrowgate(['check', '-c', config])
  t.equal(withoutSecret.code, 1, 'who checks need not hold the secret')
  t.match(withoutSecret.out, /narrowgate\.yaml:7:16 warning: serve would not start here: the environment variable OKTA_API_TOKEN is not set/)

  for (const token of ['SSWS 00token', '00token\n00token', '00tök']) {
    const wrong = await narrowgate(['check', '-c', config], { environment: { OKTA_API_TOKEN: token } })
    t.match(wrong, { code: 2, out: /narrowgate\.yaml:7:16 this is no API token/ })
    t.notMatch(wrong.out, /00t/)
  }

  await writeFile(config, CONFIG.replace(/credential:[^]*/, 'credential: { serviceApp: { clientId: 0oa1, keys: [{ env: KEY }], scopes: [okta.groups.manage] } }'))
  await writeFile(join(root, 'policies/helpdesk.yaml'), POLICY.replace(/apiKey: .*/, 'mtls: { dns: a.example }'))
  const apart = await narrowgate(['check', '-c', config])
  t.equal(apart.code, 1)
  t.match(apart.out, /helpdesk\.yaml:\d+:\d+ warning: no client certificate ever gets here/)
  t.match(apart.out, /warning: the scopes of upstream default do not list okta\.users\.\w+, which helpdesk\.yaml#\d+ \(\w+\) needs/)

  await writeFile(config, CONFIG)
  await writeFile(join(root, 'policies/helpdesk.yaml'), POLICY.replace('client: helpdesk', 'client: helpdesk\nexpires: 2026-11-30'))
  const soon = await narrowgate(['check', '--policies', join(root, 'policies')])
  t.equal(soon.code, 1)
  t.match(soon.out, /helpdesk\.yaml:3:10 warning: the policy expires on 2026-11-30, within 30 days/)

  await writeFile(join(root, 'policies/helpdesk.yaml'), POLICY.replace('because: body', 'because: where'))
  const failing = await narrowgate(['check', '--policies', join(root, 'policies')])
  t.equal(failing.code, 2, 'a failed test keeps the gate from starting')
  t.match(failing.out, /helpdesk\.yaml:14:11 this request has to be refused because of where and is because of body/)
  t.match(failing.out, /2 of 3 tests passed/)
})

t.test('bad input: each fault has a place, and the command says 2', async t => {
  const cases: ReadonlyArray<readonly [string, Readonly<Record<string, string | Buffer>>, readonly RegExp[]]> = [
    ['no policies folder', { 'narrowgate.yaml': CONFIG }, [/narrowgate\.yaml:1:1 the policies folder cannot be read: there is no such file or folder/]],
    ['a config that is cut off', { 'narrowgate.yaml': CONFIG.slice(0, 90) + ' {', 'policies/a.yaml': POLICY }, [/narrowgate\.yaml:\d+:\d+ /]],
    ['an unknown key', { 'narrowgate.yaml': `${CONFIG}polices: ./x\n`, 'policies/a.yaml': POLICY }, [/narrowgate\.yaml:9:1 unknown key "polices"/, /did you mean "policies"\?/]],
    ['a secret written out', { 'narrowgate.yaml': CONFIG.replace('{ env: OKTA_API_TOKEN }', '00CANARYcanary'), 'policies/a.yaml': POLICY }, [/narrowgate\.yaml:7:16 /]],
    ['a policy that is cut off', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': POLICY.slice(0, POLICY.indexOf('} }')) }, [/a\.yaml:\d+:\d+ /]],
    ['a policy that is no text', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': Buffer.from([0x76, 0x0a, 0xff, 0xfe]) }, [/a\.yaml:2:1 is not valid UTF-8/]],
    ['the same client twice', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': POLICY, 'policies/b.yaml': POLICY.replace(HASH, HASH.replace('9', '8')) }, [/b\.yaml:2:9 the client "helpdesk" has a policy already/, /= in .*a\.yaml/]],
    ['the same key twice', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': POLICY, 'policies/b.yaml': POLICY.replace('helpdesk', 'other') }, [/b\.yaml:4:23 this key is in use already/]],
    ['an upstream that is not there', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': POLICY.replace('client: helpdesk', 'client: helpdesk\nupstream: defalt') }, [/a\.yaml:3:11 unknown upstream "defalt"/, /did you mean "default"\?/]],
    ['faults in several files', { 'narrowgate.yaml': CONFIG, 'policies/a.yaml': POLICY.replace('getUser', 'getUsr'), 'policies/b.yaml': POLICY.replace('helpdesk', 'other').replace('version: 1', 'version: 2') }, [/a\.yaml:6:16 unknown operation "getUsr"/, /b\.yaml:1:10 /]],
    ['faults in the config and in a policy', { 'narrowgate.yaml': `${CONFIG}polices: ./x\n`, 'policies/a.yaml': POLICY.replace('getUser', 'getUsr') }, [/narrowgate\.yaml:9:1 unknown key "polices"/, /a\.yaml:6:16 unknown operation "getUsr"/]]
  ]
  for (const [what, files, messages] of cases) {
    await t.test(what, async t => {
      const root = await folder(t, files)
      const { code, out, err } = await narrowgate(['check', '-c', join(root, 'narrowgate.yaml')], { environment: { OKTA_API_TOKEN: 'x' } })
      t.equal(code, 2)
      for (const message of messages) t.match(out, message)
      t.match(out, /the gate would not start\n$/)
      t.equal(err, '', 'findings are results')
      t.notMatch(out, /CANARY/)
    })
  }
})

t.test('a file that is cut off anywhere never makes check fail by itself', async t => {
  const root = await folder(t, { 'narrowgate.yaml': CONFIG, 'policies/helpdesk.yaml': POLICY })
  const whole = CONFIG + POLICY
  await fc.assert(fc.asyncProperty(fc.nat(whole.length), async length => {
    await writeFile(join(root, 'narrowgate.yaml'), CONFIG.slice(0, length))
    await writeFile(join(root, 'policies/helpdesk.yaml'), POLICY.slice(0, Math.max(0, length - CONFIG.length)))
    const { code, out } = await narrowgate(['check', '-c', join(root, 'narrowgate.yaml'), '--json'])
    const { problems, errors } = JSON.parse(out) as { problems: Array<{ line: number, column: number, message: string }>, errors: number }
    return problems.every(problem => problem.line >= 1 && problem.column >= 1 && problem.message !== '') && code === (errors > 0 ? 2 : problems.length > 0 ? 1 : 0)
  }), { numRuns: 25 })
})

t.test('check colours a terminal alone, and lets no file command it', async t => {
  const root = await folder(t, { 'a.yaml': POLICY.replace('getUser', '"get\\e[31mUser"') })
  const plain = await narrowgate(['check', '--policies', root])
  t.notMatch(plain.out, /\x1b/) // eslint-disable-line no-control-regex
  const coloured = await narrowgate(['check', '--policies', root], { color: true })
  t.match(coloured.out, /\x1b\[31m/) // eslint-disable-line no-control-regex
  t.equal(coloured.out.replace(/\x1b\[\d+m/g, ''), plain.out, 'only colours differ') // eslint-disable-line no-control-regex
})

t.test('check writes what CI systems read', async t => {
  const root = await folder(t, {
    'a.yaml': POLICY.replace('because: body', 'because: where'),
    'b.yaml': 'version: 1\nclient: "<&>\\u0001"\n'
  })
  const file = join(root, 'junit.xml')
  const { code } = await narrowgate(['check', '--policies', root, '--junit', file])
  const xml = readFileSync(file, 'utf8')
  t.equal(code, 2)
  t.match(xml, /<testsuites name="narrowgate check" tests="4" failures="1" errors="1">/)
  t.match(xml, /<testcase classname="helpdesk" name="allow GET \/api\/v1\/users\/00u1" file="[^"]*a\.yaml" line="11"\/>/)
  t.match(xml, /<failure message="this request has to be refused because of where/)
  t.match(xml, /<testcase classname="files" name="[^"]*b\.yaml loads"/)
  t.notMatch(xml, /[\x00-\x08]/, 'no character that XML lacks') // eslint-disable-line no-control-regex
})

t.test('the shipped policies load, and their tests pass', async t => {
  const { code, out } = await narrowgate(['check', '--policies', 'policies', '--json'])
  t.ok(code < 2)
  const { tests, errors } = JSON.parse(out) as { errors: number, tests: { passed: number, results: unknown[], rules: { untested: string[] } } }
  t.equal(errors, 0)
  t.equal(tests.passed, tests.results.length)
  t.ok(tests.passed > 48)
  t.strictSame(tests.rules.untested, [])
})

t.test('explain says what the gate would say', async t => {
  const root = await folder(t, { 'narrowgate.yaml': CONFIG.replace(/apiToken:[^]*/, 'serviceApp: { clientId: 0oa1, keys: [{ env: KEY }] }\n'), 'policies/helpdesk.yaml': POLICY })
  const explain = (method: string, target: string, ...more: string[]): ReturnType<typeof narrowgate> =>
    narrowgate(['explain', '-c', join(root, 'narrowgate.yaml'), '--client', 'helpdesk', method, target, ...more], { input: '{"profile":{"login":"a"}}' })
  const cases: ReadonlyArray<readonly [string, string, string[], number, readonly RegExp[]]> = [
    ['GET', '/api/v1/users/00u1', [], 0, [/is {6}getUser/, /✓ helpdesk\.yaml#0 {2}getUser {2}allows {2}\[.*helpdesk\.yaml:6\]/, /ALLOWED by helpdesk\.yaml#0/]],
    ['get', '/api/v1/users/00u1', [], 0, [/ALLOWED/]],
    ['POST', '/api/v1/users/00u1', ['--body', '-'], 0, [/ALLOWED by helpdesk\.yaml#1 "change user name"/]],
    ['POST', '/api/v1/users/00u1', ['--body', 'package.json'], 1, [/✗ helpdesk\.yaml#1/, /REFUSED: body/, /HTTP 403/, /"E0000006"/, /rule \\"change user name\\": body/]],
    ['POST', '/api/v1/users/00u1', ['--body', join(root, 'narrowgate.yaml')], 1, [/REFUSED: bad_body/, /HTTP 400/, /"E0000003"/]],
    ['GET', '/api/v1/users/00u1?debug=true', [], 1, [/REFUSED: query/]],
    ['DELETE', '/api/v1/users/00u1', [], 1, [/REFUSED: no_rule/, /no rule names this operation/]],
    ['GET', '//api/v1/users', [], 1, [/HTTP 400/, /double slash/]],
    ['GET', '/api/v1/users/a%2fb', [], 1, [/REFUSED: .*encoded slash/, /HTTP 400/]],
    ['GET', '/api/v1/nothing', [], 1, [/HTTP 403/, /No Okta operation is known/]],
    ['HEAD', '/api/v1/users/00u1', [], 1, [/HTTP 405/, /Allow: GET, /]],
    ['GET', '/api/v1/users/me', [], 1, [/REFUSED: self_protection/, /gate's own credential/]],
    ['GET', '/api/v1/apps/0oa1', [], 1, [/REFUSED: self_protection/, /own service app/]]
  ]
  for (const [method, target, more, expected, messages] of cases) {
    const { code, out } = await explain(method, target, ...more)
    t.equal(code, expected, `${method} ${target}`)
    for (const message of messages) t.match(out, message)
    t.equal(/The client would get/.test(out), expected === 1)
  }
  const { out } = await explain('DELETE', '/api/v1/users/00u1', '--json')
  t.match(JSON.parse(out), { allowed: false, operation: { id: 'deleteUser' }, rejection: { code: 'no_rule', status: 403, body: { errorCode: 'E0000006' } } })
})

t.test('explain of a policy that has expired, or that would not load', async t => {
  const root = await folder(t, { 'a.yaml': POLICY.replace('client: helpdesk', 'client: helpdesk\nexpires: 2026-11-01\nnetworks: [10.0.0.0/8]'), 'b.yaml': 'version: 1\nclient: broken\n' })
  const expired = await narrowgate(['explain', '--policies', root, '--client', 'helpdesk', 'GET', '/api/v1/users/00u1'])
  t.equal(expired.code, 1)
  t.match(expired.out, /REFUSED: policy_expired/)
  t.match(expired.out, /only from 10\.0\.0\.0\/8/)
  t.match(expired.err, /would not start with these files/)
  const broken = await narrowgate(['explain', '--policies', root, '--client', 'broken', 'GET', '/api/v1/users/00u1'])
  t.equal(broken.code, 2)
  t.equal(broken.out, '')
  t.match(broken.err, /b\.yaml:1:1 "authenticate" is missing[^]*no policy of the client "broken" would load/)
})

t.test('keys new prints a key once, and the line that its policy needs', async t => {
  const made = await narrowgate(['keys', 'new', 'helpdesk', '--expires', '2027-01-31'])
  const [key, line] = made.out.split('\n')
  t.equal(made.code, 0)
  t.ok(isWellFormedKey(key!))
  t.equal(line, `- apiKey: { sha256: ${hashKey(key!)}, expires: 2027-01-31 }`)
  t.notMatch(made.err, key!)
  const json = JSON.parse((await narrowgate(['keys', 'new', 'helpdesk', '--json'])).out) as Record<string, string>
  t.strictSame(Object.keys(json), ['client', 'key', 'sha256', 'policyLine'])
  t.equal(json['sha256'], hashKey(json['key']!))
  t.not(json['key'], key)
  const root = await folder(t, { 'helpdesk.yaml': POLICY.replace(/- apiKey.*/, json['policyLine']!) })
  t.equal((await narrowgate(['check', '--policies', root])).code, 0)
})

t.test('what init writes passes check, and is never overwritten', async t => {
  const root = t.testdir({})
  const flags = ['--org', 'https://acme.okta.com', '--client-id', '0oa1abcdefghijklmnop', '--directory', root]
  const first = await narrowgate(['init', ...flags])
  t.equal(first.code, 0)
  const config = join(root, 'narrowgate.yaml')
  const policy = readFileSync(join(root, 'policies/example-client.yaml'), 'utf8')
  const key = first.out.trim()
  t.ok(isWellFormedKey(key))
  t.match(policy, hashKey(key))
  t.notMatch(policy, key)
  const checked = await narrowgate(['check', '-c', config])
  t.match(checked, { code: 0, out: /fit to serve/ })
  t.equal((await narrowgate(['explain', '-c', config, '--client', 'example-client', 'GET', '/api/v1/users/00u1abcdefghijklmnop'])).code, 0)
  if (process.platform !== 'win32') t.equal(statSync(join(root, 'secrets/okta-service-app.pem')).mode & 0o777, 0o600)
  t.strictSame(Object.keys(JSON.parse(readFileSync(join(root, 'secrets/okta-service-app.public.json'), 'utf8')) as object).sort(), ['alg', 'e', 'kty', 'n', 'use'], 'the public half alone')

  const before = readFileSync(config, 'utf8')
  const second = await narrowgate(['init', ...flags])
  t.equal(second.code, 2)
  t.match(second.err, /narrowgate\.yaml exists already/)
  t.equal(readFileSync(config, 'utf8'), before)
})

t.test('init asks whoever is there, again after a wrong answer', async t => {
  const root = t.testdir({ policies: { 'portal.yaml': 'mine' } })
  const typed = ['acme.okta.com', 'https://acme.okta.com', '0oa1', 'https://gate.example.com', 'two words', 'portal']
  const inTheWay = await narrowgate(['init', '--directory', root], { typed })
  t.equal(inTheWay.code, 2)
  t.match(inTheWay.err, /must be an https origin[^]*not an id for a client[^]*portal\.yaml exists already/)
  t.strictSame(readdirSync(root), ['policies'], 'all or nothing')
  const { code } = await narrowgate(['init', '--directory', root, '--client', 'other'], { typed: ['https://acme.okta.com', '0oa1', ''] })
  t.equal(code, 0)
  t.match(readFileSync(join(root, 'narrowgate.yaml'), 'utf8'), 'publicUrl: http://127.0.0.1:8443')
})

t.test('health is 1 where nothing answers', async t => {
  const { code, err } = await narrowgate(['health', '--url', 'http://127.0.0.1:1'])
  t.equal(code, 1)
  t.match(err, /nothing answers at http:\/\/127\.0\.0\.1:1/)
})
