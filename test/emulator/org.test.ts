import { connect } from 'node:net'
import { request } from 'undici'
import t, { type Test as Tap } from 'tap'
import { findTripped, headerLines } from '../../src/emulator/received.js'
import { outsideCalls, scenario, type Step } from '../../src/emulator/scenario.js'
import { startEmulator, type EmulatorOptions } from '../../src/emulator/server.js'
import { totp } from '../../src/emulator/totp.js'

const TOKEN = '00test-api-token'

/** The customer's operation list, in its order, under its names. */
const LISTED = [
  'create user', 'activate user', 'get user', 'suspend user', 'unsuspend user', 'unlock user',
  'verify answer', 'change user name', 'set password', 'reset password', 'expire password', 'get security Qs',
  'get factors', 'get factors to enroll', 'enroll security question', 'set security question',
  'set recovery question', 'reset factors', 'reset factor', 'update profile', 'change password',
  'get user by loginId', 'add user to group', 'create internal recovery token', 'check password',
  'resend recovery code', 'get current status', 'check password', 'check answer', 'send pass code',
  'resend pass code', 'check pass code', 'change pass code', 'reset password', 'enroll security Q',
  'enroll Oob', 'resend activation code', 'enroll Otp', 'activate Otp', 'create recovery token',
  'check recovery token', 'send recovery token', 'resend recovery code', 'check recovery code',
  'check recovery answer', 'skip', 'previous', 'cancel'
]

async function start (t: Tap, options: EmulatorOptions = {}) {
  const org = await startEmulator({ apiTokens: [{ token: TOKEN }], users: 12, ...options })
  t.teardown(() => org.close())
  const call = async (method: string, target: string, body?: unknown, headers: Record<string, string> = { authorization: `SSWS ${TOKEN}` }) => {
    const sent = typeof body === 'string' ? body : body === undefined ? (method === 'POST' || method === 'PUT' ? '' : undefined) : JSON.stringify(body)
    const answer = await request(org.url + target, { method: method as 'GET', body: sent, headers: { ...(sent ? { 'content-type': 'application/json' } : {}), ...headers } })
    const text = await answer.body.text()
    return { status: answer.statusCode, headers: answer.headers, text, json: text === '' ? undefined : JSON.parse(text) }
  }
  const step = ({ method, target, body, credential }: Step) => call(method, target, body, credential === 'none' ? {} : { authorization: `SSWS ${TOKEN}` })
  return { org, call, step }
}

t.test('every call of the list, in its order and under its names, works against the org', async t => {
  const { org, step } = await start(t)
  const steps = scenario(org.org, Date.now())
  t.strictSame(steps.map(({ name }) => name), LISTED)
  for (const each of steps) {
    const answer = await step(each)
    t.equal(answer.status, each.expected, `${each.name}: ${each.method} ${each.target} ${answer.text.slice(0, 120)}`)
  }
})

t.test('forty calls that the list does not hold are answered too', async t => {
  const { org, step } = await start(t, { serviceApps: [{ clientId: '0oa1test000000000001', jwks: { keys: [] }, scopes: ['okta.users.read'] }] })
  const steps = outsideCalls(org.org, Date.now())
  t.equal(steps.length, 40)
  t.equal(new Set(steps.map(({ method, target }) => `${method} ${target}`)).size, 40)
  for (const each of steps) {
    const answer = await step(each)
    t.equal(answer.status, each.expected, `${each.name}: ${each.method} ${each.target} ${answer.text.slice(0, 120)}`)
  }
})

t.test('lists come in pages that absolute links join, one line per relation', async t => {
  const { org, call } = await start(t)
  const seen: string[] = []
  let target: string | undefined = '/api/v1/users?limit=5'
  let pages = 0
  while (target !== undefined) {
    const { status, headers, json } = await call('GET', target)
    t.equal(status, 200)
    const links = [headers.link ?? []].flat()
    t.equal(links[0], `<${org.url}${target}>; rel="self"`)
    const next: string | undefined = links[1] === undefined ? undefined : /^<(.*)>; rel="next"$/.exec(links[1])?.[1]
    seen.push(...json.map((user: { id: string }) => user.id))
    target = next?.slice(org.url.length)
    pages++
  }
  t.equal(pages, 3)
  t.strictSame(seen, [...org.org.users.keys()])
  t.match((await call('GET', '/api/v1/users?after=nobody')).json, { errorCode: 'E0000029' })
  const found = await call('GET', `/api/v1/users?search=${encodeURIComponent('profile.login eq "user00003@example.com"')}`)
  t.equal(found.json.length, 1)
  t.match((await call('GET', '/api/v1/users?search=nonsense')).json, { errorCode: 'E0000031' })
})

