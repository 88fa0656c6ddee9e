import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import { createConfigLoader } from '../../../src/config/load.js'
import { hasErrors, type Problem } from '../../../src/domain/problem.js'
import { createCatalog } from '../../../src/okta/catalog.js'
import { loadPolicies } from '../../../src/policy/load.js'
import { policies, policyText } from '../../policy/arbitrary.js'
import { anyBytes, bytesOf, pieces, type FuzzTarget } from '../target.js'

const NOW = Date.UTC(2026, 10, 22)
const YAML_WORDS = ['\n', '\n  ', '\n  - ', '- ', ': ', ':', '{', '}', '[', ']', ', ', '"', "'", '|', '>', '&a', '*a', '<<: *a', '!!js/function', '!x ', '%YAML 1.1\n---\n', '---', '...', '#', '? ', '\t', '~', 'null', '.inf', '.nan', '0x1F', '1_000', '-0', '1e999', '2027-01-31', '2027-02-31', '__proto__: 1', '"\\u0000"', '\xff', '\xef\xbb\xbf', '\xe2\x80\xa8', 'x'.repeat(400), '[[[[[[[[', '{a: {a: {a: ']

function soundProblems (problems: readonly Problem[], text: string): void {
  const lines = text.split(/\r\n|\n|\r/).length
  for (const { line, column, message, hint } of problems) {
    assert.ok(Number.isInteger(line) && line >= 1 && line <= lines + 1, `a problem stands at line ${line}: ${message}`)
    assert.ok(Number.isInteger(column) && column >= 1, `a problem stands at column ${column}: ${message}`)
    assert.ok(message.length > 0 && message.length < 1000, 'a message is empty or endless')
    assert.ok(!message.includes('\n') && !(hint ?? '').includes('\n\n'), 'a message is several lines')
  }
}

const folder = resolve(import.meta.dirname, ...import.meta.dirname.includes('.fuzz') ? ['../../../../policies'] : ['../../../policies'])
const shipped = readdirSync(folder).filter(name => name.endsWith('.yaml')).map(name => readFileSync(join(folder, name), 'latin1')).filter(text => text.length < 6000)
const HEAD = `version: 1\nclient: c\nowner: o@example.com\nauthenticate:\n  - apiKey: { sha256: ${'a'.repeat(64)} }\n`
const POLICY_WORDS = [...YAML_WORDS, 'allow:\n', 'deny: [deleteUser]\n', 'extends: [sets/x.yaml]\n', 'operation: getUser', 'request: GET /api/v1/users/{userId}', "'GET /api/v1/users/{id}?a=b'", "where: { userId: { pattern: '", '(a+)+$', '(?=x)', '[a-z]{1000}{1000}', '(((((((((', '\\p{L}', "' } }", 'body: { only: [profile.login, "x[].y.*"] }', 'body: { require: { profile.login: any } }', 'body: { schema: { type: object, pattern: "(a|a)*$", $ref: "#/x" } }', 'query: any', 'query: { require: { a: [b] } }', 'rateLimit: 30/min', 'rateLimit: { share: 0% }', 'mode: observe', 'expires: 2026-13-01', 'tests:\n  - allow: GET /api/v1/users/00u1\n', 'networks: [10.0.0.0/33]', '"::/129"', 'credential: authnToken']
// Making one costs more than a whole load, and declared operations are a file of their own.
const catalog = createCatalog()

