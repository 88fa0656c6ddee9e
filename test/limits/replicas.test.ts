import { Redis } from 'ioredis'
import t from 'tap'
import { startEmulator } from '../../src/emulator/server.js'
import { client, later, request, startRig, until, UPSTREAM_TOKEN, type Rig } from '../support/gate.js'
import { RedisServer, SlowRoad } from './redis-server.js'

const LIST = 'GET /api/v1/users'
const app = client('app', 'allow: [{ operation: listUsers }]')
const patient = client('patient', 'wait: { upToMs: 3000 }\nallow: [{ operation: listGroups }, { operation: listUsers, rateLimit: 2/min }]')
const policies = { 'app.yaml': app.text, 'patient.yaml': patient.text }

t.test('four gates and one Redis that is slow, stands still, dies, comes back empty and takes no writes: the bound holds', async t => {
  const redis = await RedisServer.start()
  t.teardown(() => redis.stop())
  const road = await SlowRoad.to(redis.port)
  t.teardown(() => { road.close() })
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], rateLimits: { '/api/v1/users': 400 } })
  t.teardown(() => emulator.close())
  const options = { org: emulator.url, policies, limits: '{ store: { redis: { url: { env: REDIS_URL } } } }', environment: { REDIS_URL: road.url } }
  const rigs = await Promise.all(Array.from({ length: 4 }, () => startRig(t, options)))
  const stateOf = async (rig: Rig): Promise<string> => (JSON.parse((await rig.admin('/readyz')).text) as { limits: Array<{ state: string }> }).limits[0]!.state
  const all = async (state: string): Promise<boolean> => await until(async () => (await Promise.all(rigs.map(stateOf))).every(one => one === state))
  t.ok(await all('shared'), 'all share the store')
  t.notMatch(rigs[0]!.log(), /the limit store is lost|was never reached/, 'a start waits for the connection')

  const statuses: Record<number, number> = {}
  const slowest: number[] = []
  const state = { running: true }
  const loops = rigs.map(async rig => {
    while (state.running) {
      const began = performance.now()
      const { status } = await rig.ask(request(LIST, app.key))
      slowest.push(performance.now() - began)
      statuses[status] = (statuses[status] ?? 0) + 1
      await later(80)
    }
  })
  const during = async (what: string, begin: () => unknown, end: () => unknown): Promise<void> => {
    await later(700)
    await begin()
    t.ok(await all('share'), `${what}: each goes by its share`)
    await later(300)
    await end()
    t.ok(await all('shared'), `${what}: and comes back`)
  }
  await during('slow', () => { road.delayMs = 500 }, () => { road.delayMs = 0 })
  await during('standing still', () => { redis.pause() }, () => { redis.resume() })
  await during('dead, then empty', () => redis.kill(), () => redis.start())
  const admin = new Redis(redis.url)
  await during('read-only', () => admin.config('SET', 'min-replicas-to-write', '1'), () => admin.config('SET', 'min-replicas-to-write', '0'))
  await admin.quit()
  t.match((await rigs[0]!.admin('/metrics')).text, /narrowgate_limit_store_losses\{upstream="default"\} ([4-9]|1\d)\n/)
  t.match(rigs[0]!.log(), /the limit store is lost: this gate goes by its share of the limits/)
  t.match(rigs[0]!.log(), /the limit store is there again/)
  state.running = false
  await Promise.all(loops)
  await Promise.all(rigs.map(async rig => { for (let i = 0; i < 60; i++) await rig.ask(request(LIST, app.key)) }))

  const { admitted, refused } = emulator.counts().find(one => one.bucket === '/api/v1/users')!
  t.strictSame(Object.keys(statuses).sort(), Object.keys(statuses).includes('429') ? ['200', '429'] : ['200'], 'ordinary answers and ordinary 429s')
  t.ok(admitted <= 200 && admitted >= 150, `${admitted} of 200 within the first minute`)
  t.equal(refused, 0, 'no 429 of Okta')
  slowest.sort((a, b) => a - b)
  t.comment(`p99 ${slowest[Math.floor(slowest.length * 0.99)]!.toFixed(1)} ms of ${slowest.length} calls`)
})

t.test('a call that may wait is held until there is allowance, in order, and no longer than it may', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }] })
  t.teardown(() => emulator.close())
  const rig = await startRig(t, { org: emulator.url, policies, limits: '{ concurrency: 2 }' })
  t.equal((await rig.ask(request('GET /api/v1/groups', patient.key))).status, 200)
  emulator.setLatency(200)
  const began = performance.now()
  const order: number[] = []
  const asked = Array.from({ length: 4 }, async (_, i) => {
    await later(20 * i)
    const { status } = await rig.ask(request('GET /api/v1/groups', patient.key))
    order.push(i)
    return status
  })
  const leaving = await rig.open()
  await later(90)
  leaving.send(request('GET /api/v1/groups', patient.key))
  await later(20)
  t.match((await rig.admin('/metrics')).text, /narrowgate_bucket_waiting\{upstream="default",bucket="\/api\/v1\/groups"\} [34]\n/)
  leaving.destroy()
  t.strictSame(await Promise.all(asked), [200, 200, 200, 200], 'one at a time, none refused')
  t.strictSame(order, [0, 1, 2, 3])
  t.ok(performance.now() - began > 700)
  await later(300)
  t.match((await rig.admin('/metrics')).text, /narrowgate_waited\{outcome="admitted"\} 3\nnarrowgate_waited\{outcome="refused"\} 0\nnarrowgate_waited\{outcome="left"\} 1\n/, 'who hung up has left')

  emulator.setLatency(0)
  for (let i = 0; i < 2; i++) t.equal((await rig.ask(request(LIST, patient.key))).status, 200)
  const late = performance.now()
  t.equal((await rig.ask(request(LIST, patient.key))).status, 429, 'a minute is longer than it may wait')
  t.ok(performance.now() - late < 1000, 'it is told at once')
})
