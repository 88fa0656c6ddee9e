import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { createBatches } from '../../src/audit/batches.js'
import { SendFault } from '../../src/audit/deliver.js'
import { metricsJson } from '../../src/audit/otlp-metrics.js'
import { nanoseconds } from '../../src/audit/spans.js'
import { parseTraceparent } from '../../src/domain/trace.js'
import { client, request, respond, startRig, startStub, until } from '../support/gate.js'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

t.test('traceparent is read by the grammar of W3C Trace Context', async t => {
  const good = { traceId: TRACE, parentId: PARENT }
  const table: Array<[string, string | undefined, object | undefined]> = [
    ['sampled', `00-${TRACE}-${PARENT}-01`, { ...good, sampled: true }],
    ['not sampled', `00-${TRACE}-${PARENT}-00`, { ...good, sampled: false }],
    ['flags of a later day', `00-${TRACE}-${PARENT}-fe`, { ...good, sampled: false }],
    ['a later version, with more', `cc-${TRACE}-${PARENT}-01-what-the-future-will-be`, { ...good, sampled: true }],
    ['a later version, as 00', `cc-${TRACE}-${PARENT}-01`, { ...good, sampled: true }],
    ['none', undefined, undefined],
    ['empty', '', undefined],
    ['version ff', `ff-${TRACE}-${PARENT}-01`, undefined],
    ['version 00 with more', `00-${TRACE}-${PARENT}-01-x`, undefined],
    ['a later version, more without a dash', `cc-${TRACE}-${PARENT}-01.x`, undefined],
    ['capitals', `00-${TRACE.toUpperCase()}-${PARENT}-01`, undefined],
    ['zero trace', `00-${'0'.repeat(32)}-${PARENT}-01`, undefined],
    ['zero parent', `00-${TRACE}-${'0'.repeat(16)}-01`, undefined],
    ['short', `00-${TRACE.slice(1)}-${PARENT}-01`, undefined],
    ['two headers, joined', `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`, undefined],
    ['a space', ` 00-${TRACE}-${PARENT}-01`, undefined],
    ['endless', `cc-${TRACE}-${PARENT}-01-${'x'.repeat(300)}`, undefined]
  ]
  for (const [name, text, expected] of table) t.same(parseTraceparent(text), expected, name)
})

/** An OTLP collector over HTTP, as the specification has it, that can be switched off. */
async function collector (): Promise<{ url: string, state: { status: number }, got: Array<{ path: string, headers: Record<string, unknown>, body: any }> }> {
  const got: Awaited<ReturnType<typeof collector>>['got'] = []
  const state = { status: 200 }
  const server = createServer((incoming, answer) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => { chunks.push(chunk) }).on('end', () => {
      if (state.status === 200) got.push({ path: incoming.url!, headers: incoming.headers, body: JSON.parse(gunzipSync(Buffer.concat(chunks)).toString()) })
      answer.writeHead(state.status, { 'content-type': 'application/json' }).end('{}')
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  await new Promise(resolve => server.once('listening', resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, state, got }
}

interface OtlpSpan { traceId: string, spanId: string, parentSpanId?: string, name: string, kind: number, startTimeUnixNano: string, endTimeUnixNano: string, status: { code?: number }, attributes: Array<{ key: string, value: { stringValue?: string, intValue?: string } }> }
const attributesOf = ({ attributes }: OtlpSpan): Record<string, string | undefined> => Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]))

const stub = await startStub(t)
const app = client('app', 'allow: [{ operation: listUsers }, { operation: getUser }]')

