import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import fc from 'fast-check'
import { createEcsLines } from '../../src/audit/ecs.js'
import { createFilter } from '../../src/audit/filter.js'
import { severityOf } from '../../src/audit/meaning.js'
import { LineWriter } from '../../src/audit/line-writer.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { parseEvent } from '../../src/audit/parse.js'
import { createPlainLines } from '../../src/audit/plain.js'
import { createRedactor, withoutKeys } from '../../src/audit/redact.js'
import { createResources } from '../../src/audit/resources.js'
import { quote } from '../../src/audit/text.js'
import { createSummary } from '../../src/audit/summary.js'
import { otlpPayload, splunkPayload, syslogFrame } from '../../src/audit/payloads.js'
import { newKey } from '../../src/clients/api-key.js'
import type { AuditEvent, Outcome } from '../../src/domain/event.js'
import { rejections, type RejectionCode } from '../../src/domain/rejection.js'
import { parseTarget } from '../../src/domain/target.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { ocsfProblem } from '../support/audit-check.js'
import { eventText } from '../../src/cli/audit-query.js'
import { painter } from '../../src/cli/style.js'
import { someEvent } from './events.js'

const producer = { version: '1.2.3', gate: 'gate-1' }
const formats = { ocsf: createOcsfLines(producer), ecs: createEcsLines(producer), plain: createPlainLines() }

/** Any event: every text may hold anything. */
const anyText = fc.string({ unit: 'binary', maxLength: 30 })
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const anyEvent: fc.Arbitrary<AuditEvent> = fc.record({
  time: fc.integer({ min: 0, max: 4e12 }),
  id: fc.uuid(),
  phase: maybe(fc.constantFrom('intent' as const, 'open' as const)),
  outcome: fc.constantFrom<Outcome>('allowed', 'refused', 'limited', 'failed', 'aborted', 'pending', 'unknown'),
  stage: fc.constantFrom('record', 'identify', 'decide', 'forward', 'observe'),
  method: fc.oneof(fc.constantFrom('GET', 'POST', 'DELETE', 'PROPFIND', ''), anyText),
  path: maybe(anyText),
  queryNames: maybe(fc.array(anyText, { minLength: 1, maxLength: 3 })),
  source: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('')),
  client: maybe(anyText),
  keyId: maybe(anyText),
  authentication: maybe(fc.constantFrom('apiKey', 'mtls')),
  operation: maybe(fc.constantFrom('createUser', 'deactivateUser', 'listUsers')),
  resources: maybe(fc.array(fc.record({ kind: fc.constantFrom('user', 'group'), id: anyText }), { minLength: 1, maxLength: 3 })),
  rule: maybe(anyText),
  ruleId: maybe(anyText),
  decision: maybe(fc.constantFrom('allow' as const, 'deny' as const)),
  reason: maybe(fc.constantFrom(...Object.keys(rejections) as RejectionCode[])),
  wouldDeny: maybe(fc.constantFrom('no_rule' as const, 'query' as const)),
  detail: maybe(anyText),
  bodyPaths: maybe(fc.array(anyText, { minLength: 1, maxLength: 3 })),
  upstream: maybe(fc.constantFrom('default', 'other')),
  credential: maybe(fc.constantFrom('upstream', 'none')),
  bucket: maybe(anyText),
  status: maybe(fc.integer({ min: 200, max: 599 })),
  upstreamStatus: maybe(fc.integer({ min: 200, max: 599 })),
  oktaRequestId: maybe(anyText),
  truncated: maybe(fc.constant(true)),
  resent: maybe(fc.constant(true)),
  bytesIn: fc.nat(),
  bytesOut: fc.nat(),
  durationMs: fc.integer({ min: 0, max: 1e9 }).map(ms => ms / 1000),
  upstreamMs: maybe(fc.integer({ min: 0, max: 1e9 }).map(ms => ms / 1000)),
  policy: maybe(fc.constantFrom('0123456789ab', 'ba9876543210')),
  traceId: maybe(fc.constant('0af7651916cd43dd8448eb211c80319c')),
  count: maybe(fc.integer({ min: 2, max: 1000 }))
})

t.test('whatever happened, the event is valid OCSF 1.8.0 and every format can be read back whole', async t => {
  let shown = ''
  t.doesNotThrow(() => fc.assert(fc.property(anyEvent, event => {
    const { ocsf, ecs, plain } = formats
    const line = ocsf(event)
    const problem = ocsfProblem(line)
    if (problem !== undefined) { shown = problem; return false }
    // A rule without an id, or a reason without an answer, is no event of the gate.
    const whole: AuditEvent = { ...event, rule: event.ruleId === undefined ? undefined : event.rule, keyId: event.client === undefined ? undefined : event.keyId, authentication: event.client === undefined ? undefined : event.authentication }
    for (const format of [ocsf, ecs, plain]) {
      const text = format(whole)
      const expected = Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined))
      if (text.indexOf('\n') !== text.length - 1 || JSON.stringify(sorted(parseEvent(text))) !== JSON.stringify(sorted(expected))) { shown = text + JSON.stringify(parseEvent(text)); return false }
    }
    return true
  }), { numRuns: 400 }), shown)
})

