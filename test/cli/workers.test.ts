import { spawn, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { parseEvent } from '../../src/audit/parse.js'
import { gateGauges, type GaugePlaces } from '../../src/server/gauges.js'
import { ACROSS } from '../../src/server/worker-metrics.js'
import { workerGauges } from '../../src/server/worker-status.js'
import type { Workers } from '../../src/server/workers.js'
import { ASSERTION_TYPE, athOf, makePair, proof, sign } from '../clients/tokens.js'
import { checkAuditFile } from '../support/audit-check.js'
import { client, configText, ENVIRONMENT, later, request, respond, startStub, until, writeFolder, type StubRequest } from '../support/gate.js'
import { RawClient, type RawAnswer } from '../support/raw-client.js'

const WORKERS = 3
/** Four processes on a machine that others use, too: nothing here is about how long it takes. */
const soon = async (test: () => boolean | Promise<boolean>): Promise<boolean> => await until(test, 60_000)
const own = makePair('ES256')
const dpop = makePair('ES256')
const stub = await startStub(t)
const flights = { now: 0, most: 0 }
let slow: (received: StubRequest) => number = () => 0
const writes: Array<{ readonly target: string, readonly at: number }> = []
stub.answer = ({ method, target }, socket) => {
  if (method !== 'GET') writes.push({ target, at: performance.now() })
  flights.most = Math.max(flights.most, ++flights.now)
  setTimeout(() => { flights.now--; socket.write(respond(200, '[]')) }, slow({ target } as StubRequest))
}

const rules = 'allow: [{ operation: listUsers }, { operation: listGroups, rateLimit: 7/min }, { operation: listApplications }, { operation: assignUserToGroup, rateLimit: 120/min }]'
const app = client('app', rules)
const bound = client('bound', 'allow: [{ operation: getGroup }]', ['privateKeyJwt: { jwks: { file: keys/bound.json }, dpop: required }'])
const options = {
  org: stub.origin,
  policies: { 'app.yaml': app.text, 'bound.yaml': bound.text, 'keys/bound.json': JSON.stringify({ keys: [own.jwk] }) },
  limits: "{ org: { /api/v1/users: 60, /api/v1/apps: 400, '*': 100000 }, concurrency: 100 }",
  audit: '{ sinks: [{ stdout: { format: ocsf } }, { file: { path: ./audit.jsonl, format: ocsf, chain: true, delivery: required } }] }'
}
const { configFile, folder, port, write } = await writeFolder(t, options)
write('narrowgate.yaml', `${configText(options, port)}workers: ${WORKERS}\n`)
const publicUrl = `http://127.0.0.1:${port}`

/** The gate as a process of its own, from the sources, with this process's loaders. */
const gate = await (async (): Promise<{ child: ChildProcess, adminUrl: string, log: () => string, out: () => string }> => {
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, main, 'serve', '-c', configFile], { env: { ...process.env, ...ENVIRONMENT }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let log = ''
  let out = ''
  child.stdout.on('data', chunk => { out += String(chunk) })
  const { adminUrl } = await new Promise<{ adminUrl: string }>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', line => {
      log += `${line}\n`
      if (line.includes('"listening"')) resolve(JSON.parse(line) as { adminUrl: string })
    })
    child.once('exit', code => { reject(new Error(`ended with ${code}: ${log}`)) })
  })
  return { child, adminUrl, log: () => log, out: () => out }
})()

/** One request on a connection of its own: whichever worker takes it. Made again when a machine under load lets it wait too long. */
async function ask (line: string, key: string | null = app.key, more: readonly string[] = [], body?: string): Promise<RawAnswer | undefined> {
  for (let attempt = 1; ; attempt++) {
    const connection = await RawClient.connect(port)
    connection.send(request(line, key ?? undefined, more, body))
    const answer = await connection.answer(60_000)
    connection.destroy()
    if (answer?.status !== 503 || attempt === 20) return answer
    await later(100)
  }
}
const many = async (count: number, line: (i: number) => string, body?: string): Promise<Record<string, number>> => {
  const statuses = await Promise.all(Array.from({ length: count }, async (_, i) => String((await ask(line(i), app.key, [], body))?.status)))
  return Object.fromEntries([...new Set(statuses)].map(status => [status, statuses.filter(one => one === status).length]))
}
const reached = (path: string): number => stub.requests.filter(({ target }) => target === path).length
interface Ready { status: string, lastLoad: { good: boolean }, workers: Array<{ worker: number, state: string, pid: number, snapshot: string, restarts: number }>, audit: { workers: Array<{ made: number }> } }
const ready = async (): Promise<Ready> => await (await fetch(`${gate.adminUrl}/readyz`)).json() as Ready
const metric = async (name: string): Promise<number> => Number(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(await (await fetch(`${gate.adminUrl}/metrics`)).text())?.[1])

