import { pino } from 'pino'
import t from 'tap'
import { ClockWatch } from '../../src/server/clock-watch.js'
import { affordable, softLimit } from '../../src/server/descriptors.js'
import { LoopDelay } from '../../src/server/loop-delay.js'
import { Pace } from '../../src/server/pace.js'
import { Shares } from '../../src/server/shares.js'
import { Turns } from '../../src/server/turns.js'
import { client, later, NO_LIMITS, request, respond, startRig, startStub, until } from '../support/gate.js'

const stub = await startStub(t)
const usual = stub.answer
const ALLOW = 'allow: [{ operation: listUsers }, { operation: createUser }]'
const app = client('app', ALLOW)
const other = client('other', ALLOW)
const LIST = 'GET /api/v1/users'
const policies = { 'app.yaml': app.text, 'other.yaml': other.text }
const busy = (ms: number): void => { for (const end = performance.now() + ms; performance.now() < end;); }

t.test('the loop is overloaded when no sample of the last eight was on time', async t => {
  let now = 0
  const delay = new LoopDelay(100, () => now)
  const sample = (late: number, times = 1): string => {
    for (let i = 0; i < times; i++) { now += 20 + late; delay.sample() }
    return delay.shedding
  }
  delay.start()
  t.teardown(() => { delay.stop() })
  t.equal(sample(0, 20), 'none')
  t.equal(sample(5000), 'none', 'one long turn is no overload')
  t.equal(sample(150, 7), 'strangers', 'eight late ones are')
  t.equal(sample(0), 'none', 'one on time ends it')
  t.equal(sample(150, 8), 'strangers')
  t.equal(sample(400, 8), 'everyone')
  t.equal(sample(150), 'strangers')
})

t.test('a wall clock that jumps is in the log, one that is corrected or runs on is not', async t => {
  const lines: string[] = []
  let [now, clock] = [1_800_000_000_000, 5000]
  const watch = new ClockWatch(pino({}, { write: (line: string) => { lines.push(line) } }), () => now, () => clock)
  const look = (jump: number): void => { now += 1000 + jump; clock += 1000; watch.look() }
  for (const jump of [0, 900, -900, 5000, -5000]) look(jump)
  t.same(lines, [])
  for (const jump of [3_600_000, 0, -7_200_000, 0, 5001]) look(jump)
  t.same(lines.map(line => JSON.parse(line).jumpMs), [3_600_000, -7_200_000, 5001], 'once each')
})

t.test('no more clients are taken than there are descriptors for, each with one towards Okta', async t => {
  const lines: string[] = []
  const log = pino({}, { write: (line: string) => { lines.push(line) } })
  t.equal(affordable(1, log), 1)
  t.same(lines, [])
  const soft = softLimit()
  if (soft === undefined) return
  const most = affordable(soft, log)
  t.ok(most * 2 < soft && most > 0, `${most} of ${soft}`)
  t.match(JSON.parse(lines[0]!), { descriptors: soft, connections: most, msg: /raise its limit/ })
})

t.test('a share is never more than its part, and the whole never more than all of it', async t => {
  const shares = new Shares()
  t.ok(shares.take('a', 50, 100, 50))
  t.notOk(shares.take('a', 1, 100, 50), 'one has its part')
  t.ok(shares.take('b', 40, 100, 50))
  t.notOk(shares.take('c', 11, 100, 50), 'all have the whole')
  shares.giveBack('a', 50)
  t.ok(shares.take('c', 11, 100, 50))
  t.equal(shares.sum, 51)
  shares.giveBack('b', 40)
  shares.giveBack('c', 11)
  shares.giveBack('d', 0)
  t.equal(shares.sum, 0)
})

t.test('who sends bodies without an end is read at a pace, and nobody else', async t => {
  let now = 0
  const pace = new Pace(() => now)
  const MB = 1_048_576
  const read = (who: string, bytes: number, largest = MB): number => pace.spend(who, bytes - 1024, largest)
  t.equal(read('a', 2 * MB), 0, 'ahead by an eighth of a second')
  t.equal(read('a', MB), 62.5, 'and no further: 16 MB a second')
  t.equal(read('b', MB), 0)
  t.equal(read('large', 32 * MB, 64 * MB), 375, 'where larger bodies are taken, one of them a second')
  now = 187.5
  t.equal(read('a', 2 * MB), 0, 'what was ahead is worked off')
  for (let n = 0; n < 3000; n++) pace.spend('crumbs', 1, MB)
  t.ok(pace.spend('crumbs', 1, MB) > 50, 'pieces of a byte cost what they cost')
  for (let n = 0; n < 900; n++) pace.spend(`source ${n}`, 1000, MB)
  now = 10_000
  for (let n = 0; n < 200; n++) pace.spend(`another ${n}`, 1000, MB)
  t.ok(pace.size < 300, 'and forgotten')
})

