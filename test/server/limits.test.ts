import t from 'tap'
import { startEmulator, type Emulator, type EmulatorOptions } from '../../src/emulator/server.js'
import { client, later, request, respond, startRig, startStub, until, UPSTREAM_TOKEN, type Rig } from '../support/gate.js'

const app = client('app', `allow:
  - operation: listUsers
  - operation: getUser
  - operation: listGroups
  - { operation: listApplications, rateLimit: 3/min }
  - request: POST /api/v1/authn
`)
const half = client('half', 'rateLimit: { share: 50% }\nallow: [{ operation: listUsers }, { operation: listGroups }]')
const policies = { 'app.yaml': app.text, 'half.yaml': half.text }
const LIST = 'GET /api/v1/users'

async function world (t: { teardown: (end: () => unknown) => void }, options: EmulatorOptions, limits = '{}'): Promise<{ emulator: Emulator, rig: Rig }> {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], ...options })
  t.teardown(() => emulator.close())
  return { emulator, rig: await startRig(t, { org: emulator.url, policies, limits }) }
}

/** Calls at once, and how many came back with each status. */
async function burst (rig: Rig, count: number, line: string, key: string): Promise<Record<number, number>> {
  const statuses: Record<number, number> = {}
  await Promise.all(Array.from({ length: count }, async (_, i) => {
    const { status } = await rig.ask(request(line, key, line.startsWith('POST') ? ['Content-Type: application/json'] : [], line.startsWith('POST') ? `{"username":"u${i}","password":"p"}` : undefined))
    statuses[status] = (statuses[status] ?? 0) + 1
  }))
  return statuses
}

const bucket = (emulator: Emulator, name: string): { admitted: number, refused: number } => emulator.counts().find(one => one.bucket === name) ?? { admitted: 0, refused: 0 }

t.test('half of the org\'s limit passes, not a quarter, and Okta never has to refuse', async t => {
  // Okta shows this credential 50 of 100: the gate has to know that those are its half already.
  for (const limits of ['{}', '{ org: { /api/v1/users: 100 } }']) {
    const { emulator, rig } = await world(t, { rateLimits: { '/api/v1/users': 100 } }, limits)
    t.same(await burst(rig, 90, LIST, app.key), { 200: 50, 429: 40 }, limits)
    t.match(bucket(emulator, '/api/v1/users'), { admitted: 50, refused: 0 }, limits)
    const answer = await rig.ask(request(LIST, app.key))
    const header = (name: string): string => { t.equal(answer.all(name).length, 1, `one ${name}`); return answer.header(name) ?? '' }
    t.equal(answer.status, 429)
    t.equal(answer.error.errorCode, 'E0000047')
    t.equal(header('x-rate-limit-limit'), '50')
    t.equal(header('x-rate-limit-remaining'), '0')
    const now = Date.parse(header('date')) / 1000
    t.match(header('x-rate-limit-reset'), /^\d{10}$/)
    const wait = Number(header('x-rate-limit-reset')) - now
    t.ok(wait > 50 && wait <= 62, `in ${wait} s`)
    t.ok(Math.abs(Number(header('retry-after')) - wait) <= 1)
    const events = await rig.events(91)
    t.equal(events.length, 91)
    t.equal(events.filter(event => event.outcome === 'limited' && event['reason'] === 'rate_limit').length, 41)
    const metrics = (await rig.admin('/metrics')).text
    t.match(metrics, /narrowgate_bucket_allowance\{upstream="default",bucket="\/api\/v1\/users"\} 50\n/)
    t.match(metrics, /narrowgate_bucket_used\{upstream="default",bucket="\/api\/v1\/users"\} 50\n/)
    t.match(metrics, /narrowgate_bucket_org_limit\{upstream="default",bucket="\/api\/v1\/users"\} 100\n/)
    t.equal((await rig.ask(request('GET /api/v1/groups', app.key))).status, 200, 'another bucket is not concerned')
  }
})

t.test('a credential that Okta grants all of the limit is kept at half by the gate', async t => {
  const { emulator, rig } = await world(t, { rateLimits: { '/api/v1/users': 60 }, principalShare: 1 }, '{ credentialShare: 100% }')
  t.same(await burst(rig, 50, LIST, app.key), { 200: 30, 429: 20 })
  t.equal(bucket(emulator, '/api/v1/users').refused, 0)
})

t.test('anonymous calls show the org\'s full figure: half of that passes', async t => {
  const { emulator, rig } = await world(t, { rateLimits: { '/api/v1/authn': 40 } })
  t.same(await burst(rig, 35, 'POST /api/v1/authn', app.key), { 401: 20, 429: 15 })
  t.equal(bucket(emulator, '/api/v1/authn').refused, 0)
})

t.test('a client has its share of each allowance, others keep theirs', async t => {
  const { rig } = await world(t, { rateLimits: { '/api/v1/users': 80 } })
  t.same(await burst(rig, 30, LIST, half.key), { 200: 20, 429: 10 })
  t.match((await rig.events(30)).find(event => event['status'] === 429), { reason: 'client_share', client: 'half' })
  t.same(await burst(rig, 30, LIST, app.key), { 200: 20, 429: 10 })
})

t.test('a rule has its own limit', async t => {
  const { rig } = await world(t, {})
  t.same(await burst(rig, 8, 'GET /api/v1/apps', app.key), { 200: 3, 429: 5 })
  t.match((await rig.events(8)).find(event => event['status'] === 429), { reason: 'rule_limit' })
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
})

