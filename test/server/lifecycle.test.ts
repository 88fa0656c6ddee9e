import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { PatientLines } from '../../src/cli/operators-log.js'
import { LoadFault } from '../../src/server/usable.js'
import { client, ENVIRONMENT, later, request, respond, startRig, startStub, until, writeFolder, type Rig } from '../support/gate.js'
import { RawClient } from '../support/raw-client.js'
import { makeCertificate } from '../upstream/certificates.js'

const stub = await startStub(t)
const usual = stub.answer
const app = client('app', 'allow: [{ operation: listUsers }]')
const LIST = 'GET /api/v1/users'
const GROUPS = 'GET /api/v1/groups'
const withGroups = app.text.replace('{ operation: listUsers }', '{ operation: listUsers }, { operation: listGroups }')
const status = async (rig: Rig, line: string): Promise<number> => (await rig.ask(request(line, app.key))).status
const ready = async (rig: Rig): Promise<{ status: string, lastLoad: { good: boolean, problems: string[] } }> => JSON.parse((await rig.admin('/readyz')).text)
const reloads = async (rig: Rig, result: string): Promise<number> => Number(new RegExp(`narrowgate_reloads\\{result="${result}"\\} (\\d+)`).exec((await rig.admin('/metrics')).text)?.[1])

const certificate = makeCertificate({ commonName: 'gate', names: ['127.0.0.1'] })
const TLS = { listen: 'tls: { cert: { file: cert.pem }, key: { file: key.pem } }', files: { 'cert.pem': certificate.cert, 'key.pem': certificate.key } }
// Handshakes that are never finished, looked at in the end: they have ten seconds. Half of them say nothing, the others begin a record.
const secure = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text }, ...TLS })
const unfinished = Array.from({ length: 6 }, (_, n) => {
  const socket = connect({ port: secure.port, host: '127.0.0.1' })
  socket.on('error', () => {}).resume()
  if (n % 2 === 1) socket.write('\x16\x03\x01')
  return socket
})

t.test('a changed policy file takes effect by itself, in both directions', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  t.equal(await status(rig, GROUPS), 403)
  rig.write('policies/app.yaml', withGroups)
  t.ok(await until(async () => await status(rig, GROUPS) === 200), 'allowed')
  rig.write('policies/app.yaml', app.text)
  t.ok(await until(async () => await status(rig, GROUPS) === 403), 'and taken away again')
  const other = client('other', 'allow: [{ operation: listUsers }]')
  rig.write('policies/other.yaml', other.text)
  t.ok(await until(async () => (await rig.ask(request(LIST, other.key))).status === 200), 'a new client')
  rmSync(join(rig.folder, 'policies/other.yaml'))
  t.ok(await until(async () => (await rig.ask(request(LIST, other.key))).status === 401), 'a client that is gone')
  const config = readFileSync(rig.configFile, 'utf8')
  rig.write('narrowgate.yaml', config.replace(/listen: \{/, 'listen: { bodyLimitBytes: 1024,'))
  t.ok(await until(async () => rig.gate.snapshot.bodyLimitBytes === 1024), 'the config itself')
})

t.test('Kubernetes swaps a symbolic link: the gate sees it', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: {} }).catch(error => error as LoadFault)
  t.ok(rig instanceof LoadFault, 'a gate without a policy does not start')
  const { folder, configFile } = await writeFolder(t, { org: stub.origin, policies: {} })
  const mount = (name: string, text: string): void => { mkdirSync(join(folder, 'policies', name), { recursive: true }); writeFileSync(join(folder, 'policies', name, 'app.yaml'), text) }
  mount('..2026_1', app.text)
  symlinkSync('..2026_1', join(folder, 'policies/..data'))
  symlinkSync('..data/app.yaml', join(folder, 'policies/app.yaml'))
  const { startGate } = await import('../../src/server/start.js')
  const { pino } = await import('pino')
  const gate = await startGate({ configFile, environment: ENVIRONMENT, log: pino({ level: 'silent' }) })
  t.teardown(() => gate.drain(500))
  const first = gate.snapshot.hash
  mount('..2026_2', withGroups)
  symlinkSync('..2026_2', join(folder, 'policies/..tmp'))
  renameSync(join(folder, 'policies/..tmp'), join(folder, 'policies/..data'))
  rmSync(join(folder, 'policies/..2026_1'), { recursive: true })
  t.ok(await until(() => gate.snapshot.hash !== first))
  const connection = await RawClient.connect(Number(new URL(gate.url).port))
  connection.send(request(GROUPS, app.key))
  t.equal((await connection.answer())?.status, 200)
  connection.destroy()
})