t.test('a user is created, found, changed, replaced and deleted', async t => {
  const { call } = await start(t)
  const profile = { login: 'ada@example.com', email: 'ada@example.com', firstName: 'Ada', department: 'X' }
  const created = await call('POST', '/api/v1/users', { profile, credentials: { password: { value: 'Long-enough-1' } } })
  t.match(created.json, { status: 'ACTIVE', profile: { firstName: 'Ada' } })
  t.notMatch(created.text, /Long-enough/)
  const at = `/api/v1/users/${created.json.id}`
  t.equal((await call('GET', '/api/v1/users/ADA@example.com')).json.id, created.json.id)
  t.match((await call('POST', '/api/v1/users', { profile })).json, { errorCode: 'E0000001' })
  t.equal((await call('POST', at, { profile: { firstName: 'Augusta' } })).json.profile.department, 'X', 'POST changes what is given')
  t.notHas((await call('PUT', at, { profile: { login: 'ada@example.com' } })).json.profile, 'department', 'PUT replaces')
  const { headers } = await call('GET', at)
  const stale = { authorization: `SSWS ${TOKEN}`, 'if-match': '"other"' }
  t.equal((await call('POST', at, { profile: {} }, stale)).status, 412)
  t.equal((await call('POST', at, { profile: {} }, { ...stale, 'if-match': String(headers.etag) })).status, 200)
  t.equal((await call('DELETE', at)).status, 204)
  t.equal((await call('GET', at)).json.status, 'DEPROVISIONED')
  t.equal((await call('DELETE', at)).status, 204)
  t.match(await call('GET', at), { status: 404, json: { errorCode: 'E0000007' } })
  t.equal((await call('GET', '/api/v1/users/me')).json.profile.login, 'svc-narrowgate@example.com', 'me is the owner of the token')
})

t.test('lifecycle calls are refused in the wrong state, as recorded', async t => {
  const { org, call } = await start(t)
  const [, id = ''] = org.org.users.keys()
  for (const [act, status, errorCode] of [['unlock', 403, 'E0000032'], ['unsuspend', 400, 'E0000001'], ['activate', 403, 'E0000016'], ['reset_password', 400, 'E0000001']] as const) {
    t.match(await call('POST', `/api/v1/users/${id}/lifecycle/${act}`), { status, json: { errorCode } }, act)
  }
})

t.test('signing in: failures lock, a second factor is asked for, enrolment ends in success', async t => {
  const { org, call } = await start(t)
  const sign = (path: string, body: unknown) => call('POST', `/api/v1/authn${path}`, body, {})
  const user = [...org.org.users.values()][1]!
  const good = { username: 'user00001@example.com', password: user.password }
  const session = await sign('', good)
  t.match(session.json, { status: 'SUCCESS', sessionToken: /^201/ })
  t.match((await call('POST', '/api/v1/sessions', { sessionToken: session.json.sessionToken })).json, { userId: user.id })
  t.match((await call('POST', '/api/v1/sessions', { sessionToken: session.json.sessionToken })).json, { errorCode: 'E0000004' })

  user.enrollment = 'required'
  const { json: { status, stateToken } } = await sign('/', good)
  t.equal(status, 'MFA_ENROLL')
  t.match((await sign('/skip', { stateToken })).json, { errorCode: 'E0000079' })
  const enrolled = await sign('/factors', { stateToken, factorType: 'token:software:totp', provider: 'GOOGLE' })
  const { factor } = enrolled.json._embedded
  t.match(enrolled.json, { status: 'MFA_ENROLL_ACTIVATE', _links: { next: { href: `${org.url}/api/v1/authn/factors/${factor.id}/lifecycle/activate` } } })
  t.match((await sign(`/factors/${factor.id}/lifecycle/activate`, { stateToken, passCode: 'wrong' })).json, { errorCode: 'E0000068' })
  const passCode = totp(factor._embedded.activation.sharedSecret, Date.now())
  t.match((await sign(`/factors/${factor.id}/lifecycle/activate`, { stateToken, passCode })).json, { status: 'SUCCESS' })
  t.match((await sign('', { stateToken })).json, { errorCode: 'E0000011' }, 'the transaction is over')
  t.match((await sign('', good)).json, { status: 'MFA_REQUIRED', _embedded: { factors: [{ id: factor.id }] } })

  for (let n = 0; n < 10; n++) t.equal((await sign('', { ...good, password: 'wrong' })).status, 401)
  t.match((await sign('', good)).json, { status: 'LOCKED_OUT' })
  t.equal((await call('POST', `/api/v1/users/${user.id}/lifecycle/unlock`)).status, 200)
})

