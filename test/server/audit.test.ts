import { execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import t from 'tap'
import { createAuditLog } from '../../src/audit/log.js'
import type { AuditEvent } from '../../src/domain/event.js'
import { Exchange } from '../../src/domain/exchange.js'
import { parseEvent } from '../../src/audit/parse.js'
import { verify } from '../../src/audit/verify.js'
import { LongRequests } from '../../src/server/long-requests.js'
import type { GateExchange } from '../../src/server/stages.js'
import { narrowgate } from '../cli/shell.js'
import { filesOf, ocsfProblem } from '../support/audit-check.js'
import { client, ENVIRONMENT, later, request, respond, startRig, startStub, until, writeFolder, type Rig } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'
import { auditFiles, killRounds, readOutcomes, startUpstream } from '../support/kill-rounds.mjs'
import { Sweep } from '../support/sweep.js'

const stub = await startStub(t)
const app = client('app', 'allow: [{ operation: listUsers }, { operation: getUser }, { operation: deactivateUser }, { operation: createUser }]')
const policies = { 'app.yaml': app.text }
const GET = 'GET /api/v1/users'
const POST = (id: string): string => `POST /api/v1/users/${id}/lifecycle/deactivate`
const ask = async (rig: Rig, line: string): Promise<number> => (await rig.ask(request(line, app.key))).status
const eventsOf = (path: string): AuditEvent[] => readFileSync(path, 'utf8').split('\n').flatMap(text => parseEvent(text) ?? [])
interface Sinks { healthy: boolean, made: number, sinks: Array<{ name: string, made: number, written: number, spooled: number, dropped: number }> }
const auditOf = async (rig: Rig): Promise<Sinks> => JSON.parse((await rig.admin('/readyz')).text).audit
/** said, so that no default can make these tests say nothing */
const ALL = 'format: ocsf, chain: true, delivery: required'
const keyText = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string

t.test('a write is on the disk before it is forwarded, and its outcome follows under the same id', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, files: { 'key.pem': keyText }, audit: `{ key: { file: key.pem }, sinks: [{ file: { path: ./audit-ocsf.jsonl, ${ALL} } }] }` })
  const path = join(rig.folder, 'audit-ocsf.jsonl')
  let then = ''
  const usual = stub.answer
  stub.answer = ({ method }, socket) => { if (method === 'POST') then = readFileSync(path, 'utf8'); socket.write(respond(200, '{}', ['X-Okta-Request-Id: okta-1'])) }
  t.equal(await ask(rig, POST('00u1abcdefghijklmnop')), 200)
  stub.answer = usual
  const before = then.split('\n').flatMap(text => parseEvent(text) ?? [])
  t.match(before, [{ phase: 'intent', outcome: 'pending', operation: 'deactivateUser', client: 'app', resources: [{ kind: 'user', id: '00u1abcdefghijklmnop' }] }], 'when Okta had it')
  t.equal(await ask(rig, GET), 200)
  t.equal(await ask(rig, 'POST /api/v1/groups'), 403)
  t.ok(await until(() => eventsOf(path).length === 4))
  const { id } = before[0]!
  t.match(eventsOf(path), [{ id, phase: 'intent' }, { id, outcome: 'allowed', oktaRequestId: 'okta-1' }, { operation: 'listUsers' }, { outcome: 'refused' }], 'a read and a refused write have one event')
  const audit = await auditOf(rig)
  t.match(audit, { healthy: true, made: 4, sinks: [{ made: 4, written: 4, spooled: 0, dropped: 0 }] })
})

t.test('an answer ends behind its line in the file, with many in one turn of the loop, too', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, audit: '{ sinks: [{ file: { path: ./audit.jsonl } }] }' })
  const path = join(rig.folder, 'audit.jsonl')
  const { end } = ServerResponse.prototype
  const ends: { ended: number, recorded: number }[] = []
  t.teardown(() => { ServerResponse.prototype.end = end })
  ServerResponse.prototype.end = function (this: ServerResponse, ...parts: unknown[]) {
    ends.push({ ended: ends.length + 1, recorded: eventsOf(path).length })
    return (end as (...parts: unknown[]) => ServerResponse).apply(this, parts)
  } as typeof end
  for (let i = 0; i < 5; i++) t.same(await Promise.all(Array.from({ length: 10 }, () => ask(rig, GET))), Array.from({ length: 10 }, () => 200))
  ServerResponse.prototype.end = end
  t.equal(ends.length, 50)
  t.same(ends.filter(({ ended, recorded }) => recorded < ended), [])
})