t.test('a line that somebody else has written is an event that can be shown and written again, or none', async t => {
  const line = formats.plain(someEvent({ client: 'c', reason: 'no_rule', outcome: 'refused', resources: [{ kind: 'user', id: '00u1' }] }))
  const changed = (changes: Record<string, unknown>): string => JSON.stringify({ ...JSON.parse(line) as object, ...changes })
  t.ok(parseEvent(changed({})))
  const thing = { toString: 1, valueOf: 2 }
  for (const changes of [{ time: thing }, { time: 1e300 }, { time: '' }, { id: 1 }, { outcome: 'constructor' }, { outcome: thing }, { stage: '"},{' }, { method: null }, { source: undefined }, { durationMs: '1' }, { bytesOut: undefined }, { resources: [null] }, { resources: [{ kind: thing, id: '1' }] }, { queryNames: 'x' }, { bodyPaths: [1] }, { phase: 'end' }, { decision: 'maybe' }, { status: '200' }, { count: {} }, { detail: [] }]) {
    t.equal(parseEvent(changed(changes)), undefined, JSON.stringify(changes))
  }
  t.match(parseEvent(changed({ __proto__: { a: 1 }, more: 1 })), { id: 'e1', more: undefined }, 'what no event has is left out')
  const later = parseEvent(changed({ reason: 'of_a_newer_gate' }))!
  for (const format of [formats.ocsf, formats.ecs, formats.plain]) t.equal(parseEvent(format(later))?.reason, 'of_a_newer_gate')
  const hostile = eventText(parseEvent(changed({ id: '\x1b[2J', client: 'a\x1b[8mb', path: '/\n\x9b1m', reason: 'deny' }))!, painter(false))
  t.notMatch(hostile, /[\x00-\x1f\x7f-\x9f]/, 'a terminal obeys nothing of it') // eslint-disable-line no-control-regex
})

function sorted (value: object | undefined): object {
  return Object.fromEntries(Object.entries(value ?? {}).sort(([a], [b]) => a < b ? -1 : 1))
}

t.test('OCSF says what was done, to what, by whom and what the gate made of it', async t => {
  const event = someEvent({ method: 'POST', operation: 'deactivateUser', client: 'portal', keyId: '0a1b2c3d', authentication: 'apiKey', resources: [{ kind: 'user', id: '00u1' }], rule: 'leavers', ruleId: 'portal.yaml#2', decision: 'allow', status: 200, upstreamStatus: 200, oktaRequestId: 'req-1', policy: '0123456789ab', upstream: 'default', queryNames: ['sendEmail'] })
  t.match(JSON.parse(formats.ocsf(event)), {
    class_uid: 6003,
    activity_name: 'Update',
    type_uid: 600303,
    severity: 'Informational',
    status: 'Success',
    action: 'Allowed',
    disposition: 'Allowed',
    metadata: { version: '1.8.0', uid: 'e1', correlation_uid: 'e1', product: { name: 'Narrowgate', version: '1.2.3' }, profiles: ['security_control'] },
    actor: { app_uid: 'portal', user: { credential_uid: '0a1b2c3d', type: 'Service' }, idp: { protocol_name: 'apiKey' } },
    api: { operation: 'deactivateUser', request: { uid: 'e1' }, response: { code: 200 } },
    http_request: { http_method: 'POST', url: { path: '/api/v1/users' } },
    resources: [{ type: 'user', uid: '00u1' }],
    firewall_rule: { uid: 'portal.yaml#2', name: 'leavers' },
    policy: { uid: '0123456789ab', name: 'portal' },
    enrichments: [{ name: 'okta.request_id', value: 'req-1' }],
    src_endpoint: { ip: '192.0.2.1' },
    dst_endpoint: { svc_name: 'default' }
  })
  t.match(JSON.parse(formats.ocsf({ ...event, phase: 'intent', outcome: 'pending' })), { status: 'Unknown', metadata: { uid: 'e1:intent', event_code: 'intent', correlation_uid: 'e1' } })
  t.match(JSON.parse(formats.ecs(event)), { '@timestamp': '2026-11-22T12:30:15.007Z', event: { action: 'deactivateUser', outcome: 'success', type: ['change', 'allowed'], duration: 3_250_000 }, source: { ip: '192.0.2.1' }, user: { name: 'portal' }, rule: { id: 'portal.yaml#2' }, narrowgate: { event: 'narrowgate.request' } })
})