t.test('the limits of all workers are one limit: of a bucket, of a rule, in flight', async t => {
  t.strictSame(await many(45, () => 'GET /api/v1/users'), { 200: 30, 429: 15 })
  t.strictSame(await many(45, () => 'GET /api/v1/users'), { 429: 45 })
  t.equal(reached('/api/v1/users'), 30, 'and no more has reached Okta')
  t.strictSame(await many(40, () => 'GET /api/v1/groups'), { 200: 7, 429: 33 })
  t.equal(reached('/api/v1/groups'), 7)
  t.equal((await ask('GET /api/v1/apps'))?.status, 200)
  slow = () => 300
  flights.most = 0
  const apps = await many(80, () => 'GET /api/v1/apps')
  slow = () => 0
  t.ok(flights.most <= 50, `${flights.most} in flight`)
  t.equal(reached('/api/v1/apps'), (apps[200] ?? 0) + 1)
  const { audit, workers } = await ready()
  t.equal(new Set(workers.map(({ pid }) => pid)).size, WORKERS)
  t.ok(audit.workers.every(({ made }) => made > 10), `each has served: ${audit.workers.map(({ made }) => made).join(' ')}`)
})

t.test('metrics are those of one gate', async t => {
  t.equal(await metric('narrowgate_requests_total{client="app",operation="listUsers",decision="allowed",reason=""}'), 30)
  t.equal(await metric('narrowgate_requests_total{client="app",operation="listUsers",decision="limited",reason="rate_limit"}'), 60)
  t.equal(await metric('narrowgate_bucket_used{upstream="default",bucket="/api/v1/users"}'), 30)
  t.equal(await metric('narrowgate_bucket_allowance{upstream="default",bucket="/api/v1/users"}'), 30)
  t.equal(await metric('narrowgate_okta_seconds_count'), stub.requests.length)
  t.equal(await metric('narrowgate_audit_healthy'), 1)
  t.equal(await metric('narrowgate_credential_available{upstream="default",credential="apiToken"}'), 1)
  t.equal(await metric('narrowgate_workers{state="ready"}'), WORKERS)
  const limits = await (await fetch(`${gate.adminUrl}/limits`)).json() as { upstreams: Array<{ buckets: Array<{ bucket: string, used: number }> }> }
  t.match(limits.upstreams[0]!.buckets.filter(({ bucket }) => bucket === '/api/v1/users'), [{ used: 30 }])
  const names = [...gateGauges({} as GaugePlaces), ...workerGauges({} as Workers)].map(({ name }) => name)
  t.strictSame(names.filter(name => ACROSS[name] === undefined), [], 'how each gauge of several processes makes one has been decided')
})

