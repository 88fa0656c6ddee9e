import { createRequire } from 'node:module'
import t from 'tap'
import { startEmulator } from '../../src/emulator/server.js'
import { findTripped } from '../../src/emulator/received.js'
import { client, later, respond, startRig, startStub, until, UPSTREAM_TOKEN } from '../support/gate.js'

/** What the test uses of Okta's SDK, which is CommonJS. */
interface Sdk {
  Client: new (options: { orgUrl: string, token: string, cacheMiddleware: null }) => {
    userApi: Record<string, (request: Record<string, unknown>) => Promise<User & AsyncIterable<User>>>
    groupApi: Record<string, (request: Record<string, unknown>) => Promise<unknown>>
    requestExecutor: { on: (event: string, listener: (request: unknown, response: unknown, id: unknown, delayMs: number) => void) => void }
  }
}
interface User { id: string, profile: Record<string, string> }
const okta = createRequire(import.meta.url)('@okta/okta-sdk-nodejs') as Sdk

const app = client('provisioning', `allow:
  - { operation: listUsers, as: list users }
  - { operation: getUser, as: get user }
  - { operation: createUser, as: create user }
  - operation: updateUser
    as: change the name
    body: { only: [profile.firstName, profile.lastName, profile.nickName] }
  - { operation: assignUserToGroup, as: add to group }
`)
const policies = { 'provisioning.yaml': app.text }
const connect = (url: string): InstanceType<Sdk['Client']> => new okta.Client({ orgUrl: url, token: app.key, cacheMiddleware: null })

t.test('Okta\'s own SDK works through the gate as it does with Okta', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], users: 25 })
  t.teardown(() => emulator.close())
  const rig = await startRig(t, { org: emulator.url, policies, limits: '{}' })
  const { userApi, groupApi } = connect(rig.publicUrl)

  const logins: string[] = []
  for await (const user of await userApi['listUsers']!({ limit: 10 })) logins.push(user.profile['login']!)
  t.equal(new Set(logins).size, 26, 'every user, over three pages')
  const pages = emulator.received.all.filter(({ target }) => target.startsWith('/api/v1/users?'))
  t.equal(pages.length, 3)
  const events = await rig.events(3)
  t.equal(events.length, 3, 'and each page came through the gate')
  t.same(events.map(event => event['rule']), ['list users', 'list users', 'list users'])

  const created = await userApi['createUser']!({ body: { profile: { firstName: 'Grace', lastName: 'Hopper', email: 'grace@example.com', login: 'grace@example.com' } }, activate: true })
  t.match(created.id, /^00u/)
  t.match(await userApi['getUser']!({ userId: created.id }), { id: created.id, profile: { login: 'grace@example.com' } })
  t.match(await userApi['getUser']!({ userId: 'grace@example.com' }), { id: created.id }, 'by login, percent-encoded')
  t.match(await userApi['updateUser']!({ userId: created.id, user: { profile: { nickName: 'Amazing Grace' } } }), { profile: { nickName: 'Amazing Grace' } })
  const group = [...emulator.org.groups.values()].find(({ type }) => type === 'OKTA_GROUP')!
  await groupApi['assignUserToGroup']!({ groupId: group.id, userId: created.id })
  t.ok(group.members.has(created.id))
  t.same((await rig.events(5)).map(event => `${String(event['rule'])} ${String(event['status'])}`), ['create user 200', 'get user 200', 'get user 200', 'change the name 200', 'add to group 204'])

  const refused: unknown = await userApi['updateUser']!({ userId: created.id, user: { profile: { email: 'other@example.com' } } }).then(() => undefined, error => error)
  t.match(refused, { status: 403, errorCode: 'E0000006', message: /change the name.*profile\.email/, errorCauses: [{ errorSummary: /updateUser/ }, {}] }, 'a 403 whose message names operation, rule and condition')
  await t.rejects(userApi['deleteUser']!({ userId: created.id }), /deleteUser/)
  await t.rejects(connect(`${rig.publicUrl}//`).userApi['getUser']!({ userId: created.id }), /trailing slash/)
  t.same(findTripped(emulator.received.all, [app.key]), [], 'no key, cookie or forwarding header has reached the org')
})

t.test('the SDK waits out a 429, Okta\'s or the gate\'s, and goes on by itself', async t => {
  const stub = await startStub(t)
  const rig = await startRig(t, { org: stub.origin, policies, limits: '{}' })
  let calls = 0
  stub.answer = (_, socket) => {
    const reset = Math.ceil(Date.now() / 1000) + 1
    const rate = (remaining: number): string[] => ['Content-Type: application/json', `Date: ${new Date().toUTCString()}`, 'X-Rate-Limit-Limit: 1000', `X-Rate-Limit-Remaining: ${remaining}`, `X-Rate-Limit-Reset: ${reset}`, 'X-Okta-Request-Id: req1']
    socket.write(++calls === 2 ? respond(429, '{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit"}', rate(0)) : respond(200, '{"id":"00u1","profile":{"login":"a"}}', rate(999)))
  }
  const sdk = connect(rig.publicUrl)
  const waits: number[] = []
  sdk.requestExecutor.on('backoff', (_request, _response, _id, delayMs) => { waits.push(delayMs) })
  await sdk.userApi['getUser']!({ userId: '00u1' })
  const refusedByOkta = sdk.userApi['getUser']!({ userId: '00u2' })
  await until(() => calls === 2)
  await later(50)
  const refusedByGate = sdk.userApi['getUser']!({ userId: '00u3' })
  t.match(await Promise.all([refusedByOkta, refusedByGate]), [{ id: '00u1' }, { id: '00u1' }])
  t.ok(waits.length >= 2 && waits.every(wait => wait > 0 && wait <= 5000), `it has waited ${waits.join(', ')} ms`)
  const events = await rig.events(5)
  t.ok(events.some(event => event['upstreamStatus'] === 429), 'once because of Okta')
  t.ok(events.some(event => event['reason'] === 'bucket_closed'), 'once because of the gate')
  t.equal(calls, 4, 'what the gate refused has cost Okta nothing')
})