t.test('a client has its part of a turn, those who wait take turns, each in order', async t => {
  const soon: (() => void)[] = []
  const turns = new Turns(run => { soon.push(run) })
  const done: string[] = []
  const ask = (who: string, what: string): void => {
    const run = (): void => { done.push(`${who}${what}`) }
    if (turns.take(who)) run()
    else if (!turns.wait(who, run, 100)) done.push(`${who} too many`)
  }
  const turn = (): string => { done.length = 0; soon.shift()!(); return done.join(' ') }
  for (let n = 0; n < 40; n++) ask('a', `${n}`)
  for (let n = 0; n < 18; n++) ask('b', `${n}`)
  ask('c', '0')
  t.equal(done.length, 33, 'sixteen each, and the one of the third')
  t.equal(done.at(-1), 'c0')
  t.equal(turn(), 'a16 b16 a17 b17 a18 a19 a20 a21 a22 a23 a24 a25 a26 a27 a28 a29')
  done.length = 0
  ask('a', '40')
  ask('c', '1')
  t.same(done, ['c1'], 'nobody passes his own, everybody those of another')
  t.equal(turn(), 'a30 a31 a32 a33 a34 a35 a36 a37 a38 a39 a40')
  t.equal(turn(), '')
  t.equal(soon.length, 0, 'and then nothing is scheduled')
  done.length = 0
  for (let n = 0; n < 70; n++) ask('a', `${n}`)
  t.same([done.length, done.at(-1), turns.count], [20, 'a too many', 50], 'half of those who may wait')
  for (let n = 0; n < 70; n++) ask('b', `${n}`)
  ask('c', '0')
  t.same([done.at(-1), turns.count], ['c0', 100], 'nobody else is refused')
  for (let n = 1; n < 17; n++) ask('c', `${n}`)
  t.equal(done.at(-1), 'c too many', 'but who would have to wait, too')
})

t.test('requests that wait for their turn are answered in order, and not at all behind a connection\'s end', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxRequests: 1000' })
  const connection = await rig.open()
  const wrong = request('GET /api/v1/groups', app.key)
  connection.send((request(LIST, app.key) + wrong).repeat(40))
  const statuses = []
  for (let i = 0; i < 80; i++) statuses.push((await connection.answer())?.status)
  t.same(statuses, Array.from({ length: 80 }, (_, n) => n % 2 === 0 ? 200 : 403))
  t.equal((await rig.events(80)).length, 80)
  stub.requests.length = 0
  connection.send(wrong.repeat(20) + request('POST /api/v1/groups', app.key, ['Transfer-Encoding: chunked']) + '1\r\nx\r\n' + 'no chunk' + request(LIST, app.key).repeat(20))
  t.ok(await connection.ends())
  t.equal(stub.requests.length, 0, 'nothing behind it is executed')
  const ended = await rig.events(21)
  t.equal(ended.length, 21, 'an event each')
  t.ok(ended.every(({ outcome }) => outcome === 'refused' || outcome === 'aborted'))
  const gone = await rig.open()
  gone.send(request(LIST, app.key).repeat(60))
  gone.destroy()
  const events = await rig.events(60)
  t.ok(events.every(({ outcome }) => outcome === 'aborted' || outcome === 'allowed'))
  t.ok(await until(async () => /^narrowgate_in_flight{[^}]*} 0$/m.test((await rig.admin('/metrics')).text)), 'and nothing stays in flight')
})

t.test('a crowd of one client\'s requests that has arrived first is not answered first', async t => {
  const rig = await startRig(t, { org: stub.origin, policies })
  const crowd = await Promise.all(Array.from({ length: 60 }, async () => await rig.open()))
  const one = await rig.open()
  for (const connection of [...crowd, one]) {
    connection.send(request('GET /api/v1/groups', app.key))
    await connection.answer()
  }
  await rig.events(61)
  for (const [key, line] of [[app.key, 'GET /api/v1/groups'], ['ngk_none', LIST], [app.key, LIST]] as const) {
    for (const connection of crowd) connection.send(request(line, key).repeat(5))
    one.send(request('GET /api/v1/apps', other.key))
    t.equal((await one.answer())?.status, 403)
    for (const connection of crowd) for (let i = 0; i < 5; i++) await connection.answer()
    const place = (await rig.events(301)).findIndex(({ client }) => client === 'other')
    t.ok(place >= 0 && place < 100, `${place} of 300 before it`)
  }
})