t.test('one token for all, and what may be used once is used once', async t => {
  const tokenUrl = `${publicUrl}/oauth2/v1/token`
  const seconds = (): number => Math.floor(Date.now() / 1000)
  const form = async (jti: string): Promise<string> => new URLSearchParams({ grant_type: 'client_credentials', scope: 'okta.users.read', client_assertion_type: ASSERTION_TYPE, client_assertion: await sign(own, { iss: 'bound', sub: 'bound', aud: tokenUrl, exp: seconds() + 300, jti }) }).toString()
  const post = async (body: string, made: string): Promise<RawAnswer | undefined> => await ask('POST /oauth2/v1/token', null, ['Content-Type: application/x-www-form-urlencoded', `DPoP: ${made}`], body)
  const nonce = (await post(await form(randomUUID()), await proof(dpop, { htu: tokenUrl, iat: seconds() })))?.header('dpop-nonce')
  // One assertion, shown to all workers at once, each time with a proof of its own: one token comes of it.
  const body = await form(randomUUID())
  const made = await Promise.all(Array.from({ length: 6 }, async () => await proof(dpop, { htu: tokenUrl, iat: seconds(), nonce })))
  const answers = await Promise.all(made.map(async one => await post(body, one)))
  t.strictSame(answers.map(answer => answer?.status).sort(), [200, 401, 401, 401, 401, 401], 'the nonce of one worker is good at the others; the assertion is good once')
  const token = (JSON.parse(answers.find(answer => answer?.status === 200)!.text) as { access_token: string }).access_token
  const call = async (one: string): Promise<number | undefined> => (await ask('GET /api/v1/groups/g1', null, [`Authorization: DPoP ${token}`, `DPoP: ${one}`]))?.status
  const prove = async (): Promise<string> => await proof(dpop, { htm: 'GET', htu: `${publicUrl}/api/v1/groups/g1`, iat: seconds(), ath: athOf(token) })
  const fresh = await Promise.all(Array.from({ length: 2 * WORKERS }, prove))
  t.ok((await Promise.all(fresh.map(call))).every(status => status === 200), 'the token of one worker is good at all')
  const again = await prove()
  t.strictSame((await Promise.all(Array.from({ length: 6 }, async () => await call(again)))).sort(), [200, 401, 401, 401, 401, 401], 'a proof is good once')
})

t.test('guessing is slowed by what all workers have seen', async t => {
  const statuses = await Promise.all(Array.from({ length: 60 }, async () => (await ask('GET /api/v1/users', client('other', '').key))?.status))
  // Up to 30 cost nothing, and then it doubles from a second on: counted apart, no worker would have slowed down.
  t.ok(statuses.filter(status => status === 429).length >= 20, `${statuses.filter(status => status === 429).length} of 60`)
  t.equal((await ask('GET /api/v1/apps'))?.status, 200, 'a valid key passes')
})

t.test('one reload: all workers swap, or none', async t => {
  const sameSnapshot = async (): Promise<string | undefined> => {
    const found = new Set((await ready()).workers.map(({ snapshot }) => snapshot))
    return found.size === 1 ? [...found][0] : undefined
  }
  const before = await sameSnapshot()
  t.match(before, /^[0-9a-f]{12}$/)
  write('policies/app.yaml', app.text.replace('{ operation: listApplications }, ', ''))
  gate.child.kill('SIGHUP')
  t.ok(await soon(async () => { const now = await sameSnapshot(); return now !== undefined && now !== before }))
  t.strictSame(await many(9, () => 'GET /api/v1/apps'), { 403: 9 }, 'each refuses what was taken away')
  const after = await sameSnapshot()
  write('policies/app.yaml', app.text.replace('listUsers', 'listUser'))
  gate.child.kill('SIGHUP')
  t.ok(await soon(async () => !(await ready()).lastLoad.good), 'a bad change is noticed')
  t.equal(await sameSnapshot(), after, 'and changes nothing anywhere')
  t.equal((await ready()).status, 'ready')
  write('policies/app.yaml', app.text)
  t.ok(await soon(async () => await sameSnapshot() === before), 'mended')
  t.strictSame(await many(9, () => 'GET /api/v1/apps'), { 200: 9 })
})

/** What the audit files of all workers say of writes: intents and how each ended, by path. */
function outcomes (): { intents: Set<string>, ends: Map<string, string> } {
  const intents = new Set<string>()
  const ends = new Map<string, string>()
  for (let worker = 1; worker <= WORKERS; worker++) {
    for (const line of readFileSync(join(folder, `audit.${worker}.jsonl`), 'utf8').split('\n')) {
      const event = parseEvent(line)
      if (event?.method !== 'PUT' || event.path === undefined) continue
      if (event.phase === 'intent') intents.add(event.path)
      else if (event.phase === undefined) ends.set(event.path, event.outcome)
    }
  }
  return { intents, ends }
}