t.test('a full disk: no write goes un-audited, reads go on, and it recovers by itself', { skip: !canMount() }, async t => {
  const { folder } = await writeFolder(t, { org: stub.origin, policies })
  const small = join(folder, 'small')
  mkdirSync(small)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', small])
  t.teardown(() => { execFileSync('umount', ['-l', small]) })
  const rig = await startRig(t, { org: stub.origin, policies, audit: `{ sinks: [{ file: { path: ${small}/audit.jsonl, ${ALL} } }] }` })
  t.equal(await ask(rig, POST('00u1')), 200)
  try { for (;;) writeFileSync(join(small, 'filler'), Buffer.alloc(4096), { flag: 'a' }) } catch { /* full */ }
  const before = stub.requests.length
  const statuses: number[] = []
  for (let i = 0; i < 30; i++) statuses.push(await ask(rig, POST(`full${i}`)))
  const refused = statuses.filter(status => status === 503).length
  t.ok(refused > 20, `${refused} of 30 refused`)
  const forwarded = stub.requests.slice(before).filter(({ method }) => method === 'POST').map(({ target }) => target)
  t.equal(forwarded.length, 30 - refused)
  const written = eventsOf(`${small}/audit.jsonl`)
  for (const target of forwarded) t.ok(written.some(({ phase, path }) => phase === 'intent' && path === target), `${target} has its intent`)
  t.equal(await ask(rig, GET), 200, 'a read')
  t.equal((await auditOf(rig)).healthy, false)
  rmSync(join(small, 'filler'))
  t.ok(await until(async () => await ask(rig, POST('00u2')) === 200), 'recovered')
  t.ok(await until(async () => (await auditOf(rig)).sinks[0]!.spooled === 0))
  const { made, sinks: [sink] } = await auditOf(rig)
  t.match(sink, { made, written: made, dropped: 0 })
  t.equal(eventsOf(`${small}/audit.jsonl`).length, made, 'the refusals are on record, too')
  t.same((await verify(filesOf(`${small}/audit.jsonl`), {})).findings, [])
})

t.test('kill -9 under writes: what reached Okta has its intent, what has no end is unknown, the chain holds', async t => {
  const upstream = await startUpstream()
  t.teardown(() => { upstream.close() })
  const { configFile, folder } = await writeFolder(t, { org: upstream.origin, policies, audit: `{ sinks: [{ file: { path: ./audit.jsonl, ${ALL}, rotate: { maxBytes: 262144 } } }] }` })
  const start = async (): Promise<{ url: string, child: ReturnType<typeof spawn> }> => await serve(configFile)
  const { answered } = await killRounds({ start, key: app.key, rounds: 1, loadMs: 1500, perSecond: 300 })
  t.ok(answered > 50, `${answered} writes were answered`)
  const last = await serve(configFile)
  const ended = new Promise(resolve => last.child.once('exit', resolve))
  last.child.kill('SIGTERM')
  await ended
  const files = auditFiles(folder, 'audit.jsonl')
  t.same((await verify(filesOf(...files), {})).findings, [], `${files.length} files`)
  const { intents, ends } = await readOutcomes(files)
  const paths = new Set(intents.values())
  t.same([...upstream.received].filter(path => !paths.has(path)), [], `${upstream.received.size} writes reached Okta`)
  t.same([...intents.keys()].filter(id => !ends.has(id)), [], 'each intent has an end')
  t.ok([...ends.values()].includes('unknown'), `${[...ends.values()].filter(outcome => outcome === 'unknown').length} ends are unknown`)
})