t.test('a bad change is reported and ignored', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text }, pollMs: 200 })
  const bad: readonly (readonly [string, string, string, RegExp])[] = [
    ['half-written', 'policies/app.yaml', app.text.slice(0, 60), /app\.yaml/],
    ['an unknown key', 'policies/app.yaml', `${app.text}\nallows: []\n`, /app\.yaml:\d+:\d+.*allows/],
    ['an unknown operation', 'policies/app.yaml', app.text.replace('listUsers', 'listUser'), /app\.yaml:\d+:\d+.*listUsers/],
    ['a duplicate client', 'policies/copy.yaml', app.text, /copy\.yaml:\d+:\d+|app\.yaml:\d+:\d+/],
    ['an empty file', 'policies/app.yaml', '', /app\.yaml/],
    ['a failing test', 'policies/app.yaml', `${app.text}tests: [{ deny: GET /api/v1/users }]\n`, /app\.yaml:\d+:\d+/],
    ['a config with an unknown key', 'narrowgate.yaml', `${readFileSync(rig.configFile, 'utf8')}\nfoo: 1\n`, /narrowgate\.yaml:\d+:\d+.*foo/],
    ['a config that is none', 'narrowgate.yaml', ']', /narrowgate\.yaml:\d+:\d+/],
    ['a secret written out', 'narrowgate.yaml', readFileSync(rig.configFile, 'utf8').replace('{ env: UPSTREAM_TOKEN }', '00PLANTEDsecretTOKEN'), /narrowgate\.yaml:\d+:\d+/]
  ]
  for (const [name, path, text, problem] of bad) {
    const before = await reloads(rig, 'refused')
    const good = path === 'policies/copy.yaml' ? undefined : readFileSync(join(rig.folder, path), 'utf8')
    rig.write(path, text)
    t.ok(await until(async () => !(await ready(rig)).lastLoad.good), `${name}: noticed`)
    const { status: state, lastLoad } = await ready(rig)
    t.equal(state, 'ready', `${name}: the gate goes on`)
    t.ok(lastLoad.problems.some(text => problem.test(text)), `${name}: ${lastLoad.problems[0]}`)
    t.ok(await reloads(rig, 'refused') > before, `${name}: counted`)
    t.equal(await status(rig, LIST), 200, name)
    t.equal(await status(rig, GROUPS), 403, name)
    if (good === undefined) rmSync(join(rig.folder, path))
    else rig.write(path, good)
    t.ok(await until(async () => (await ready(rig)).lastLoad.good), `${name}: mended`)
  }
  t.match(rig.log(), /stays in force/)
  t.notMatch(rig.log() + JSON.stringify(await ready(rig)), /PLANTED/)
})

t.test('twenty reloads under load drop no request', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  stub.answer = (_, socket) => { setTimeout(() => socket.write(respond(200)), 5) }
  const run = { on: true }
  const seen: Record<string, number> = {}
  const loops = Array.from({ length: 8 }, async () => {
    const connection = await rig.open()
    while (run.on) {
      connection.send(request(LIST, app.key))
      const answer = await connection.answer()
      const key = String(answer?.status)
      seen[key] = (seen[key] ?? 0) + 1
    }
    connection.destroy()
  })
  let swapped = 0
  for (let i = 0; i < 20; i++) {
    rig.write('policies/app.yaml', i % 4 === 3 ? 'broken' : i % 2 === 0 ? withGroups : `${app.text}# ${i}\n`)
    if ((await rig.gate.reload()).swapped) swapped++
  }
  run.on = false
  await Promise.all(loops)
  stub.answer = usual
  t.ok(swapped >= 10, `${swapped} swaps`)
  t.same(Object.keys(seen), ['200'], `${seen['200']} requests, all answered`)
  t.equal((await rig.events(seen['200']!)).length, seen['200'])
})

t.test('the operators\' listener', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  t.equal(await status(rig, LIST), 200)
  t.equal(await status(rig, GROUPS), 403)
  const live = await rig.admin('/livez')
  t.equal(`${live.status} ${live.text}`, '200 {"status":"live"}')
  t.match(JSON.parse((await rig.admin('/readyz')).text), { status: 'ready', draining: false, snapshot: { clients: 1, hash: /^[0-9a-f]{12}$/ }, credentials: [{ upstream: 'default', kind: 'apiToken', available: true }], audit: { healthy: true } })
  t.equal((await rig.admin('/api/v1/users')).status, 404, 'no client path')
  t.equal((await rig.ask(request('GET /metrics', app.key))).status, 403, 'and no operators\' path on the clients\' listener')
  const metrics = (await rig.admin('/metrics')).text
  for (const name of ['narrowgate_requests_total', 'narrowgate_gate_seconds_bucket', 'narrowgate_okta_seconds_bucket', 'narrowgate_bucket_allowance', 'narrowgate_bucket_used', 'narrowgate_credential_available', 'narrowgate_credential_expires_timestamp_seconds', 'narrowgate_snapshot_timestamp_seconds', 'narrowgate_audit_healthy', 'narrowgate_process_cpu_seconds_total']) t.match(metrics, new RegExp(`^${name}`, 'm'), name)
  t.match(metrics, /narrowgate_requests_total\{client="app",operation="listGroups",decision="refused",reason="no_rule"\} 1\n/)
})