t.test('severity is by meaning', async t => {
  const table: Array<[Partial<AuditEvent>, number]> = [
    [{}, 1],
    [{ outcome: 'refused', reason: 'no_rule', client: 'portal' }, 2],
    [{ outcome: 'allowed', wouldDeny: 'no_rule' }, 2],
    [{ outcome: 'limited', reason: 'too_many_failures' }, 3],
    [{ outcome: 'refused', reason: 'network' }, 3],
    [{ outcome: 'unknown' }, 3],
    [{ outcome: 'refused', reason: 'self_protection' }, 4],
    [{ outcome: 'failed', reason: 'audit_unavailable' }, 4]
  ]
  for (const [changes, severity] of table) t.equal(severityOf(someEvent(changes)), severity, JSON.stringify(changes))
})

t.test('a filter takes what every list of it holds', async t => {
  const refused = someEvent({ outcome: 'refused', reason: 'no_rule', client: 'portal', method: 'POST', operation: 'createUser' })
  const table: Array<[Parameters<typeof createFilter>[0], boolean]> = [
    [{}, true],
    [{ outcomes: ['refused', 'limited'] }, true],
    [{ outcomes: ['allowed'] }, false],
    [{ clients: ['portal'], methods: ['POST'] }, true],
    [{ clients: ['portal'], methods: ['GET'] }, false],
    [{ operations: ['createUser'] }, true],
    [{ operations: ['listUsers'] }, false],
    [{ minSeverity: 'low' }, true],
    [{ minSeverity: 'medium' }, false]
  ]
  for (const [filter, taken] of table) t.equal(createFilter(filter)(refused), taken, JSON.stringify(filter))
  const intent = someEvent({ phase: 'intent', outcome: 'pending', client: 'portal', method: 'POST' })
  t.equal(createFilter({ clients: ['portal'] })(intent), true, 'an intent of what the sink takes')
  t.equal(createFilter({ outcomes: ['refused'] })(intent), false)
  t.equal(createFilter({ clients: ['portal'] })(someEvent({})), false, 'an event without the field is not in the list')
})

t.test('resources have the kinds of the path', async t => {
  const catalog = createCatalog()
  const resources = createResources()
  const table: Array<[string, string, string[]]> = [
    ['GET', '/api/v1/users/00u1/factors/ufs1', ['user 00u1', 'factor ufs1']],
    ['PUT', '/api/v1/groups/00g1/users/00u1', ['group 00g1', 'user 00u1']],
    ['GET', '/api/v1/apps/0oa1', ['app 0oa1']],
    ['GET', '/api/v1/policies/00p1/rules/0pr1', ['policy 00p1', 'rule 0pr1']]
  ]
  for (const [method, path, expected] of table) {
    const resolution = catalog.resolve(method, parseTarget(path, catalog.slashAliases) as Parameters<typeof catalog.resolve>[1])
    if (resolution.kind !== 'operation') throw new Error(path)
    t.same(resources(resolution.operation, resolution.parameters)?.map(({ kind, id }) => `${kind} ${id}`), expected)
  }
})

t.test('logins and tokens are hashed with the operator\'s key, the same one to the same text', async t => {
  const redact = createRedactor(new Set(['login', 'token']), createSecretKey(Buffer.alloc(32, 1)))
  const other = createRedactor(new Set(['login']), createSecretKey(Buffer.alloc(32, 2)))
  const event = someEvent({ path: '/api/v1/users/jane%40example.com/factors', resources: [{ kind: 'user', id: 'jane@example.com' }] })
  const shown = redact(event)
  t.match(shown.path, /^\/api\/v1\/users\/hmac:[0-9a-f]{16}\/factors$/)
  t.equal(shown.resources![0]!.id, shown.path!.split('/')[4])
  t.equal(redact(someEvent({ path: '/api/v1/users/jane@example.com' })).path!.split('/')[4], shown.resources![0]!.id, 'one spelling or another')
  t.not(other(event).path, shown.path)
  t.match(redact(someEvent({ path: '/api/v1/users/jane.doe' })).path, /hmac:/, 'a short login')
  for (const path of ['/api/v1/users/00u1abcdefghijklmnop', '/api/v1/users/me', '/api/v1/users', '/api/v1/groups/00g1abcdefghijklmnop/users']) t.equal(redact(someEvent({ path })).path, path)
  t.match(redact(someEvent({ path: '/oauth2/v1/clients/x/tokens/oar579Mcp7OUsNTlo0g3' })).path, /tokens\/hmac:/)
  t.match(redact(someEvent({ path: '/api/v1/api-tokens/00Tabc' })).path, /api-tokens\/hmac:/)
  t.equal(redact(someEvent({ path: '/api/v1/api-tokens/current' })).path, '/api/v1/api-tokens/current', 'a word of Okta\'s API')
  t.equal(other(someEvent({ path: '/oauth2/v1/clients/x/tokens/oar579Mcp7OUsNTlo0g3' })).path, '/oauth2/v1/clients/x/tokens/oar579Mcp7OUsNTlo0g3', 'tokens only where wanted')
})