t.test('recovery is neutral in public and tells all to an API token', async t => {
  const now = { ms: 1_800_000_000_000 }
  const { call } = await start(t, { now: () => now.ms })
  const recover = (body: unknown, headers = {}) => call('POST', '/api/v1/authn/recovery/password', body, headers)
  const known = await recover({ username: 'user00001@example.com', factorType: 'EMAIL' })
  t.strictSame((await recover({ username: 'nobody@example.com', factorType: 'EMAIL' })).json, known.json)
  t.match(await recover({ username: 'user00001@example.com' }), { status: 403, json: { errorCode: 'E0000006' } })
  const trusted = { authorization: `SSWS ${TOKEN}` }
  t.match(await recover({ username: 'nobody@example.com' }, trusted), { status: 403, json: { errorCode: 'E0000095' } })
  const { json: { recoveryToken } } = await recover({ username: 'user00001@example.com' }, trusted)
  const exchange = () => call('POST', '/api/v1/authn/recovery/token', { recoveryToken }, {})
  const { json: { stateToken, status } } = await exchange()
  t.equal(status, 'PASSWORD_RESET')
  t.match((await exchange()).json, { errorCode: 'E0000011' }, 'a recovery token is used once')
  now.ms += 301_000
  t.match((await call('POST', '/api/v1/authn', { stateToken }, {})).json, { errorCode: 'E0000011' }, 'a state token lives for five minutes')
})

t.test('what Okta refuses is refused in its words', async t => {
  const { call } = await start(t)
  const authorization = `SSWS ${TOKEN}`
  const user = { profile: { login: 'x@example.com' } }
  const refused: [string, number, string, Parameters<typeof call>][] = [
    ['no credential', 401, 'E0000011', ['GET', '/api/v1/users', undefined, {}]],
    ['another token', 401, 'E0000011', ['GET', '/api/v1/users', undefined, { authorization: 'SSWS other' }]],
    ['the token in another form', 401, 'E0000011', ['GET', '/api/v1/users', undefined, { authorization: `Bearer ${TOKEN}` }]],
    ['wrong method', 405, 'E0000022', ['PUT', '/api/v1/users', user]],
    ['unknown path', 404, 'E0000007', ['GET', '/api/v1/nothing']],
    ['unknown id of what is not emulated', 404, 'E0000007', ['GET', '/api/v1/idps/0oa404']],
    ['malformed JSON', 400, 'E0000003', ['POST', '/api/v1/users', '{"profile":']],
    ['wrong content type', 400, 'E0000021', ['POST', '/api/v1/users', 'a=b', { authorization, 'content-type': 'text/plain' }]],
    ['wrong Accept', 400, 'E0000019', ['GET', '/api/v1/users', undefined, { authorization, accept: 'text/html' }]]
  ]
  for (const [what, status, errorCode, args] of refused) {
    const answer = await call(...args)
    t.match(answer, { status, json: { errorCode, errorLink: errorCode, errorId: /^oae.{22}$/, errorCauses: [] } }, what)
  }
  t.strictSame((await call('GET', '/api/v1/eventHooks')).json, [])
  t.equal((await call('GET', '/api/v1/api-tokens/')).json.length, 1, 'a trailing slash is ignored, as recorded')
  t.equal((await call('GET', '//api/v1/users')).status, 200, 'a doubled one too')
})

t.test('a POST without a length is 411', async t => {
  const { org } = await start(t)
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(org.port, '127.0.0.1', () => { socket.write(`POST /api/v1/authn HTTP/1.1\r\nHost: x\r\nAuthorization: SSWS ${TOKEN}\r\n\r\n`) })
    socket.once('data', data => { resolve(data.toString()); socket.destroy() }).once('error', reject)
  })
  t.match(answer, /^HTTP\/1\.1 411 /)
})

t.test('what arrived is on record, down to what never should', async t => {
  const { org, call } = await start(t, { receivedSize: 10 })
  await call('POST', '/api/v1/users/x/lifecycle/suspend?a=b', undefined, { authorization: 'Bearer client-key', cookie: 'sid=1', 'X-Forwarded-For': '10.0.0.1', DPoP: 'proof' })
  const [first] = org.received.all
  t.match(first, { method: 'POST', target: '/api/v1/users/x/lifecycle/suspend?a=b', authorization: 'Bearer', bodyBytes: 0, status: 401 })
  t.strictSame(headerLines(first!, 'x-forwarded-for'), ['10.0.0.1'])
  t.strictSame(findTripped(org.received.all, ['client-key']).map(({ what }) => what), ['header cookie', 'header x-forwarded-for', 'header dpop', 'a client key'])
  for (let n = 0; n < 40; n++) await call('GET', '/api/v1/zones')
  t.equal(org.received.count, 41)
  t.ok(org.received.all.length >= 10 && org.received.all.length <= 20, 'only so many are kept')
  org.received.clear()
  await call('POST', '/api/v1/users', '{}')
  t.match(org.received.all[0], { bodyBytes: 2, bodySha256: '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a' })
})

t.test('faults and latency can be set', async t => {
  const { org, call } = await start(t)
  org.failNext(1, 503, ({ method }) => method === 'GET')
  t.equal((await call('POST', '/api/v1/users', '{}')).status, 400)
  t.equal((await call('GET', '/api/v1/zones')).status, 503)
  t.equal((await call('GET', '/api/v1/zones')).status, 200)
  org.failNext(1, 0)
  await t.rejects(call('GET', '/api/v1/zones'))
  org.setLatency(120)
  const begun = performance.now()
  await call('GET', '/api/v1/zones')
  t.ok(performance.now() - begun >= 100)
})