t.test('two spans for a call, one for a refusal; the caller\'s trace goes on only where it is trusted; nothing of it reaches Okta', async t => {
  const { url, got } = await collector()
  const rig = (trusted: string, more = '') => startRig(t, {
    org: stub.origin,
    policies: { 'app.yaml': app.text },
    files: { otlp: 'Bearer CANARY-otlp' },
    listen: "trustedProxies: ['127.0.0.1/32'],",
    limits: `{ org: { '*': 1000000 }, concurrency: 1000 }\ntelemetry: { otlp: { url: '${url}/', authorization: { file: otlp } }, trustedNetworks: [${trusted}], metricsSeconds: 1${more} }`
  })
  const trusting = await rig("'192.0.2.0/24'")
  stub.answer = (_, socket) => { socket.write(respond(200, '[]', ['X-Okta-Request-Id: okta-1', 'Content-Type: application/json'])) }
  const parent = `traceparent: 00-${TRACE}-${PARENT}-01`
  const from = (address: string): string => `X-Forwarded-For: ${address}`
  await trusting.ask(request('GET /api/v1/users?search=CANARY', app.key, [parent, from('192.0.2.7')]))
  await trusting.ask(request('GET /api/v1/users/00u1abcdefghijklmnop', app.key, [parent, from('198.51.100.7')]))
  await trusting.ask(request('GET /api/v1/users', app.key, [`${parent.slice(0, -1)}0`, from('192.0.2.7')]))
  await trusting.ask(request('GET /api/v1/users', app.key, [parent, parent, from('192.0.2.7')]))
  await trusting.ask(request('GET /api/v1/groups', app.key))
  const events = await trusting.events(5)
  t.ok(await until(() => got.some(({ path }) => path === '/v1/metrics'), 8000), 'metrics come by themselves')
  t.same(stub.requests.filter(({ headers }) => headers.some(([name]) => /^(?:traceparent|tracestate|baggage)$/i.test(name))), [])
  t.match((await trusting.admin('/metrics')).text, /narrowgate_telemetry_spans\{state="dropped"\} 0/)
  await trusting.gate.drain(500)

  const batches = got.filter(({ path }) => path === '/v1/traces')
  t.match(batches[0], { headers: { 'content-type': 'application/json', 'content-encoding': 'gzip', authorization: 'Bearer CANARY-otlp' }, body: { resourceSpans: [{ resource: { attributes: [{ key: 'service.name', value: { stringValue: 'narrowgate' } }] } }] } })
  const spans = batches.flatMap(({ body }) => body.resourceSpans[0].scopeSpans[0].spans as OtlpSpan[])
  t.equal(spans.length, 2 + 2 + 0 + 2 + 1, 'a caller who does not sample is followed')
  t.equal(new Set(spans.map(({ spanId }) => spanId)).size, spans.length)
  const [gate, okta, own, ownOkta] = spans as [OtlpSpan, OtlpSpan, OtlpSpan, OtlpSpan]
  t.match(gate, { traceId: TRACE, parentSpanId: PARENT, name: 'GET /api/v1/users', kind: 2, status: {} })
  t.match(okta, { traceId: TRACE, parentSpanId: gate.spanId, name: 'GET /api/v1/users', kind: 3, status: {} })
  t.match(attributesOf(gate), { 'http.route': '/api/v1/users', 'http.response.status_code': '200', 'narrowgate.client': 'app', 'narrowgate.request_id': events[0]!.id, 'narrowgate.outcome': 'allowed' })
  t.match(attributesOf(okta), { 'http.response.status_code': '200', 'server.address': '127.0.0.1', 'okta.request_id': 'okta-1', 'narrowgate.upstream': 'default' })
  for (const span of spans) t.ok(/^[0-9]{19}$/.test(span.startTimeUnixNano) && BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano), `${span.name} has its times`)
  t.ok(BigInt(okta.startTimeUnixNano) >= BigInt(gate.startTimeUnixNano) && BigInt(okta.endTimeUnixNano) <= BigInt(gate.endTimeUnixNano), 'one within the other')
  t.match(own, { traceId: events[1]!.id.replaceAll('-', ''), parentSpanId: undefined, name: 'GET /api/v1/users/{id}' }, 'a caller that is not trusted begins no trace but its own')
  t.equal(ownOkta.traceId, own.traceId)
  t.not(spans[4]!.traceId, TRACE, 'two headers are none')
  t.match(attributesOf(spans[6]!), { 'http.response.status_code': '403', 'narrowgate.outcome': 'refused', 'narrowgate.reason': 'no_rule' })
  t.match(events.map(({ traceId }) => traceId), [TRACE, own.traceId, TRACE, spans[4]!.traceId, spans[6]!.traceId], 'events name their trace')
  const metrics = got.filter(({ path }) => path === '/v1/metrics').at(-1)!.body.resourceMetrics[0].scopeMetrics[0].metrics as Array<{ name: string, sum?: { isMonotonic: boolean, dataPoints: Array<{ asDouble: number }> }, histogram?: { dataPoints: Array<{ count: string, bucketCounts: string[], explicitBounds: number[] }> } }>
  const requests = metrics.find(({ name }) => name === 'narrowgate_requests_total')!.sum!
  t.equal(requests.isMonotonic, true)
  t.equal(requests.dataPoints.reduce((sum, { asDouble }) => sum + asDouble, 0), 5)
  const [seconds] = metrics.find(({ name }) => name === 'narrowgate_okta_seconds')!.histogram!.dataPoints
  t.equal(seconds!.count, '4')
  t.equal(seconds!.bucketCounts.length, seconds!.explicitBounds.length + 1)
  t.equal(seconds!.bucketCounts.reduce((sum, count) => sum + Number(count), 0), 4)
  t.notMatch(JSON.stringify(got.map(({ body }) => body)), /CANARY|00u1abcdefghijklmnop|search/, 'no path, no query, no secret')
})