t.test('what others use of the same credential counts', async t => {
  const { emulator, rig } = await world(t, { rateLimits: { '/api/v1/users': 100 } })
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
  const token = [...emulator.org.apiTokens.keys()][0]!
  emulator.consume('/api/v1/users', 40, token)
  t.equal((await rig.ask(request(LIST, app.key))).status, 200, 'the answer that tells of it')
  t.same(await burst(rig, 20, LIST, app.key), { 200: 8, 429: 12 })
  t.equal(bucket(emulator, '/api/v1/users').refused, 0)
})

t.test('a gate that starts anew spends only what the last one left', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], rateLimits: { '/api/v1/users': 100 } })
  t.teardown(() => emulator.close())
  const options = { org: emulator.url, policies, limits: '{}' }
  const first = await startRig(t, options)
  t.same(await burst(first, 30, LIST, app.key), { 200: 30 })
  await first.gate.drain(500)
  t.same(await burst(await startRig(t, options), 40, LIST, app.key), { 200: 20, 429: 20 })
  t.match(bucket(emulator, '/api/v1/users'), { admitted: 50, refused: 0 })
})

t.test('a 429 of Okta\'s closes its bucket until the reset, and passes once', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: '{}' })
  const usual = stub.answer
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
  let reset = 0
  stub.answer = (_, socket) => {
    reset = Math.ceil(Date.now() / 1000) + 1
    socket.write(respond(429, '{"errorCode":"E0000047"}', ['Content-Type: application/json', 'X-Rate-Limit-Limit: 300', 'X-Rate-Limit-Remaining: 0', `X-Rate-Limit-Reset: ${reset}`, `Date: ${new Date().toUTCString()}`]))
  }
  const first = await rig.ask(request(LIST, app.key))
  t.equal(first.status, 429)
  t.equal(first.header('x-rate-limit-reset'), String(reset), 'Okta\'s own words')
  stub.answer = usual
  const second = await rig.ask(request(LIST, app.key))
  t.equal(second.status, 429)
  t.equal(stub.requests.length, 2, 'nothing more is sent')
  const wait = Number(second.header('x-rate-limit-reset')) - reset
  t.ok(wait >= 0 && wait <= 2, `${wait} s behind Okta's own reset`)
  t.equal((await rig.ask(request('GET /api/v1/groups', app.key))).status, 200, 'another bucket is open')
  t.same((await rig.events(4)).map(event => event['reason']), [undefined, undefined, 'bucket_closed', undefined])
  t.match((await rig.admin('/metrics')).text, /narrowgate_bucket_closed\{upstream="default",bucket="\/api\/v1\/users"\} 1\n/)
  await later(Math.max(0, Number(second.header('x-rate-limit-reset')) * 1000 - Date.now() + 1000))
  t.equal((await rig.ask(request(LIST, app.key))).status, 200, 'a client that waits as Okta\'s SDKs do gets through')
})

t.test('half of Okta\'s concurrency is in flight at once', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: "{ org: { '*': 100000 }, clientConcurrency: 100% }" })
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
  let release: () => void = () => {}
  const released = new Promise<void>(resolve => { release = resolve })
  stub.answer = (_, socket) => { released.then(() => socket.write(respond(200)), () => {}) }
  stub.requests.length = 0
  const all = burst(rig, 50, LIST, app.key)
  t.ok(await until(() => stub.requests.length === 37))
  await later(100)
  t.equal(stub.requests.length, 37)
  t.match((await rig.admin('/metrics')).text, /narrowgate_in_flight\{upstream="default"\} 37\n/)
  release()
  t.same(await all, { 200: 37, 429: 13 })
  const events = await rig.events(51)
  t.equal(events.filter(event => event['reason'] === 'concurrency').length, 13)
  t.equal((await rig.ask(request(LIST, app.key))).status, 200, 'the places are free again')
})

t.test('clients that hang up give their places back', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: "{ org: { '*': 100000 }, concurrency: 8, clientConcurrency: 100% }" })
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
  const usual = stub.answer
  stub.answer = () => {}
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(Array.from({ length: 4 }, () => rig.open()))
    for (const one of clients) one.send(request(LIST, app.key))
    await until(() => stub.requests.length === 1 + 4 * (round + 1))
    for (const one of clients) one.destroy()
    t.equal((await rig.events(round === 0 ? 5 : 4)).length, round === 0 ? 5 : 4)
  }
  stub.answer = usual
  t.equal((await rig.ask(request(LIST, app.key))).status, 200)
})

t.test('after a start one call of a bucket goes ahead, the others wait for what it learns', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: '{}' })
  let asked = 0
  stub.answer = (_, socket) => {
    const remaining = 5 - ++asked
    setTimeout(() => socket.write(respond(200, '[]', ['X-Rate-Limit-Limit: 300', `X-Rate-Limit-Remaining: ${remaining}`, `X-Rate-Limit-Reset: ${Math.ceil(Date.now() / 1000) + 30}`])), 100)
  }
  const all = burst(rig, 20, LIST, app.key)
  await until(() => stub.requests.length > 0)
  await later(50)
  t.equal(stub.requests.length, 1)
  t.same(await all, { 200: 5, 429: 15 })
  t.equal(stub.requests.length, 5)
})