export const policy: FuzzTarget = {
  name: 'policy',
  property: 'any bytes as a policy file, a set or operations.yaml give problems at a place of the file or a policy, never a throw, and soon',
  share: 0.01,
  slowMs: 3000,
  structured: fc.oneof({ weight: 3, arbitrary: pieces(POLICY_WORDS).map(text => HEAD + text) }, { weight: 2, arbitrary: pieces(POLICY_WORDS, 6).map(text => `${HEAD}allow:\n  - ${text}\n`) }, { weight: 2, arbitrary: policies.map(policyText) }, { weight: 1, arbitrary: anyBytes }),
  corpus: [...shipped, `${HEAD}allow:\n  - operation: updateUser\n    where: { userId: { pattern: '00u[A-Za-z0-9]{17}' } }\n    body: { only: [profile.login], require: { profile.login: any } }\n    query: { require: { strict: ['true'] } }\ntests:\n  - allow: POST /api/v1/users/00u1abcdefghijklmnop?strict=true\n    body: { profile: { login: x } }\n`],
  words: POLICY_WORDS,
  check (input) {
    const text = bytesOf(input).toString()
    const name = text.length % 5 === 0 ? 'sets/x.yaml' : text.length % 17 === 0 ? 'operations.yaml' : 'c.yaml'
    const { clients, problems } = loadPolicies([{ path: `policies/${name}`, text, name }], declared => declared.length === 0 ? catalog : createCatalog(declared), NOW)
    soundProblems(problems, text)
    if (name === 'c.yaml' && !hasErrors(problems)) assert.equal(clients.size, 1, 'no problem and no client')
  }
}

const CONFIG = `listen: { host: 127.0.0.1, port: 8443, tls: { cert: { file: c.pem }, key: { env: KEY } }, trustedProxies: [10.0.0.0/8] }
publicUrl: https://gate.example.com
upstreams:
  default:
    org: https://acme.okta.com
    credential:
      serviceApp: { clientId: 0oa1, keys: [{ file: key.pem }], scopes: auto }
    authnToken: { value: { file: secrets/authn }, exception: { ticket: SEC-1, approvedBy: identity, expires: 2027-01-31 } }
limits: { ceiling: 50%, org: { /api/v1/users: 600, '*': 300 }, store: { redis: { url: { env: REDIS } } } }
audit: { sinks: [{ stdout: {} }, { splunk: { url: 'https://splunk.example.com/x', token: { env: T } } }] }
`
// A secret where a reference belongs is the mistake that must not be repeated to whoever reads the problems.
const SECRETS = ['CANARY1secret', '00CANARY2secret_', '{ value: CANARY3secret }', '{ env: CANARY4secret', '"CANARY5secret', 'CANARY6secret: x', '[CANARY7secret]', '!CANARY8secret ', '*CANARY9secret', '&CANARY10secret x', '%CANARY11secret', '`CANARY12secret']
const CONFIG_WORDS = [...YAML_WORDS, ...SECRETS, 'apiToken: { value: ', 'token: ', 'keys: [', 'url: ', 'key: ', 'credential: ', 'authnToken: { value: ', 'audit: { key: ', 'redactKey: ', `org: https://user:${'CANARY13secret'}@acme.okta.com`, 'publicUrl: https://a.example/x', 'limits: { org: { "GET x": -1 } }', 'port: 99999', '$CREDENTIALS_DIRECTORY/x', 'file: /dev/null']
const load = createConfigLoader()

export const config: FuzzTarget = {
  name: 'config',
  property: 'any bytes as narrowgate.yaml give problems at a place of the file or a configuration, never a throw, and soon; no problem repeats a literal secret',
  share: 0.01,
  slowMs: 3000,
  structured: fc.oneof({ weight: 3, arbitrary: pieces(CONFIG_WORDS).map(text => CONFIG + text) }, { weight: 3, arbitrary: fc.tuple(fc.nat(CONFIG.length), pieces(CONFIG_WORDS, 3)).map(([at, text]) => CONFIG.slice(0, at) + text + CONFIG.slice(at)) }, { weight: 1, arbitrary: anyBytes }),
  corpus: [CONFIG, CONFIG.replace('{ file: secrets/authn }', 'CANARY1secret').replace('{ env: T }', 'CANARY14secret')],
  words: CONFIG_WORDS,
  check (input) {
    const text = bytesOf(input).toString()
    const { config, problems } = load({ path: 'narrowgate.yaml', text }, '/etc/narrowgate', NOW)
    soundProblems(problems, text)
    assert.equal(config === undefined, hasErrors(problems), 'problems and a configuration at once, or neither')
    // The one key that is repeated whatever it is: the name of a rate limit bucket that Okta does not have. It begins with a slash.
    const said = problems.map(({ message, hint }) => `${message} ${hint ?? ''}`).find(words => words.includes('CANARY') && !words.startsWith('no rate limit bucket'))
    assert.ok(said === undefined, `a problem repeats a secret: ${said}`)
  }
}
