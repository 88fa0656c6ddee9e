import { createRequire } from 'node:module'
import { compileFunction } from 'node:vm'
import t from 'tap'
import fc from 'fast-check'
import type { ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { createConfigLoader } from '../../src/config/load.js'
import { secretReferences } from '../../src/config/config.js'
import { formats } from '../../src/config/formats.js'
import { schemaCode } from '../../src/config/schema-code.js'
import { configJsonSchema } from '../../src/config/schema.js'
import { createValidate } from '../../src/config/validate.js'
import { formatProblem } from '../../src/domain/problem.js'

const NOW = Date.UTC(2026, 10, 22)
const loader = createConfigLoader()
/** every text of this file, for the last test */
const texts = new Map<string, number>()
const load = (text: string, now = NOW) => texts.set(text, now) && loader({ path: 'narrowgate.yaml', text }, '/etc/narrowgate', now)
const say = (text: string, now = NOW) => load(text, now).problems.map(formatProblem)

const minimal = `publicUrl: https://gate.example.com
upstreams:
  default:
    org: https://acme.okta.com
    credential:
      serviceApp: { clientId: 0oa1, keys: [{ file: key.pem }] }
`
const token = (exception: string) => minimal.replace(/serviceApp.*/, `apiToken: { value: { env: OKTA_API_TOKEN }${exception} }`)

const full = `listen:
  host: 0.0.0.0
  port: 8443
  tls: { cert: { file: tls/cert.pem }, key: { env: TLS_KEY } }
  trustedProxies: [10.0.0.0/8, '2001:db8::/32']
  bodyLimitBytes: 2048
publicUrl: https://okta-gate.example.com
admin: { host: 127.0.0.1, port: 9443 }
policies: ../policies
upstreams:
  default:
    org: https://acme.okta.com
    ca: { file: /etc/ssl/extra.pem }
    credential:
      serviceApp:
        clientId: 0oa1exampleexample
        keys: [{ file: secrets/current.pem }, { file: $CREDENTIALS_DIRECTORY/next.pem }]
        scopes: [okta.users.read, okta.groups.manage]
        dpop: true
    authnToken: { value: { file: secrets/authn }, exception: { ticket: SEC-1, approvedBy: identity, expires: 2027-01-31 } }
    timeouts: { connectMs: 1000 }
limits:
  ceiling: 37.5%
  store: memory
  org: { /api/v1/users: 600, 'GET /api/v1/users/{id}': 1000, 'POST,PUT /api/v1/users/{id}': 600, '*': 300 }
  credentialShare: 75%
  concurrency: 60
audit:
  sinks: [{ stdout: {} }, { file: { path: log/audit.jsonl } }]
production: true
workers: 1
`

t.test('a file is compiled: paths absolute, percentages as parts, dates to the end of their day', async t => {
  const { config, problems } = load(full)
  t.same(problems, [])
  t.match(config, {
    file: 'narrowgate.yaml',
    listen: { host: '0.0.0.0', port: 8443, trustedProxies: ['10.0.0.0/8', '2001:db8::/32'], bodyLimitBytes: 2048 },
    publicUrl: 'https://okta-gate.example.com',
    policies: { path: '/etc/policies', place: { line: 9, column: 11 } },
    limits: { ceiling: 0.375, store: 'memory', credentialShare: 0.75, concurrency: 60, org: { '/api/v1/users': 600, '*': 300 } },
    audit: {
      redact: [],
      spool: '/etc/narrowgate/spool',
      sinks: [
        { kind: 'stdout', format: 'ocsf', delivery: 'buffered' },
        { kind: 'file', path: '/etc/narrowgate/log/audit.jsonl', format: 'ocsf', delivery: 'buffered', chain: true, rotate: { maxBytes: 104_857_600, maxHours: 24 } }
      ]
    },
    production: true
  })
  const upstream = config!.upstreams.get('default')!
  t.match(upstream, {
    org: 'https://acme.okta.com',
    ca: { kind: 'file', path: '/etc/ssl/extra.pem', confidential: false },
    credential: { kind: 'serviceApp', clientId: '0oa1exampleexample', scopes: ['okta.users.read', 'okta.groups.manage'], dpop: true },
    authnToken: { value: { path: '/etc/narrowgate/secrets/authn' }, exception: { ticket: 'SEC-1', approvedBy: 'identity', expiresAt: Date.UTC(2027, 1, 1) } },
    timeouts: { connectMs: 1000, headersMs: 60000, idleMs: 60000 }
  })
  t.same(secretReferences(config!).map(each => each.kind === 'env' ? each.name : each.kind === 'file' ? each.path : each.kind), [
    '/etc/narrowgate/tls/cert.pem', 'TLS_KEY', '/etc/ssl/extra.pem', '/etc/narrowgate/secrets/current.pem', '$CREDENTIALS_DIRECTORY/next.pem', '/etc/narrowgate/secrets/authn'
  ])
  t.same(secretReferences(config!)[4]!.place, { file: 'narrowgate.yaml', line: 17, column: 47 })
})

t.test('what is left out has the safe default', async t => {
  const { config, problems } = load(minimal)
  t.same(problems, [])
  t.match(config, {
    listen: { host: '127.0.0.1', port: 8443, tls: undefined, trustedProxies: [], bodyLimitBytes: 1048576 },
    admin: { host: '127.0.0.1', port: 9443 },
    policies: { path: '/etc/narrowgate/policies' },
    limits: { ceiling: 0.5, store: 'memory', org: {}, credentialShare: 0.5, concurrency: 75 },
    audit: { sinks: [{ kind: 'stdout', format: 'ocsf', delivery: 'buffered' }] },
    production: false,
    workers: 1
  })
  t.match(config!.upstreams.get('default'), { credential: { scopes: 'auto', dpop: false }, authnToken: undefined, ownCalls: true, timeouts: { connectMs: 5000, headersMs: 60000, idleMs: 60000 } })
  t.same(load(minimal).config, config, 'a second load starts from the same defaults')
})

t.test('an API token needs an exception; time warns and never refuses', async t => {
  const exception = ', exception: { ticket: SEC-1, approvedBy: me, expires: 2027-01-31 }'
  t.same(say(token(exception)), [])
  t.match(say(token('')), [/^narrowgate\.yaml:6:7 an API token needs an approved exception; use serviceApp/])
  t.match(load(token(exception)).config!.upstreams.get('default')!.credential, { kind: 'apiToken', value: { kind: 'env', name: 'OKTA_API_TOKEN' } })
  const after = load(token(exception), Date.UTC(2027, 1, 1))
  t.match(after.problems.map(formatProblem), [/6:\d+ warning: the exception .* has expired: calls that need it are answered 503/])
  t.ok(after.config, 'the gate still starts')
  t.match(say(token(exception), Date.UTC(2027, 0, 31, 23, 59)), [/warning: .* expires within 30 days/])
  t.match(say(token(exception.replace('2027-01-31', '2027-02-30'))), [/must be a date/])
})

t.test('every problem has its place, its words and a hint', async t => {
  const table: [string, (text: string) => string, RegExp[]][] = [
    ['unknown key', text => text.replace('publicUrl', 'publicURL'), [/^narrowgate\.yaml:1:1 "publicUrl" is missing$/, /^narrowgate\.yaml:1:1 unknown key "publicURL"; did you mean "publicUrl"\?$/]],
    ['unknown key, nothing near', text => text + 'weather: {}\n', [/7:1 unknown key "weather"; known here: listen, publicUrl,/]],
    ['unknown key deeper', text => text.replace('keys:', 'key:'), [/6:19 "keys" is missing|6:7 "keys" is missing/, /6:\d+ unknown key "key"; did you mean "keys"/]],
    ['missing upstreams', () => 'publicUrl: https://a.example\n', [/1:1 "upstreams" is missing/]],
    ['no upstream', () => 'publicUrl: https://a.example\nupstreams: {}\n', [/2:12 must name at least one upstream/]],
    ['upstream name', text => text.replace('  default:', '  my org:'), [/3:3 must name at least one upstream; names have letters/]],
    ['public path', text => text.replace('gate.example.com', 'gate.example.com/okta'), [/1:12 must be an origin only: .*; write https:\/\/gate\.example\.com$/]],
    ['public slash', text => text.replace('gate.example.com', 'gate.example.com/'), [/1:12 must be an origin only/]],
    ['public upper case', text => text.replace('gate.example.com', 'Gate.example.com'), [/write https:\/\/gate\.example\.com$/]],
    ['public default port', text => text.replace('gate.example.com', 'gate.example.com:443'), [/write https:\/\/gate\.example\.com$/]],
    ['public http', text => text.replace('https://gate', 'http://gate'), [/1:12 must be https: http is only for loopback/]],
    ['public not a URL', text => text.replace('https://gate', 'gate'), [/1:12 must be an https origin/]],
    ['org http', text => text.replace('https://acme', 'http://acme'), [/4:10 must be https/]],
    ['org with a path', text => text.replace('acme.okta.com', 'acme.okta.com/api/v1'), [/4:10 must be an origin only.*write https:\/\/acme\.okta\.com$/]],
    ['org with a password', text => text.replace('https://acme', 'https://u:p4ss@acme'), [/4:10 must not hold a user name or password; write https:\/\/acme\.okta\.com$/]],
    ['admin console', text => text.replace('acme.okta', 'acme-admin.okta'), [/4:10 is the address of the admin console; write https:\/\/acme\.okta\.com$/]],
    ['org is the gate', text => text.replace('gate.example.com', 'acme.okta.com'), [/4:10 is publicUrl itself/]],
    ['no credential', text => text.replace(/ {6}serviceApp.*/, '      {}'), [/6:7 must be exactly one of serviceApp and apiToken/]],
    ['two credentials', text => text + '      apiToken: { value: { env: T }, exception: { ticket: a, approvedBy: b, expires: 2027-12-31 } }\n', [/6:7 must be exactly one of serviceApp and apiToken/]],
    ['no key', text => text.replace('[{ file: key.pem }]', '[]'), [/must list at least one private key/]],
    ['two places in one reference', text => text.replace('{ file: key.pem }', '{ file: key.pem, env: KEY }'), [/must be a reference: \{ env: NAME \} or \{ file: path \}/]],
    ['same key twice', text => text.replace('[{ file: key.pem }]', '[{ file: key.pem }, { file: key.pem }]'), [/this key is listed twice/]],
    ['variable in a path', text => text.replace('key.pem', '$HOME/key.pem'), [/only \$CREDENTIALS_DIRECTORY\/name is expanded/]],
    ['bad scopes', text => text.replace('clientId', 'scopes: everything, clientId'), [/must be auto, or a list of scopes/]],
    ['plain HTTP', text => text + 'listen: { host: 0.0.0.0 }\n', [/7:17 client keys would cross the network in plain HTTP; add tls: .* or insecureHttp: true/]],
    ['plain HTTP, accepted', text => text + 'listen: { host: 0.0.0.0, insecureHttp: true }\n', []],
    ['plain HTTP on loopback', text => text + 'listen: { host: "::1" }\n', []],
    ['one port for both', text => text + 'admin: { port: 8443 }\n', [/7:16 clients and operators need different ports/]],
    ['port', text => text + 'admin: { port: 65536 }\n', [/7:16 a port is a number from 0/]],
    ['host with a port', text => text + 'admin: { host: "127.0.0.1:80" }\n', [/7:16 must be an IP address or a host name/]],
    ['body limit', text => text + 'listen: { bodyLimitBytes: 1MB }\n', [/must be bytes/]],
    ['proxies', text => text + 'listen: { trustedProxies: [10.1.0.0/8, x] }\n', [/7:28 "10\.1\.0\.0\/8" has bits set beyond its prefix; write 10\.0\.0\.0\/8/, /7:40 this is not an IP address/]],
    ['percent without its sign', text => text + 'limits: { ceiling: 50 }\n', [/7:20 must be a percentage above 0% and up to 100%; write e\.g\. 50%/]],
    ['percent out of range', text => text + 'limits: { ceiling: 150%, credentialShare: 0% }\n', [/7:20 must be a percentage/, /7:43 must be a percentage/]],
    ['bucket key', text => text + 'limits: { org: { get /api/v1/users: 5, api: 6, /x: 0 } }\n', [/7:18 a key of limits\.org/, /7:40 a key of limits\.org/, /7:48 warning: no rate limit bucket/, /7:52 must be calls per minute/]],
    ['unknown sink', text => text + 'audit: { sinks: [{ kafka: {} }] }\n', [/7:20 unknown key "kafka"; known here: stdout, file, syslog, splunk, https, otlp/]],
    ['no sink', text => text + 'audit: { sinks: [] }\n', [/must list at least one sink/]],
    ['a sink twice', text => text + 'audit: { sinks: [{ stdout: {} }, { stdout: {} }] }\n', [/7:34 this sink is listed twice/]],
    ['two sinks in one', text => text + 'audit: { sinks: [{ stdout: {}, file: { path: a } }] }\n', [/must be exactly one of stdout, file, syslog, splunk, https, otlp/]],
    ['proxy with a password', text => text + '    proxy: { url: "http://u:p@proxy:3128" }\n', [/7:\d+ must not hold a user name or password; name the Proxy-Authorization header/]],
    ['a store that is none', text => text + 'limits: { store: redis, onStoreLoss: ignore }\n', [/7:18 must be memory, or \{ redis/, /7:38 must be share or refuse/]],
    ['a store without a reference', text => text + 'limits: { store: { redis: { url: "redis://u:p@h" } } }\n', [/7:34 a secret is written as a reference, never as itself/]],
    ['keys of a store', text => text + 'limits: { store: { redis: { commandTimeoutMs: 1, replicas: 0, prefx: a, sentinel: { nodes: ["a b"] } } } }\n', [/"url" is missing/, /7:47 must be milliseconds, 5 to 5000/, /7:60 must be the number of gates/, /unknown key "prefx"; did you mean "prefix"/, /"name" is missing/, /must be host:port/]],
    ['Sentinel and a cluster', text => text + 'limits: { store: { redis: { url: { env: R }, sentinel: { name: m, nodes: [a:1] }, cluster: [b:2] } } }\n', [/7:\d+ the store is either behind Sentinel or a cluster/]],
    ['too many workers', text => text + 'workers: 257\n', [/7:10 must be a number of processes, 1 to 256/]],
    ['crl alone', text => text + 'listen: { tls: { cert: { file: a }, key: { file: b }, crl: { file: c } } }\n', [/7:\d+ a revocation list is of no use without clientCa/]],
    ['Client-Cert of nobody', text => text + 'listen: { clientCertHeader: true }\n', [/7:\d+ the Client-Cert header is believed only of trustedProxies/]],
    ['short-lived tokens', text => text + 'tokens: { lifetimeSeconds: 300 }\n', [/7:\d+ must be seconds, 301 to 3600/]],
    ['issuer by http', text => text + 'issuers: [{ issuer: http://gitlab.example.com }]\n', [/7:\d+ must be https/, /7:\d+ its keys would be fetched by plain HTTP/]],
    ['issuer twice', text => text + 'issuers: [{ issuer: https://a.example }, { issuer: https://a.example }]\n', [/7:\d+ this issuer is listed twice/]],
    ['symmetric algorithm', text => text + 'issuers: [{ issuer: https://a.example, algorithms: [HS256] }]\n', [/7:\d+ must be one of RS256/]],
    ['wrong types', text => text + 'production: yes\nlimits: []\npolicies:\n', [/7:13 must be true or false/, /8:9 must be a mapping/, /9:1[01]? must be text|must be text/]],
    ['duplicate key', text => text + 'publicUrl: https://b.example\n', [/7:1 this key stands here twice/]],
    ['anchor and alias', text => text + 'admin: &a { port: 1 }\nlisten: *a\n', [/7:\d+ anchors .* are not accepted/, /8:9 anchors .* are not accepted/]],
    ['tag', text => text + 'production: false\nadmin: !x { }\n', [/8:\d+ tags \(!…\) are not accepted/]],
    ['inherited name', text => text + '__proto__: { x: 1 }\n', [/7:1 this key is not accepted/]],
    ['key that is no text', text => text + '? [a]\n: b\n', [/a key must be text/]],
    ['two documents', text => text + '---\na: b\n', [/several YAML documents/]],
    ['empty', () => '', [/1:1 the file is empty/]],
    ['comment only', () => '# nothing\n', [/1:1 the file is empty/]],
    ['a list', () => '- a\n', [/1:1 the file must be a mapping/]],
    ['half-written', text => text.slice(0, text.length - 12), [/6:53 the indentation is wrong, or a closing bracket is missing/]],
    ['binary', () => '\u0000\u0001', [/narrowgate\.yaml:1:1/]],
    ...['['.repeat(30_000), '{a: '.repeat(30_000), '- '.repeat(30_000), Array.from({ length: 2000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')].map((text, i): [string, () => string, RegExp[]] =>
      [`deep nesting, ${i}`, () => text, [/narrowgate\.yaml:1:1 the file is nested too deeply/]])
  ]
  for (const [name, change, expected] of table) {
    const problems = say(change(minimal))
    t.equal(problems.length, expected.length, `${name}: ${problems.join(' | ')}`)
    for (const pattern of expected) t.ok(problems.some(problem => pattern.test(problem)), `${name}: ${pattern} in ${problems.join(' | ')}`)
  }
})

t.test('all problems of a file come at once, in its order', async t => {
  const problems = load(`listen: { host: 0.0.0.0, prot: 1 }
publicUrl: http://gate.example.com
upstreams:
  default: { org: https://acme.okta.com/x, credential: { apiToken: { value: { env: T } } } }
limits: { ceiling: 0%, onStoreLoss: lose }
`).problems
  t.same(problems.map(({ line }) => line), [1, 1, 2, 4, 4, 5, 5])
})

t.test('a secret that was written out is a problem and is never repeated', async t => {
  const places: ((secret: string) => string)[] = [
    secret => token('').replace('{ env: OKTA_API_TOKEN }', secret),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `"${secret}"`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `{ ${secret} }`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `{ literal: ${secret} }`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `{ env: ${secret}+ }`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `[${secret}]`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `!${secret} x`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `*${secret}`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `&${secret} x`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `"\\q${secret}"`),
    secret => token('').replace('{ env: OKTA_API_TOKEN }', `{ env: "${secret} }`),
    secret => minimal.replace(/serviceApp.*/, `apiToken: ${secret}`),
    secret => minimal.replace(/serviceApp.*/, `apiToken: { ${secret}: }`),
    secret => minimal.replace(/serviceApp.*/, `apiToken: { value: a: ${secret} }`),
    secret => minimal.replace('{ file: key.pem }', secret),
    secret => minimal.replace('[{ file: key.pem }]', `"${secret}"`),
    secret => minimal.replace('[{ file: key.pem }]', `|\n        -----BEGIN PRIVATE KEY-----\n        ${secret}\n`),
    secret => minimal + `${secret}\n`,
    secret => minimal + `${secret}: x\n`,
    secret => minimal + `upstreams: ${secret}\n`,
    secret => minimal + `%${secret}\n`,
    secret => minimal.replace('https://acme', `https://u:${secret}@acme`),
    secret => minimal.replace('acme.okta.com', `acme.okta.com/?token=${secret}`)
  ]
  const secrets = fc.string({ unit: fc.constantFrom(...'abcdefXYZ0123456789_-'), minLength: 12, maxLength: 40 }).map(text => `00${text}9`)
  t.doesNotThrow(() => fc.assert(fc.property(secrets, fc.constantFrom(...places), (secret, place) => {
    const { config, problems } = load(place(secret))
    return config === undefined && problems.length > 0 && !JSON.stringify(problems).includes(secret.slice(2, 12))
  }), { numRuns: 400 }))
  t.match(say(places[0]!('00abcdefghijkl')), [/6:26 a secret is written as a reference, never as itself; write \{ env: NAME \}/, /exception/].reverse())
})

t.test('no text makes the loader throw', async t => {
  const pieces = fc.array(fc.constantFrom(...full.split(/(?<=[\n{}[\],:])/), '\t', '*', '&a', '!', '"', "'", '|', '>', '%', '@', '\u0000', '\r'), { maxLength: 40 }).map(parts => parts.join(''))
  t.doesNotThrow(() => fc.assert(fc.property(fc.oneof(pieces, fc.string()), text => {
    const { config, problems } = load(text)
    return config !== undefined || problems.every(({ line, column, message }) => line > 0 && column > 0 && message !== '')
  })))
})

t.test('the published schema accepts what the loader accepts, defaults left out', async t => {
  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  const validate = ajv.compile(configJsonSchema())
  for (const text of [minimal, full]) t.equal(validate(parse(text)), true, JSON.stringify(validate.errors))
  for (const text of ['{}', minimal + 'x: 1\n', minimal.replace('{ file: key.pem }', 'secret')]) t.equal(validate(parse(text)), false)
})

t.test('a bucket of limits.org that no operation is in is said, with the nearest one', async t => {
  const said = (org: string) => load(minimal + `limits: { org: { ${org} } }\n`).problems.map(formatProblem)
  t.match(said("'/api/v1/userz': 600"), [/warning: no rate limit bucket .* "\/api\/v1\/userz".*did you mean "\/api\/v1\/users"\?/])
  t.match(said('/api/v1/users: 1'), [/warning: 50% of 1 a minute is less than one call: every call of this bucket is refused/])
  t.same(said('/api/v1/users: 2'), [])
  t.same(said("'/api/v1/users': 600, 'GET /api/v1/users/{id}': 1000, 'POST,PUT,DELETE /api/v1/users/{id}': 600, '*': 300"), [])
})

t.test('the schema as the build makes a function of it says the same, and loads no Ajv', async t => {
  const made = { exports: {} as { make: (formats: Record<string, (text: string) => boolean>) => ValidateFunction } }
  const needed: string[] = []
  const require = createRequire(import.meta.url)
  compileFunction(schemaCode(), ['exports', 'require'])(made.exports, (name: string) => { needed.push(name); return require(name) as unknown })
  const checks = Object.fromEntries([...formats].map(([name, check]) => [name, (text: string) => check(text) === undefined]))
  const built = createConfigLoader(createValidate(made.exports.make(checks)))
  t.ok(texts.size > 150, `${texts.size} texts`)
  for (const [text, now] of texts) t.same(built({ path: 'narrowgate.yaml', text }, '/etc/narrowgate', now), loader({ path: 'narrowgate.yaml', text }, '/etc/narrowgate', now))
  t.ok(needed.every(name => name.startsWith('ajv/dist/runtime/')), needed.join(' '))
})
