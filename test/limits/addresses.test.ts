import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { createLine, type RedisAddress } from '../../src/limits/redis.js'
import { SCRIPT } from '../../src/limits/script.js'
import type { StoreEvent } from '../../src/limits/shared-call.js'
import { SharedStore } from '../../src/limits/shared.js'
import type { LimitCall } from '../../src/limits/store.js'
import { makeCertificate } from '../upstream/certificates.js'
import { until } from '../support/gate.js'
import { freePort, RedisServer } from './redis-server.js'
import { call, plan, refusalOf, SILENT, ticketOf } from './world.js'

const skip = spawnSync('redis-server', ['--version']).status === 0 ? false : 'redis-server is not installed'
const later = async (ms: number): Promise<void> => { await new Promise(resolve => setTimeout(resolve, ms)) }

/** A gate's store as the gate has it: real time, the server's clock. */
class Gate {
  readonly store: SharedStore
  readonly events: StoreEvent[] = []
  readonly errors: string[] = []
  readonly line: ReturnType<typeof createLine>
  readonly #beat: NodeJS.Timeout

  constructor (t: Test, address: Partial<RedisAddress> & { url: string }, readonly aheadMs = 0) {
    const clock = (): number => performance.timeOrigin + performance.now() + aheadMs
    this.line = createLine({ commandTimeoutMs: 1000, prefix: 'narrowgate:', ...address }, error => { this.errors.push(error.message) })
    this.store = new SharedStore({
      line: this.line,
      gate: `g${Math.random()}`,
      later: (ms, run) => { setTimeout(() => { run(clock()) }, ms).unref() },
      soon: setImmediate,
      clock,
      timeoutMs: 1000,
      replicas: 1,
      onStoreLoss: 'share',
      longestCallMs: 60_000,
      note: event => { this.events.push(event) },
      patienceMs: 0
    })
    this.#beat = setInterval(() => { this.store.beat(this.now) }, 100)
    t.teardown(async () => { clearInterval(this.#beat); await this.store.close(this.now) })
  }

  get now (): number { return performance.timeOrigin + performance.now() + this.aheadMs }

  /** The store is in use for these upstreams. */
  async shares (...upstreams: string[]): Promise<boolean> {
    await this.store.ready(upstreams)
    return await until(async () => upstreams.every(name => this.state(name) === 'shared'))
  }

  state (upstream: string): string | undefined {
    return this.store.status().find(one => one.upstream === upstream)?.state
  }

  async make (of: LimitCall): Promise<void> {
    const ticket = ticketOf(await this.store.reserve(of, this.now))
    this.store.settle(ticket, SILENT, this.now)
    this.store.release(ticket, this.now)
  }

  async used (upstream: string): Promise<number> {
    const views = await this.store.snapshot(this.now)
    return views.find(one => one.upstream === upstream)!.buckets.reduce((sum, one) => sum + one.used, 0)
  }
}

let users = 0
/** A call that spends every kind of budget. */
const of = (upstream = 'default', org = 20): LimitCall => call(plan({ upstream, configuredOrg: org }), { rule: { id: 'r', perMinute: 50 }, user: `hash${users++}`, floor: 0.1, level: 0 })

t.test('TLS: the store\'s certificate is checked, by the authority that is named and for the address', { skip }, async t => {
  const authority = makeCertificate({ commonName: 'authority', authority: true })
  const server = await RedisServer.prepare()
  for (const [name, names] of [['right', ['127.0.0.1', 'localhost']], ['wrong', ['elsewhere.example']]] as const) {
    const { cert, key } = makeCertificate({ commonName: name, names, issuer: authority })
    writeFileSync(join(server.folder, `${name}.crt`), cert)
    writeFileSync(join(server.folder, `${name}.key`), key)
  }
  writeFileSync(join(server.folder, 'ca.crt'), authority.cert)
  const tls = (name: string): string[] => ['--port', '0', '--tls-port', String(server.port), '--tls-auth-clients', 'no', '--tls-ca-cert-file', 'ca.crt', '--tls-cert-file', `${name}.crt`, '--tls-key-file', `${name}.key`]
  await server.start(tls('right'))
  t.teardown(() => server.stop())
  const warnings: string[] = []
  const warned = (warning: Error): void => { warnings.push(warning.message) }
  process.on('warning', warned)
  t.teardown(() => { process.off('warning', warned) })
  for (const host of ['127.0.0.1', 'localhost']) {
    const gate = new Gate(t, { url: `rediss://${host}:${server.port}`, ca: authority.cert })
    t.ok(await gate.shares(host), host)
    await gate.make(of(host))
    t.equal(await gate.used(host), 1)
  }
  t.strictSame(warnings, [])
  const refused = async (what: string, address: Partial<RedisAddress> & { url: string }): Promise<void> => {
    const gate = new Gate(t, address)
    await gate.store.ready(['default'])
    t.ok(await until(() => gate.errors.length > 0))
    t.equal(gate.state('default'), 'share', what)
    t.match(gate.errors[0], /certificate|altname|closed|ECONNRESET/i, `${what}: ${gate.errors[0]}`)
  }
  await refused('an authority that is not named', { url: `rediss://127.0.0.1:${server.port}` })
  await refused('another authority', { url: `rediss://127.0.0.1:${server.port}`, ca: makeCertificate({ commonName: 'other', authority: true }).cert })
  await server.kill()
  await server.start(tls('wrong'))
  await refused('another address', { url: `rediss://127.0.0.1:${server.port}`, ca: authority.cert })
})

t.test('an ACL user needs the keys and the commands of the documents, and no more', { skip }, async t => {
  const { user, rights } = /^user (?<user>\S+) on >PASSWORD (?<rights>.*)$/m.exec(readFileSync('docs/limits.md', 'utf8'))!.groups!
  const used = Array.from(SCRIPT.matchAll(/call\('([A-Z]+)'/g), ([, name]) => `+${name!.toLowerCase()}`)
  t.strictSame(rights!.split(' ').slice(4).sort(), [...new Set([...used, '+set'])].sort(), 'the document names what the script calls, and SET for used ids')
  const server = await RedisServer.start(['--user', 'default', 'off', '--user', user!, 'on', '>se:cr@t', ...rights!.split(' ')])
  t.teardown(() => server.stop())
  const said: unknown[] = []
  const { warn } = console
  console.warn = (...words: unknown[]) => { said.push(words) }
  t.teardown(() => { console.warn = warn })
  const gate = new Gate(t, { url: `redis://narrowgate:${encodeURIComponent('se:cr@t')}@127.0.0.1:${server.port}` })
  t.ok(await gate.shares('default'))
  await gate.make(of())
  await gate.make(of())
  t.equal(await gate.used('default'), 2)
  t.strictSame([gate.errors, said], [[], []], 'nothing is refused')
  const other = new Gate(t, { url: `redis://narrowgate:${encodeURIComponent('se:cr@t')}@127.0.0.1:${server.port}`, prefix: 'elsewhere:' })
  t.notOk(await other.line.connected(1000))
  await other.store.ready(['default'])
  t.equal(other.state('default'), 'share', 'other keys are closed')
  t.match(other.store.status(), [{ why: /NOPERM/ }], 'and it says so')
  t.match(other.events, [{ kind: 'lost', why: /NOPERM/ }], 'at once, and not that there was no connection yet')
})

t.test('time is the server\'s: gates whose clocks are an hour apart count together', { skip }, async t => {
  const server = await RedisServer.start()
  t.teardown(() => server.stop())
  const gates = [0, 3_600_000, -3_600_000].map(aheadMs => new Gate(t, { url: server.url }, aheadMs))
  for (const gate of gates) t.ok(await gate.shares('default'))
  const mine = { ...of(), user: undefined, floor: undefined }
  // The last of them go when the gates have seen the others', a beat later.
  let count = 0
  t.ok(await until(async () => {
    const gate = gates[count % 3]!
    const admission = await gate.store.reserve(mine, gate.now)
    if (admission.kind === 'admitted') { gate.store.release(admission.ticket, gate.now); count++ }
    return count === 10
  }))
  for (const gate of gates) {
    const refused = refusalOf(await gate.store.reserve(mine, gate.now))
    t.equal(refused.by, 'bucket')
    t.ok(refused.wait.untilMs > gate.now && refused.wait.untilMs <= gate.now + 61_000, 'the wait is on its own clock')
    t.equal(await gate.used('default'), 10)
  }
})

t.test('Sentinel: the master is found by its name, and the new one after a fail-over', { skip }, async t => {
  const master = await RedisServer.start(['--repl-diskless-sync-delay', '0'])
  const replica = await RedisServer.start(['--replicaof', '127.0.0.1', String(master.port)])
  const watcher = await RedisServer.prepare()
  t.teardown(async () => { for (const one of [watcher, master, replica]) await one.stop() })
  const side = new Redis(replica.url)
  t.ok(await until(async () => /master_link_status:up/.test(await side.info('replication'))))
  await side.quit()
  writeFileSync(join(watcher.folder, 'sentinel.conf'), `port ${watcher.port}\nbind 127.0.0.1\nsentinel monitor limits 127.0.0.1 ${master.port} 1\nsentinel down-after-milliseconds limits 300\nsentinel failover-timeout limits 2000\n`)
  await watcher.start([], 'sentinel.conf')
  const gate = new Gate(t, { url: 'redis://nowhere.invalid:1', sentinel: { name: 'limits', nodes: ['127.0.0.1:1', `127.0.0.1:${watcher.port}`] } })
  t.ok(await gate.shares('default'), 'a Sentinel that is down is passed over')
  await gate.make(of())
  const sentinel = new Redis(watcher.port, '127.0.0.1')
  t.ok(await until(async () => (await sentinel.call('SENTINEL', 'replicas', 'limits') as unknown[]).length === 1))
  await later(200)
  await master.kill()
  t.ok(await until(async () => gate.state('default') === 'share'), 'meanwhile each goes by its share')
  t.ok(await until(async () => gate.state('default') === 'shared', 15_000), 'and then with the new master')
  await gate.make(of())
  t.equal(await gate.used('default'), 2, 'nothing is forgotten')
  const now = new Redis(replica.url)
  t.match(await now.info('replication'), /role:master/)
  t.ok((await now.keys('narrowgate:*')).length > 3)
  await now.quit()
  sentinel.disconnect()
})

t.test('Cluster: the keys of one upstream are in one slot, and one master that is lost is lost for its upstreams only', { skip }, async t => {
  const masters: RedisServer[] = []
  for (let i = 0; i < 3; i++) masters.push(await RedisServer.start(['--cluster-enabled', 'yes', '--cluster-port', String(await freePort()), '--cluster-node-timeout', '1000', '--cluster-require-full-coverage', 'no']))
  t.teardown(async () => { for (const one of masters) await one.stop() })
  const admins = masters.map(one => new Redis(one.url))
  for (const [i, admin] of admins.entries()) {
    admin.on('error', () => {})
    await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    await admin.call('CLUSTER', 'ADDSLOTSRANGE', [0, 5461, 10923][i]!, [5460, 10922, 16383][i]!)
    if (i > 0) await admins[0]!.call('CLUSTER', 'MEET', '127.0.0.1', masters[i]!.port, (await admin.config('GET', 'cluster-port') as string[])[1]!)
  }
  t.teardown(() => { for (const admin of admins) admin.disconnect() })
  t.ok(await until(async () => (await Promise.all(admins.map(async admin => await admin.call('CLUSTER', 'INFO') as string))).every(text => text.includes('cluster_state:ok') && text.includes('cluster_known_nodes:3')), 15_000), 'the cluster stands')

  // One upstream for each master, whatever their slots are called.
  const slotOf = async (key: string): Promise<number> => await admins[0]!.call('CLUSTER', 'KEYSLOT', key) as number
  const upstreams: string[] = []
  for (let i = 0; upstreams.filter(name => name !== undefined).length < 3; i++) upstreams[Math.min(2, Math.floor(await slotOf(`narrowgate:{org${i}}`) / 5461.5))] ??= `org${i}`
  const gate = new Gate(t, { url: 'redis://nowhere.invalid:1', cluster: ['127.0.0.1:1', `127.0.0.1:${masters[1]!.port}`] })
  t.ok(await gate.shares(...upstreams), 'one node that is up is enough to find the others')
  for (const [i, name] of upstreams.entries()) {
    await gate.make(of(name))
    await gate.make(of(name))
    t.equal(await gate.used(name), 2)
    const keys = await admins[i]!.keys('*')
    t.ok(keys.length > 8, `${keys.length} keys`)
    t.strictSame([...new Set(await Promise.all(keys.map(slotOf)))].length, 1, 'in one slot')
    t.ok(keys.every(key => key.startsWith(`narrowgate:{${name}}`)))
  }
  await masters[2]!.kill()
  t.ok(await until(async () => gate.state(upstreams[2]!) === 'share'), 'this one\'s is lost')
  t.strictSame([gate.state(upstreams[0]!), gate.state(upstreams[1]!)], ['shared', 'shared'])
  await gate.make(of(upstreams[0]))
  t.equal(await gate.used(upstreams[0]!), 3)
  await gate.make(of(upstreams[2], 200))
  await masters[2]!.start()
  t.ok(await until(async () => gate.state(upstreams[2]!) === 'shared', 15_000), 'and comes back')
  t.equal(await gate.used(upstreams[2]!), 3, 'with what the gate had counted')
})