t.test('the clients\' listener speaks TLS, and only HTTP/1.1 over it', async t => {
  const rig = await startRig(t, { org: stub.origin, policies: { 'app.yaml': app.text }, ...TLS })
  const ask = async (options: object): Promise<number | string> => await new Promise(resolve => {
    httpsRequest({ host: '127.0.0.1', port: rig.port, path: '/api/v1/users', headers: { authorization: `SSWS ${app.key}` }, ca: certificate.cert, agent: false, ...options }, answer => { answer.resume(); resolve(answer.statusCode!) })
      .on('error', error => resolve((error as NodeJS.ErrnoException).code ?? 'error')).end()
  })
  t.equal(await ask({}), 200)
  t.match(String(await ask({ maxVersion: 'TLSv1.1', minVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })), /^E/, 'no TLS 1.1')
  t.match(await rig.events(1), [{ outcome: 'allowed', client: 'app' }])

  stub.requests.length = 0
  stub.answer = (_, socket) => { setTimeout(() => { socket.write(respond(200)) }, 300) }
  const silent = connect({ port: rig.port, host: '127.0.0.1' })
  const unused = connectTls({ port: rig.port, host: '127.0.0.1', ca: certificate.cert })
  await Promise.all([once(silent, 'connect'), once(unused, 'secureConnect')])
  const asked = ask({})
  t.ok(await until(() => stub.requests.length === 1))
  if (existsSync('/proc/net/tcp')) {
    // proc(5): local address, remote address, state (01: established), queues, timer (00: none; 02: keep-alive).
    const port = rig.port.toString(16).toUpperCase().padStart(4, '0')
    const timers = [...readFileSync('/proc/net/tcp', 'utf8').matchAll(new RegExp(`^ *\\d+: \\w+:${port} \\w+:\\w+ 01 \\w+:\\w+ (\\w+):`, 'gm'))].map(found => found[1])
    t.equal(timers.length, 3)
    t.notOk(timers.includes('00'), 'each connection is asked now and then whether its peer lives')
  }
  const [ended] = await Promise.all([Promise.all([once(silent, 'close'), once(unused, 'close')]), rig.gate.drain()])
  t.equal(ended.length, 2, 'what has brought no request, or not even a handshake, does not hold up the end')
  t.equal(await asked, 200, 'what is in flight is finished')
  stub.answer = usual
})

/** `narrowgate serve` as a process of its own, from the sources, with this process's loaders. */
async function serve (configFile: string): Promise<{ child: ChildProcess, url: string, adminUrl: string, log: () => string }> {
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, main, 'serve', '-c', configFile], { env: { ...process.env, ...ENVIRONMENT }, stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let log = ''
  const listening = await new Promise<{ url: string, adminUrl: string }>((resolve, reject) => {
    createInterface({ input: child.stderr! }).on('line', line => {
      log += `${line}\n`
      if (line.includes('"listening"')) resolve(JSON.parse(line))
    })
    child.once('exit', code => { reject(new Error(`ended with ${code}: ${log}`)) })
  })
  return { child, ...listening, log: () => log }
}