t.test('a pipelined crowd of one client is refused beyond its half of those who wait, and nobody else', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxRequests: 100' })
  const crowd = await Promise.all(Array.from({ length: 6 }, async () => await rig.open()))
  const one = await rig.open()
  for (const connection of [...crowd, one]) { connection.send(request('GET /api/v1/groups', app.key)); await connection.answer() }
  for (const connection of crowd) connection.send(request('GET /api/v1/groups', app.key).repeat(60))
  one.send(request(LIST, other.key))
  t.equal((await one.answer())?.status, 200)
  const statuses: (number | undefined)[] = []
  for (const connection of crowd) for (let status: number | undefined = 0; status !== undefined && statuses.length < 400;) statuses.push(status = await connection.answer(300).then(answer => answer?.status, () => undefined))
  t.ok(statuses.includes(503), 'the crowd is too large')
  t.same([...new Set(statuses)].filter(status => status !== undefined && status !== 403 && status !== 503), [])
  stub.requests.length = 0
})

t.test('of a body without an end little is read, and who sends all of a large one first reads its refusal', async t => {
  const rig = await startRig(t, { org: stub.origin, policies })
  const head = request('POST /api/v1/users', app.key, ['Content-Type: application/json', 'Transfer-Encoding: chunked'])
  const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536, 0x20), Buffer.from('\r\n')])
  const endless = await rig.open()
  endless.send(head)
  const more = (): void => { while (endless.socket.writable) if (!endless.socket.write(chunk)) return }
  endless.socket.on('drain', more)
  more()
  t.equal((await endless.answer())?.status, 413)
  t.ok(await endless.ends())
  t.ok(endless.socket.bytesWritten - endless.socket.writableLength < 48 * 1_048_576, `${endless.socket.bytesWritten} bytes: a second's worth, and what sockets hold`)
  const whole = await rig.open()
  whole.send(Buffer.concat([Buffer.from(head), ...Array(96).fill(chunk), Buffer.from('0\r\n\r\n')]))
  await new Promise(resolve => { whole.socket.once('drain', resolve) })
  t.equal((await whole.answer())?.status, 413, 'of six megabytes')
  t.equal(stub.requests.some(({ body }) => body.length > 0 && body[0] === 0x20), false)
  stub.requests.length = 0
})

t.test('connections beyond the caps are told 503 and cost the others nothing', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxConnections: 6, maxConnectionsPerAddress: 4' })
  const open = await Promise.all(Array.from({ length: 4 }, async () => await rig.open()))
  for (const connection of open) connection.send(request(LIST, app.key))
  for (const connection of open) t.equal((await connection.answer())?.status, 200)
  const tooMany = await rig.open()
  tooMany.send(request(LIST, app.key))
  const refused = await tooMany.answer()
  t.match(refused, { status: 503 })
  t.match(refused?.error, { errorCode: 'E0000009', errorId: refused?.header('x-narrowgate-request-id') })
  t.match(refused?.header('retry-after'), /^\d+$/)
  t.ok(await tooMany.ends())
  t.equal(stub.requests.length, 4, 'nothing of it was forwarded')
  open[0]!.send(request(LIST, app.key))
  t.equal((await open[0]!.answer())?.status, 200, 'those that are open go on')
  open[1]!.destroy()
  t.ok(await until(async () => (await rig.ask(request(LIST, app.key))).status === 200), 'a place that is given back is free')
  for (const connection of open) connection.destroy()

  const crowd = await Promise.all(Array.from({ length: 200 }, async () => await rig.open()))
  await later(50)
  for (const connection of crowd) connection.destroy()
  t.ok(await until(async () => (await rig.ask(request(LIST, app.key))).status === 200), 'a crowd that leaves leaves nothing behind')
})

t.test('a trusted proxy is nobody\'s address: only the total counts there', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxConnections: 6, maxConnectionsPerAddress: 2, trustedProxies: [127.0.0.0/8]' })
  const open = await Promise.all(Array.from({ length: 6 }, async () => await rig.open()))
  for (const connection of open) connection.send(request(LIST, app.key))
  for (const connection of open) t.equal((await connection.answer())?.status, 200)
  t.equal((await rig.ask(request(LIST, app.key))).status, 503, 'the seventh')
  for (const connection of open) connection.destroy()
})