t.test('a client\'s key that was put where it does not belong is hidden, cut or whole', async t => {
  const { key } = newKey(randomBytes)
  for (const event of [
    someEvent({ path: `/api/v1/users/${key}/groups`, resources: [{ kind: 'user', id: key }] }),
    someEvent({ path: `/${key.slice(0, 20)}` }),
    someEvent({ queryNames: ['limit', key] }),
    someEvent({ bodyPaths: [`profile.${key}`] }),
    someEvent({ detail: `unknown member ${key}` })
  ]) {
    const shown = JSON.stringify(withoutKeys(event))
    t.notMatch(shown, key.slice(0, 20))
    t.equal(shown, JSON.stringify(event).replaceAll(/ngk_[0-9A-Za-z]+/g, 'ngk_(hidden)'), 'and nothing else')
  }
  const event = someEvent({ path: '/api/v1/users/jane' })
  t.equal(withoutKeys(event), event, 'the same event where there is none')
})

t.test('numbers and texts are written as JSON has them, whatever was written before', async () => {
  const line = new LineWriter()
  const anyNumber = fc.oneof(fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 0, max: 4e9 }).map(value => value / 1000), fc.constantFrom(0.001, 0.1, 999.999, 1e9, 1e21))
  fc.assert(fc.property(fc.array(fc.tuple(anyText, anyNumber)), values => {
    for (const [text, number] of values) { line.quoted(text); line.number(number) }
    return line.take() === values.map(([text, number]) => quote(text) + String(number)).join('')
  }), { numRuns: 2000 })
})

t.test('an address that is longer than OCSF has room for stands in the event\'s own part alone', async t => {
  const source = '000:00:000:0000:0000:0000:100.100.100.100'
  const line = formats.ocsf(someEvent({ source }))
  t.equal(ocsfProblem(line), undefined)
  t.equal(parseEvent(line)?.source, source)
})

t.test('an event that can not be written spoils no other line', async t => {
  const lines = createOcsfLines({ version: '1', gate: 'gate-1' })
  const event = someEvent({})
  const good = lines(event)
  t.throws(() => lines(someEvent({ path: 7 as unknown as string, id: Symbol('x') as unknown as string })))
  t.equal(lines(event), good)
})

t.test('of a source that guesses on, ten seconds are one event and its number', async t => {
  const timers: Array<() => void> = []
  const out: AuditEvent[] = []
  const summary = createSummary({ now: () => 0, soon () {}, later (run) { timers.push(run); return { cancel () {} } } }, event => { out.push(event) })
  const guess = someEvent({ outcome: 'limited', reason: 'too_many_failures' })
  t.equal(summary.take(guess), false, 'the first stands alone')
  for (let i = 0; i < 50; i++) t.equal(summary.take(guess), true)
  t.equal(summary.take({ ...guess, source: '192.0.2.9' }), false, 'another source')
  t.equal(summary.take(someEvent({ outcome: 'refused', reason: 'no_rule' })), false, 'only guesses')
  timers[0]!()
  t.match(out, [{ count: 50, source: '192.0.2.1' }])
  t.equal(summary.folded, 49)
  t.equal(ocsfProblem(formats.ocsf(out[0]!)), undefined)
})

t.test('what collectors are sent', async t => {
  const line = formats.ocsf(someEvent({ outcome: 'refused', reason: 'self_protection' })).trim()
  const splunk = JSON.parse(splunkPayload(() => 'T', 'gate-1', 'main')([line], 0).body)
  t.match(splunk, { time: 1795350615.007, host: 'gate-1', sourcetype: 'narrowgate:audit', index: 'main', event: { class_uid: 6003 } })
  const otlp = JSON.parse(otlpPayload(undefined, 'gate-1', '1.2.3')([line, '{"event":"narrowgate.checkpoint"}'], 5).body)
  t.match(otlp.resourceLogs[0].scopeLogs[0].logRecords, [{ timeUnixNano: '1795350615007000000', severityText: 'ERROR', body: { stringValue: line }, attributes: [{ key: 'event.id', value: { stringValue: 'e1' } }] }, { timeUnixNano: '5000000', severityText: 'INFO' }])
  const frame = syslogFrame(line, 'gate-1', 42, 0)
  const [length, message] = [frame.slice(0, frame.indexOf(' ')), frame.slice(frame.indexOf(' ') + 1)]
  t.equal(Number(length), Buffer.byteLength(message))
  t.match(message, /^<107>1 2026-11-22T12:30:15\.007Z gate-1 narrowgate 42 audit \[event@32473 id="e1"\] \ufeff\{/)
})