t.test('SIGHUP reloads, SIGUSR2 switches the log level, SIGTERM drains: the process finishes what is in flight and exits with 0', async t => {
  const { configFile, write, folder } = await writeFolder(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  const { child, url, adminUrl, log } = await serve(configFile)
  const port = Number(new URL(url).port)
  const ask = async (line: string): Promise<number | undefined> => {
    const connection = await RawClient.connect(port)
    connection.send(request(line, app.key))
    const answer = await connection.answer()
    connection.destroy()
    return answer?.status
  }
  t.equal(await ask(GROUPS), 403)
  t.ok(await until(() => existsSync(join(folder, 'audit.jsonl'))))
  renameSync(join(folder, 'audit.jsonl'), join(folder, 'audit.jsonl.1'))
  write('policies/app.yaml', withGroups)
  child.kill('SIGHUP')
  t.ok(await until(async () => await ask(GROUPS) === 200), 'SIGHUP')
  t.ok(await until(async () => await ask(GROUPS) === 200 && existsSync(join(folder, 'audit.jsonl')) && readFileSync(join(folder, 'audit.jsonl'), 'utf8').includes('listGroups')), 'and opens a rotated audit file anew')

  for (const level of ['debug', 'info']) {
    child.kill('SIGUSR2')
    t.ok(await until(() => log().includes(`"level":"${level}","msg":"log level changed"`)), level)
  }
  await later(200)
  t.equal(await ask(GROUPS), 200, 'and the gate goes on')
  t.notMatch(log(), /draining/)

  stub.requests.length = 0
  let finish: () => void = () => {}
  stub.answer = (_, socket) => { finish = () => { socket.write(respond(200, '{"late":true}')) } }
  const idle = await RawClient.connect(port)
  const busy = await RawClient.connect(port)
  busy.send(request(LIST, app.key))
  t.ok(await until(() => stub.requests.length === 1))
  child.kill('SIGTERM')
  t.ok(await until(async () => (await fetch(`${adminUrl}/readyz`)).status === 503), '/readyz says 503 while it drains')
  t.ok(await idle.ends(), 'idle connections are closed')
  await t.rejects(RawClient.connect(port), 'no new connection is taken')
  t.equal(child.exitCode, null)
  await later(200)
  finish()
  const last = await busy.answer()
  t.equal(last?.text, '{"late":true}', 'what was in flight is answered')
  t.equal(last?.header('connection'), 'close', 'and told that the connection ends')
  const [code] = child.exitCode === null ? await once(child, 'exit') as [number] : [child.exitCode]
  t.equal(code, 0)
  t.match(log(), /drained/)
  stub.answer = usual
  const audit = readFileSync(join(folder, 'audit.jsonl'), 'utf8').trimEnd().split('\n').map(line => JSON.parse(line) as { operation: string, outcome: string })
  t.match(audit.at(-1), { operation: 'listUsers', outcome: 'allowed' }, 'and recorded')
})

t.test('the operators\' log neither waits nor fails when nobody takes it', async t => {
  const timers: (() => void)[] = []
  let taken = ''
  let room = 20
  const lines = new PatientLines(bytes => {
    if (room === 0) throw new Error('EAGAIN')
    const part = bytes.subarray(0, room)
    room -= part.length
    taken += part.toString()
    return part.length
  }, run => { timers.push(run) }, lost => `lost ${lost}\n`)
  lines.write('first line\n')
  lines.write('second line\n')
  t.equal(taken, 'first line\nsecond li', 'as much as there is room for')
  const wide = `${'x'.repeat(9_999)}\n`
  for (let n = 0; n < 10; n++) lines.write(wide)
  t.equal(timers.length, 1)
  room = 5
  timers.shift()!()
  room = 100_000
  timers.shift()!()
  t.equal(taken, `first line\nsecond line\n${wide.repeat(6)}lost 4\n`, 'whole lines in order, and how many are missing')
  lines.write('third line\n')
  t.match(taken, /\nthird line\n$/)
  t.equal(timers.length, 0)
})

t.test('where verification is turned off, nothing starts', async t => {
  const { configFile } = await writeFolder(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
  const { status, stderr } = spawnSync(process.execPath, [...process.execArgv, main, 'serve', '-c', configFile], { env: { ...process.env, ...ENVIRONMENT, NODE_TLS_REJECT_UNAUTHORIZED: '0' }, encoding: 'utf8', timeout: 60_000 })
  t.equal(status, 2)
  t.match(stderr, /not started: NODE_TLS_REJECT_UNAUTHORIZED=0 is set.*unset it/)
})

t.test('a full disk under the operators\' log does not end the process', { skip: !existsSync('/dev/full') }, async t => {
  const { configFile, port } = await writeFolder(t, { org: stub.origin, policies: { 'app.yaml': app.text } })
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, main, 'serve', '-c', configFile], { env: { ...process.env, ...ENVIRONMENT }, stdio: ['ignore', 'ignore', openSync('/dev/full', 'w')] })
  t.teardown(() => { child.kill('SIGKILL') })
  const ask = async (): Promise<number | undefined> => {
    const connection = await RawClient.connect(port)
    connection.send(request(LIST, app.key))
    const answer = await connection.answer()
    connection.destroy()
    return answer?.status
  }
  t.ok(await until(async () => child.exitCode !== null || await ask().catch(() => undefined) === 200, 30_000))
  t.equal(child.exitCode, null)
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit') as [number]
  t.equal(code, 0)
})

t.test('a handshake that is never finished has ten seconds', async t => {
  t.ok(await until(() => unfinished.every(({ destroyed }) => destroyed), 20_000))
  t.same(await secure.events(0), [], 'nothing has been asked, so there is no event')
})