t.test('requests beyond listen.maxRequests are refused, pipelined ones too', async t => {
  stub.answer = (_, socket) => { setTimeout(() => socket.write(respond(200)), 100) }
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'maxRequests: 3' })
  const connection = await rig.open()
  connection.send(request(LIST, app.key).repeat(5))
  const statuses = []
  for (let i = 0; i < 4; i++) statuses.push((await connection.answer())?.status)
  t.same(statuses, [200, 200, 200, 503])
  t.ok(await connection.ends(), 'and the connection is closed')
  stub.answer = usual
  t.match((await rig.events(4)).filter(event => event.outcome === 'failed')[0], { reason: 'overloaded', status: 503 })
})

t.test('bodies that are on their way take up a bounded amount of memory, one client half of it', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'bodyLimitBytes: 1048576, bodyMemoryBytes: 2097152' })
  const head = (key: string): string => `POST /api/v1/users HTTP/1.1\r\nHost: gate\r\nAuthorization: SSWS ${key}\r\nContent-Type: application/json\r\nContent-Length: 800000\r\n\r\n`
  const body = JSON.stringify({ profile: { x: 'y'.repeat(799_980) } }).padEnd(800_000, ' ')
  const slow = await rig.open()
  slow.send(head(app.key) + body.slice(0, 700_000))
  await later(100)
  const second = await rig.open()
  second.send(head(app.key) + body)
  const answer = await second.answer()
  t.match(answer, { status: 503 }, 'the same client has its half')
  t.match(answer?.error.errorCauses, [{ errorSummary: /bodies/ }])
  second.destroy()
  t.equal((await rig.ask(head(other.key) + body)).status, 200, 'another client is served all the same')
  slow.send(body.slice(700_000))
  t.equal((await slow.answer())?.status, 200, 'and so is the slow one')
  t.equal((await rig.ask(head(app.key) + body)).status, 200, 'what was taken is given back')
  slow.destroy()
  const killed = await rig.open()
  killed.send(head(app.key) + body.slice(0, 700_000))
  await later(100)
  killed.destroy()
  t.ok(await until(async () => (await rig.ask(head(app.key) + body)).status === 200), 'by who hangs up, too')
})

t.test('a client that leaves takes with it what waits behind a slow answer on its connection: calls, places, bodies', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'bodyLimitBytes: 1048576, bodyMemoryBytes: 2097152' })
  const body = JSON.stringify({ profile: { x: 'y'.repeat(799_980) } }).padEnd(800_000, ' ')
  const post = request('POST /api/v1/users', app.key, ['Content-Type: application/json'], body)
  // The first call of a bucket goes alone.
  stub.answer = usual
  for (const bytes of [request(LIST, app.key), post]) t.equal((await rig.ask(bytes)).status, 200)
  await rig.events(2)
  let slow = true
  stub.requests.length = 0
  stub.answer = (received, socket) => {
    if (slow) { slow = false; return }
    socket.write(respond(200, received.method === 'GET' ? Buffer.alloc(3_000_000, ' ') : '{}'))
  }
  const connection = await rig.open()
  connection.send(request(LIST, app.key).repeat(3) + post)
  t.ok(await until(() => stub.requests.length === 4), 'all four are under way, the first without an answer')
  await later(50)
  connection.destroy()
  const events = await rig.events(4)
  t.equal(events.length, 4, 'each has its end')
  t.same(events.filter(event => event['method'] === 'GET').map(({ outcome }) => outcome), ['aborted', 'aborted', 'aborted'], 'and what had more to come has none for nobody')
  t.ok(await until(async () => /^narrowgate_in_flight{[^}]*} 0$/m.test((await rig.admin('/metrics')).text)), 'no place is kept')
  stub.answer = usual
  t.equal((await rig.ask(post)).status, 200, 'nor the memory of a body')
  await rig.events(1)
})