t.test('a worker that is killed: no write is lost, no limit is passed, another takes its place', async t => {
  slow = ({ target }) => target.includes('/users/w') ? 20 : 0
  const { workers: [, victim] } = await ready()
  const before = await metric('narrowgate_requests_total{client="app",operation="listUsers",decision="allowed",reason=""}')
  const run = { on: true, made: 0 }
  const writing = Array.from({ length: 12 }, async () => {
    while (run.on) {
      const answer = await ask(`PUT /api/v1/groups/g1/users/w${++run.made}`, app.key, [], '').catch(() => undefined)
      if (answer?.status === 429) await later(20)
    }
  })
  t.ok(await soon(() => writes.length >= 40))
  process.kill(victim!.pid, 'SIGKILL')
  t.ok(await soon(async () => { const { status, workers } = await ready(); return status === 'ready' && workers[1]!.pid !== victim!.pid }), 'all are there again')
  run.on = false
  await Promise.all(writing)
  slow = () => 0
  const { intents, ends } = outcomes()
  const paths = writes.map(({ target }) => target)
  t.strictSame(paths.filter(path => !intents.has(path)), [], `each of ${paths.length} writes that reached Okta was on the disk before`)
  t.strictSame(paths.filter(path => !ends.has(path)), [], 'and has an end')
  t.comment(`${[...ends.values()].filter(end => end === 'unknown').length} ends are unknown`)
  const worst = Math.max(...writes.map(({ at }) => writes.filter(other => other.at >= at && other.at < at + 60_000).length))
  t.ok(worst <= 120, `${worst} writes in the worst minute`)
  t.equal((await ready()).workers[1]!.restarts, 1)
  t.equal(await metric('narrowgate_worker_restarts'), 1)
  t.match(gate.log(), /a worker has ended: another one takes its place/)
  t.equal(await metric('narrowgate_requests_total{client="app",operation="listUsers",decision="allowed",reason=""}'), before, 'what it had counted stays counted')
  const inFlight = await metric('narrowgate_in_flight{upstream="default"}')
  t.equal(inFlight, 0, 'its calls hold no place in flight')
})

t.test('SIGTERM: all workers finish what is in flight, and nothing of the log is lost', async t => {
  stub.requests.length = 0
  let finish: Array<() => void> = []
  stub.answer = (_, socket) => { finish.push(() => { socket.write(respond(200, '{"late":true}')) }) }
  const busy = await Promise.all(Array.from({ length: 2 * WORKERS }, async () => await RawClient.connect(port)))
  for (const connection of busy) connection.send(request('GET /api/v1/apps', app.key))
  t.ok(await soon(() => stub.requests.length === busy.length))
  gate.child.kill('SIGTERM')
  t.ok(await soon(async () => (await fetch(`${gate.adminUrl}/readyz`)).status === 503), '/readyz says 503 while they drain')
  t.ok(await soon(async () => await RawClient.connect(port).then(one => { one.destroy(); return false }, () => true)), 'no new connection is taken')
  await later(100)
  t.equal(gate.child.exitCode, null)
  finish.forEach(run => { run() })
  finish = []
  const answers = await Promise.all(busy.map(async connection => await connection.answer()))
  t.ok(answers.every(answer => answer?.text === '{"late":true}'), 'what was in flight is answered')
  const [code] = gate.child.exitCode === null ? await once(gate.child, 'exit') as [number] : [gate.child.exitCode]
  t.equal(code, 0)
  t.match(gate.log(), /drained/)
  const lines = gate.out().trimEnd().split('\n')
  const ids = new Set(lines.flatMap(line => { const event = parseEvent(line); return event === undefined ? [] : [event.id] }))
  t.ok(lines.every(line => { try { JSON.parse(line); return true } catch { return false } }), `${lines.length} lines of standard output, all whole`)
  for (let worker = 1; worker <= WORKERS; worker++) {
    const file = join(folder, `audit.${worker}.jsonl`)
    await checkAuditFile(file)
    const missing = readFileSync(file, 'utf8').split('\n').map(line => parseEvent(line)).filter(event => event !== undefined && event.phase === undefined && !ids.has(event.id))
    t.equal(missing.length, 0, 'each event is in both sinks')
  }
})