t.test('a collector that is down is spooled for, and gets everything in order when it is back', async t => {
  let status = 503
  const got: string[] = []
  const collector = createServer((incoming, answer) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => { chunks.push(chunk) }).on('end', () => {
      if (status === 200) got.push(...gunzipSync(Buffer.concat(chunks)).toString().trim().split('\n'))
      answer.writeHead(status).end()
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => collector.close())
  await new Promise(resolve => collector.once('listening', resolve))
  const rig = await startRig(t, {
    org: stub.origin,
    policies,
    files: { 'key.pem': keyText, hmac: 'hmac-CANARY-key' },
    audit: `{ key: { file: key.pem }, sinks: [{ file: { path: ./audit-ocsf.jsonl, ${ALL} } }, { https: { url: 'http://127.0.0.1:${(collector.address() as AddressInfo).port}/in', hmacKey: { file: hmac }, format: ocsf, delivery: required } }] }`
  })
  for (let i = 0; i < 40; i++) t.equal(await ask(rig, i % 2 === 0 ? GET : POST(`00u${i}`)), 200)
  const [, sink] = (await auditOf(rig)).sinks
  // the first line of the file's chain is an anchor for the collector
  t.match(sink, { made: 61, written: 0, spooled: 61, dropped: 0, collector: 'HTTP 503' })
  t.match((await rig.admin('/metrics')).text, /narrowgate_audit_events\{sink="https 127\.0\.0\.1:\d+",state="spooled"\} 61/)
  t.ok(await until(() => /"why":"HTTP 503","msg":"the collector takes nothing: audit lines wait on the disk"/.test(rig.log())), 'and the log says so')
  status = 200
  t.ok(await until(async () => (await auditOf(rig)).sinks[1]!.spooled === 0))
  t.ok(await until(() => /the collector takes audit lines again/.test(rig.log())))
  const events = got.flatMap(text => parseEvent(text) ?? [])
  t.equal(new Set(events.map(({ id, phase }) => `${id} ${phase}`)).size, 60)
  t.same(events.map(({ id }) => id), eventsOf(join(rig.folder, 'audit-ocsf.jsonl')).map(({ id }) => id), 'in the order of the file')
})

t.test('a full spool refuses writes, then reads, and loses nothing', async t => {
  let status = 503
  const got: AuditEvent[] = []
  const collector = createServer((incoming, answer) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => { chunks.push(chunk) }).on('end', () => {
      if (status === 200) for (const text of gunzipSync(Buffer.concat(chunks)).toString().trim().split('\n')) { const event = parseEvent(text); if (event !== undefined) got.push(event) }
      answer.writeHead(status).end()
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => collector.close())
  await new Promise(resolve => collector.once('listening', resolve))
  const rig = await startRig(t, { org: stub.origin, policies, files: { hmac: 'x'.repeat(32) }, audit: `{ sinks: [{ https: { url: 'http://127.0.0.1:${(collector.address() as AddressInfo).port}/in', hmacKey: { file: hmac }, delivery: required, maxSpoolBytes: 131072 } }] }` })
  const before = stub.requests.length
  let asked = 0
  const askUntil = async (line: () => string, wanted: number): Promise<number> => {
    for (let i = 1; i < 200; i++) { asked++; if (await ask(rig, line()) === wanted) return i }
    return 0
  }
  t.ok(await askUntil(() => POST(`00u${asked}`), 503) > 20, 'writes until nine tenths are full')
  t.equal(await ask(rig, GET), 200, 'reads go on')
  t.ok(await askUntil(() => GET, 503) > 1, 'until there is room for nothing more')
  for (let i = 0; i < 60; i++) t.equal(await ask(rig, i % 2 === 0 ? GET : POST('00u1')), 503)
  t.match((await auditOf(rig)).sinks[0], { written: 0, dropped: 0 }, 'a hundred refusals later nothing is lost')
  status = 200
  t.ok(await until(async () => await ask(rig, POST('00u2')) === 200, 15_000), 'recovered by itself')
  await rig.gate.drain(2000)
  const made = got.filter(({ phase }) => phase === undefined).reduce((sum, { count = 1 }) => sum + count, 0)
  t.ok(made > asked + 60, `${made} requests are on record, in ${got.length} events`)
  const intents = new Set(got.flatMap(({ phase, path }) => phase === 'intent' ? [path] : []))
  t.same(stub.requests.slice(before).filter(({ method, target }) => method === 'POST' && !intents.has(target)), [])
})

t.test('what never becomes a request is an event, and a flood of it one more', async t => {
  const certificate = makeCertificate({ commonName: 'gate', names: ['127.0.0.1'] })
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxConnections: 6, maxConnectionsPerAddress: 2' })
  const open = [await rig.open(), await rig.open()]
  for (let i = 0; i < 20; i++) (await rig.open()).destroy()
  t.match(await rig.events(1), [{ outcome: 'failed', reason: 'overloaded', stage: 'record', source: '127.0.0.1', detail: /a connection too many/ }])
  for (const connection of open) connection.destroy()
  await rig.gate.drain(500)
  t.match(await rig.events(1), [{ reason: 'overloaded', count: 19 }])
  const tls = await startRig(t, { org: stub.origin, policies, listen: 'tls: { cert: { file: cert.pem }, key: { file: key.pem } }', files: { 'cert.pem': certificate.cert, 'key.pem': certificate.key } })
  const silent = await tls.open()
  silent.destroy()
  const plain = await tls.open()
  plain.send(request(GET, app.key))
  t.match(await tls.events(1), [{ outcome: 'refused', reason: 'bad_framing', detail: /^TLS: ERR_SSL_/ }], 'plain HTTP on a TLS port; one who says nothing has asked for nothing')
})

t.test('what is planted in a request is in no sink, log, metric or answer', async t => {
  const rig = await startRig(t, {
    org: stub.origin,
    policies,
    files: { hash: 'a key of thirty-two bytes or more' },
    audit: `{ redact: [login], redactKey: { file: hash }, sinks: [{ file: { path: ./audit-ocsf.jsonl, ${ALL} } }, { file: { path: ./audit.jsonl, format: plain, chain: false, delivery: buffered } }, { file: { path: ./ecs.jsonl, format: ecs, chain: true } }] }`
  })
  const headers = ['X-Secret: CANARY', 'Cookie: sid=CANARY', 'User-Agent: CANARY', 'X-Forwarded-For: CANARY']
  const bodies = ['{"profile":{"login":"CANARY@example.com"},"credentials":{"password":{"value":"CANARY"}}}', 'CANARY']
  let count = 0
  const answers: string[] = []
  for (const line of [`${GET}?search=CANARY&after=CANARY`, 'GET /api/v1/users/CANARY@example.com', 'GET /api/v1/users/CANARY%40example.com', 'POST /api/v1/users?activate=CANARY', 'POST /api/v1/groups?q=CANARY', 'GET /api/v1/users/;CANARY=1', 'GET //CANARY@example.com/x?CANARY']) {
    for (const key of [app.key, 'ngk_CANARYCANARYCANARYCANARYCANARYCANARYCANARYCANARY0']) {
      for (const body of line.startsWith('POST') ? bodies : [undefined]) {
        const answer = await rig.ask(request(line, key, [...headers, 'Content-Type: application/json'], body))
        answers.push(answer.lines.join('\n') + answer.text)
        count++
      }
    }
  }
  await rig.events(1)
  const texts = { log: rig.log(), plain: rig.auditText(), ocsf: readFileSync(join(rig.folder, 'audit-ocsf.jsonl'), 'utf8'), ecs: readFileSync(join(rig.folder, 'ecs.jsonl'), 'utf8'), metrics: (await rig.admin('/metrics')).text, ready: (await rig.admin('/readyz')).text, answers: answers.join('\n') }
  for (const [name, text] of Object.entries(texts)) t.notMatch(text, /CANARY/, name)
  t.match(texts.plain, /"path":"\/api\/v1\/users\/hmac:[0-9a-f]{16}"/)
  t.ok(count > 15)
})

t.test('a request that outlives a minute leaves a linked event before its end', async t => {
  const long = new LongRequests()
  const events: AuditEvent[] = []
  const exchange = new Exchange({}, 'id-1', 0, 1000, 'GET', '/api/v1/logs', '192.0.2.1') as unknown as GateExchange
  long.begin(exchange)
  long.sweep(60_999, event => { events.push(event) })
  t.same(events, [])
  long.sweep(61_000, event => { events.push(event) })
  long.sweep(70_000, event => { events.push(event) })
  t.match(events, [{ id: 'id-1', phase: 'open', outcome: 'pending', durationMs: 60_000 }])
  long.end(exchange)
  long.sweep(200_000, event => { events.push(event) })
  t.equal(events.length, 1, 'once')
})

t.test('narrowgate audit: query, report, tail and verify over every format and over rotated files', async t => {
  const rig = await startRig(t, {
    org: stub.origin,
    policies,
    files: { 'key.pem': keyText },
    audit: `{ key: { file: key.pem }, sinks: [{ file: { path: ./audit-ocsf.jsonl, ${ALL} } }, { file: { path: ./plain.jsonl, format: plain, chain: false, delivery: buffered } }, { file: { path: ./ecs.jsonl, format: ecs, chain: true, delivery: required } }] }`
  })
  await ask(rig, GET)
  await ask(rig, POST('00u1abcdefghijklmnop'))
  await ask(rig, 'POST /api/v1/groups')
  const file = (name: string): string => join(rig.folder, name)
  await rig.gate.drain(500)
  renameSync(file('audit-ocsf.jsonl'), file('audit-ocsf.jsonl.20261122T101500123Z'))
  writeFileSync(file('audit-ocsf.jsonl.20261122T101500123Z.gz'), gzipSync(readFileSync(file('audit-ocsf.jsonl.20261122T101500123Z'))))
  rmSync(file('audit-ocsf.jsonl.20261122T101500123Z'))
  const query = async (name: string, ...more: string[]): Promise<string[]> => (await narrowgate(['audit', 'query', file(name), ...more])).out.split('\n').slice(0, -1)
  const gz = 'audit-ocsf.jsonl.20261122T101500123Z.gz'
  for (const name of [gz, 'plain.jsonl', 'ecs.jsonl']) {
    t.equal((await query(name)).length, 3, name)
    t.match(await query(name, '--outcome', 'refused'), [/refused app\/[0-9a-f]{8} {2}POST \/api\/v1\/groups .*no_rule/], name)
    t.equal((await query(name, '--operation', 'deactivateUser', '--all')).length, name === 'plain.jsonl' ? 1 : 2, 'with its intent, where the sink has promised one')
    t.equal((await query(name, '--resource', '00u1abcdefghijklmnop')).length, 1)
    t.same(await query(name, '--since', '2099-01-01'), [])
  }
  for (const [since, shown] of [['30s', 3], ['1w', 3], ['2026-01-01 10:00', 3], ['2026-01-01T10:00+02:00', 3], [new Date(Date.now() + 60_000).toISOString().slice(0, 19), 0], ['5', undefined], ['now', undefined]] as const) {
    const { code, out } = await narrowgate(['audit', 'query', file('plain.jsonl'), '--since', since], { now: Date.now() })
    t.same([code, out.split('\n').length - 1], shown === undefined ? [2, 0] : [shown === 0 ? 1 : 0, shown], since)
  }
  const plainLines = readFileSync(file('plain.jsonl'), 'utf8').split(/(?<=\n)/)
  writeFileSync(file('later.log'), plainLines.slice(1).join(''))
  writeFileSync(file('sooner.log'), plainLines[0]!)
  writeFileSync(file('empty.log'), '')
  const merged = await narrowgate(['audit', 'query', file('later.log'), file('sooner.log'), file('empty.log'), '--json'])
  t.equal(merged.out, plainLines.join(''), 'several logs are one in the order of time')
  t.match(await narrowgate(['audit', 'query', file('empty.log')]), { code: 1, err: '' }, 'a log in which nothing stands yet')
  t.equal((await narrowgate(['audit', 'query', file('narrowgate.yaml')])).code, 2)
  const [one] = await query('plain.jsonl', '--client', 'app', '--outcome', 'allowed', '--json')
  t.match(JSON.parse(one!), { event: 'narrowgate.request', client: 'app' })
  t.equal((await query(gz, '--id', JSON.parse(one!).id)).length, 1)
  t.equal((await narrowgate(['audit', 'query', file('plain.jsonl'), '--client', 'nobody'])).code, 1)
  t.equal((await narrowgate(['audit', 'query', file('plain.jsonl'), '--outcome', 'x'])).code, 2)

  const now = Date.now()
  const report = await narrowgate(['audit', 'report', file('ecs.jsonl'), '--policies', file('policies')], { now })
  t.match(report.out, /app {2}3 calls, 2 allowed[\s\S]*refused +no_rule 1[\s\S]*unused +createUser, getUser/)
  t.match(JSON.parse((await narrowgate(['audit', 'report', file(gz), '--json'], { now })).out), { clients: [{ client: 'app', calls: 3, refused: { no_rule: 1 } }] })

  const verified = await narrowgate(['audit', 'verify', file(gz), '--key', file('key.pem')])
  t.match(verified, { code: 0, out: /intact: 1 file, 4 events/ })
  t.equal((await narrowgate(['audit', 'verify', file('ecs.jsonl'), '--key', file('key.pem'), '--anchor', file('ecs.jsonl')])).code, 0)
  t.match(await narrowgate(['audit', 'verify', file('ecs.jsonl'), file(gz), '--key', file('key.pem')]), { code: 0, out: /intact: 2 files, 8 events, 4 statements, 2 chains/ }, 'files of two chains')
  t.match(await narrowgate(['audit', 'verify', file('ecs.jsonl'), '--key', file('nowhere.pem')]), { code: 2, err: /nowhere\.pem cannot be read \(ENOENT\)/ })
  t.match(await narrowgate(['audit', 'verify', file('plain.jsonl')]), { code: 1, err: /no line states a chain: was it written with chain: false/ })
  const lines = readFileSync(file('ecs.jsonl'), 'utf8').split(/(?<=\n)/)
  writeFileSync(file('cut.jsonl'), lines.slice(0, -2).join(''))
  t.match(await narrowgate(['audit', 'verify', file('cut.jsonl'), '--key', file('key.pem'), '--anchor', file('ecs.jsonl')]), { code: 1, out: /truncated: the log ends at event \d/ })
  writeFileSync(file('ecs.jsonl'), lines.with(2, lines[2]!.replace('app', 'apq')).join(''))
  t.match(await narrowgate(['audit', 'verify', file('ecs.jsonl')]), { code: 1, out: /ecs\.jsonl:3 changed: event 3/ })
  t.equal((await narrowgate(['audit', 'verify', file('ecs.jsonl'), '--key', file('narrowgate.yaml')])).code, 2)

  const zipped = readFileSync(file(gz))
  for (const [what, bytes] of [['cut', zipped.subarray(0, -20)], ['damaged', zipped.map((byte, i) => i === 40 ? byte ^ 255 : byte)], ['damaged at its end', zipped.map((byte, i) => i === zipped.length - 6 ? byte ^ 255 : byte)]] as const) {
    writeFileSync(file('damaged.gz'), bytes)
    t.match(await narrowgate(['audit', 'verify', file('damaged.gz')]), { code: 1, out: /damaged\.gz unreadable: what stands behind line \d+ can't be read \(Z_[A-Z]+_ERROR\)/ }, `a gzipped file that is ${what}`)
    t.match(await narrowgate(['audit', 'query', file('damaged.gz')]), { code: 2, err: /cannot be read \(Z_/ })
  }

  const stop = new AbortController()
  setTimeout(() => { appendFileSync(file('plain.jsonl'), `${one!}\n`) }, 100)
  setTimeout(() => { stop.abort() }, 2000)
  const followed = await narrowgate(['audit', 'tail', file('plain.jsonl'), '--lines', '1'], { stop: stop.signal, color: true })
  t.equal(followed.out.split('\n').length, 3, 'the last line, and the one that came')
  t.ok(followed.out.includes('\x1b[32mallowed'))
})

t.test('the sweep of all that gates say can fail', async t => {
  const folder = t.testdir({ 'audit.jsonl': '{"path":"/CANARY"}\n', spool: { 'a.gz': gzipSync(app.key) }, 'key.pem': 'CANARY' })
  const token = `eyJ${'a'.repeat(20)}.eyJ${'b'.repeat(20)}.${'c'.repeat(30)}`
  const sweeps: Array<(sweep: Sweep) => void> = [
    sweep => { sweep.look('the log', `key ${app.key} refused`) },
    sweep => { sweep.look('/metrics', token) },
    sweep => { const heard = sweep.answers(); heard(Buffer.from('x: 00CAN')); heard(Buffer.from('ARYtoken')) },
    sweep => { sweep.lookAtFiles(folder, 'a file', /^audit/) },
    sweep => { sweep.lookAtFiles(folder, 'a file', /gz$/) }
  ]
  for (const [i, see] of sweeps.entries()) {
    const sweep = new Sweep()
    see(sweep)
    t.throws(() => { sweep.end() }, /secrets were seen/, `${i}`)
  }
  const clean = new Sweep()
  clean.look('an audit file', '{"path":"/api/v1/users"}')
  clean.answers()(Buffer.from(token))
  clean.end()
})

t.test('without a sink that asks for it there is no intent', async t => {
  t.equal(createAuditLog([]).intend({} as AuditEvent), undefined)
  t.equal(ocsfProblem('{}') === undefined, false, 'the check of every event can fail')
})

/** `narrowgate serve` as a process of its own, from the sources. */
async function serve (configFile: string): Promise<{ child: ReturnType<typeof spawn>, url: string }> {
  const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))
  const child = spawn(process.execPath, [...process.execArgv, main, 'serve', '-c', configFile], { env: { ...process.env, ...ENVIRONMENT }, stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let log = ''
  const { url } = await new Promise<{ url: string }>((resolve, reject) => {
    createInterface({ input: child.stderr! }).on('line', line => {
      log += `${line}\n`
      if (line.includes('"listening"')) resolve(JSON.parse(line))
    })
    child.once('exit', code => { reject(new Error(`ended with ${code}: ${log}`)) })
  })
  await later(0)
  return { child, url }
}

function canMount (): boolean {
  try {
    const place = '/tmp/narrowgate-mount-probe'
    mkdirSync(place, { recursive: true })
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place], { stdio: 'ignore' })
    execFileSync('umount', [place], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