t.test('a client whose calls hang leaves half of the slots to the others', async t => {
  stub.answer = ({ target }, socket) => { if (!target.includes('hang')) socket.write(respond(200)) }
  const any = 'allow: [{ operation: listUsers, query: any }]'
  const [hanging, brisk] = [client('hanging', any), client('brisk', any)]
  const rig = await startRig(t, { org: stub.origin, policies: { 'hanging.yaml': hanging.text, 'brisk.yaml': brisk.text }, limits: NO_LIMITS.replace('concurrency: 1000', 'concurrency: 20, clientConcurrency: 50%') })
  t.equal((await rig.ask(request(LIST, brisk.key))).status, 200, 'the first call of a bucket goes alone')
  const hung = await Promise.all(Array.from({ length: 8 }, async () => await rig.open()))
  for (const connection of hung) connection.send(request(`${LIST}?q=hang`, hanging.key))
  t.ok(await until(() => stub.requests.filter(({ target }) => target.includes('hang')).length === 5), 'five of ten slots')
  const refused = await rig.ask(request(LIST, hanging.key))
  t.equal(refused.status, 429)
  t.match(refused.error.errorCauses, [{ errorSummary: /share of the calls in flight/ }])
  for (let i = 0; i < 5; i++) t.equal((await rig.ask(request(LIST, brisk.key))).status, 200, 'the other client')
  for (const connection of hung) connection.destroy()
  stub.answer = usual
  t.ok(await until(async () => (await rig.ask(request(LIST, hanging.key))).status === 200), 'slots come back')
})

t.test('a client that may wait gets its next place in order, and leaves the queue when it hangs up', async t => {
  const held: Array<() => void> = []
  stub.answer = (_, socket) => { held.push(() => { socket.write(respond(200)) }) }
  const [patient, other] = [client('patient', 'wait: { upToMs: 60000 }\nallow: [{ operation: listUsers, query: any }, { operation: listGroups, wait: { upToMs: 300 } }]'), client('other', 'allow: [listUsers]')]
  const rig = await startRig(t, { org: stub.origin, policies: { 'patient.yaml': patient.text, 'other.yaml': other.text.replace('[listUsers]', '[{ operation: listUsers }]') }, limits: NO_LIMITS.replace('concurrency: 1000', 'concurrency: 20, clientConcurrency: 20%') })
  const from = stub.requests.length
  const sent = (): string[] => stub.requests.slice(from).map(({ target }) => target.slice(-1))
  const asked = Array.from('ab', async letter => await rig.ask(request(`${LIST}?q=${letter}`, patient.key)))
  t.ok(await until(() => held.length === 1), 'the first call of a bucket goes alone')
  held.shift()!()
  t.ok(await until(() => held.length === 1))
  const more: Array<Promise<unknown>> = []
  const gone = await rig.open()
  for (const letter of 'cde') {
    if (letter === 'd') gone.send(request(`${LIST}?q=x`, patient.key))
    more.push(rig.ask(request(`${LIST}?q=${letter}`, patient.key)))
    await later(50)
  }
  t.ok(await until(() => held.length === 2), 'two places')
  const impatient = await rig.ask(request('GET /api/v1/groups', patient.key))
  t.match([impatient.status, impatient.error.errorCauses], [429, [{ errorSummary: /share of the calls in flight/ }]], 'its wait was too short')
  gone.destroy()
  t.ok(await until(async () => /narrowgate_waited\{outcome="left"\} 1/.test((await rig.admin('/metrics')).text)), 'who hangs up leaves')
  for (let i = 0; i < 4; i++) { t.ok(await until(() => held.length > 0)); held.shift()!() }
  for (const answer of await Promise.all([...asked, ...more])) t.match(answer, { status: 200 })
  t.strictSame(sent(), ['a', 'b', 'c', 'd', 'e'])
  stub.answer = usual
})

t.test('an event loop that stays late refuses strangers first, then everyone', async t => {
  const rig = await startRig(t, { org: stub.origin, policies, listen: 'shedAfterMs: 30' })
  let turn = 0
  let on = true
  const burn = (): void => { busy(turn); if (on) setTimeout(burn, 0) }
  const statuses = async (): Promise<string> => {
    const answers = await Promise.all([rig.ask(request(LIST, app.key)), rig.ask(request(LIST)), rig.ask(request(LIST, 'ngk_none')), rig.ask(request('POST /oauth2/v1/token', undefined, [], 'x=y'))])
    return answers.map(({ status }) => status).join(' ')
  }
  t.ok(await until(async () => /^200 401 401 \d+$/.test(await statuses())), 'calm')
  turn = 80
  burn()
  t.ok(await until(async () => await statuses() === '200 503 503 503'), 'strangers')
  turn = 220
  t.ok(await until(async () => await statuses() === '503 503 503 503', 20_000), 'everyone')
  on = false
  t.ok(await until(async () => /^200 401 401 /.test(await statuses())), 'and back')
})