t.test('a collector that is away costs spans, and nothing else', async t => {
  const timers: Array<() => void> = []
  let down = true
  const got: string[] = []
  const batches = createBatches<string>({ async send (lines) { if (down) throw new SendFault('HTTP 503', false); got.push(...lines) }, close () {} }, text => text, { now: () => 0, soon () {}, later (run) { timers.push(run); return { cancel () {} } } })
  const tick = async (): Promise<void> => { for (const run of timers.splice(0)) { run(); await new Promise(setImmediate) } }
  for (let i = 0; i < 5000; i++) batches.push(`s${i}`)
  t.equal(batches.waiting + batches.dropped, 5000)
  t.equal(batches.waiting, 4096, 'so many wait at most')
  await tick()
  t.match(batches, { error: 'HTTP 503', sent: 0, waiting: 4096 })
  down = false
  for (let i = 0; i < 20 && batches.waiting > 0; i++) await tick()
  t.match(batches, { sent: 4096, waiting: 0, dropped: 904, error: undefined })
  t.same(got, Array.from({ length: 4096 }, (_, i) => `s${i}`), 'in order, each once')
})

t.test('the registry\'s metrics in OTLP\'s words', async t => {
  const values = [{ metricName: 'h_bucket', labels: { le: 0.1 }, value: 2 }, { metricName: 'h_bucket', labels: { le: 1 }, value: 5 }, { metricName: 'h_bucket', labels: { le: '+Inf' }, value: 6 }, { metricName: 'h_sum', labels: {}, value: 3.5 }, { metricName: 'h_count', labels: {}, value: 6 }]
  t.match(JSON.parse(metricsJson([{ name: 'h', help: 'H', type: 'histogram', values }, { name: 'g_bytes', help: 'G', type: 'gauge', values: [{ labels: { a: 'b' }, value: 1 }] }, { name: 'none', help: '', type: 'gauge', values: [] }], 1000, 2000)), [
    { name: 'h', histogram: { aggregationTemporality: 2, dataPoints: [{ count: '6', sum: 3.5, explicitBounds: [0.1, 1], bucketCounts: ['2', '3', '1'], startTimeUnixNano: '1000000000', timeUnixNano: '2000000000' }] } },
    { name: 'g_bytes', unit: 'By', gauge: { dataPoints: [{ asDouble: 1, attributes: [{ key: 'a', value: { stringValue: 'b' } }] }] } }
  ])
  t.equal(nanoseconds(1795350615007.25), '1795350615007250000')
})
