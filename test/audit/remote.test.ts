import { createHmac, createSecretKey } from 'node:crypto'
import { appendFileSync, existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { SendFault, type Sender } from '../../src/audit/deliver.js'
import { httpsSender } from '../../src/audit/https.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { batchPayload, otlpPayload, refusesRecords, splunkPayload } from '../../src/audit/payloads.js'
import { Spool } from '../../src/audit/spool-file.js'
import { syslogSender } from '../../src/audit/tls.js'
import { later, until } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'
import { someEvent } from './events.js'

const ocsf = createOcsfLines({ version: '1', gate: 'gate-1' })
const line = (i: number, more = ''): string => ocsf(someEvent({ id: `e${i}`, detail: more }))
const idOf = (text: string): string => JSON.parse(text).metadata.uid
const noPause = (): number => 0

/** A collector in memory that obeys a script. */
function collector (): { sender: Sender, got: string[], state: { down: string | undefined, hang: boolean, refuses: (text: string) => boolean, batches: number } } {
  const got: string[] = []
  const state: ReturnType<typeof collector>['state'] = { down: undefined, hang: false, refuses: () => false, batches: 0 }
  return {
    got,
    state,
    sender: {
      async send (lines) {
        state.batches++
        while (state.hang) await later(5)
        if (state.down !== undefined) throw new SendFault(state.down, false)
        if (lines.some(state.refuses)) throw new SendFault('HTTP 400', true)
        got.push(...lines)
      },
      close () {}
    }
  }
}

t.test('what a collector does not take waits on the disk, and arrives in order when it does', async t => {
  const { sender, got, state } = collector()
  const folder = join(t.testdir(), 'spool')
  const spool = new Spool('test', { folder, maxBytes: 1e8, carry: () => [line(9999)] }, sender, noPause)
  state.down = 'ECONNREFUSED'
  for (let i = 0; i < 8000; i++) { spool.write(line(i, 'x'.repeat(800))); if (i % 500 === 0) await nextTurn() }
  spool.flush()
  const carried = spool.status.spooled - 8000
  t.ok(carried >= 1, 'open intents go into each new file, too')
  t.match(spool.status, { healthy: true, written: 0, dropped: 0 })
  t.ok(await until(() => spool.status.collector === 'ECONNREFUSED'), 'said')
  t.ok(readdirSync(folder).filter(name => name.startsWith('events')).length >= 3, 'in several files')
  t.equal(statSync(folder).mode & 0o777, 0o700)
  state.down = undefined
  t.ok(await until(() => spool.status.spooled === 0, 10_000))
  t.same(got.map(idOf).filter(id => id !== 'e9999'), Array.from({ length: 8000 }, (_, i) => `e${i}`))
  t.match(spool.status, { healthy: true, spooled: 0, written: 8000 + carried, collector: undefined })
  t.ok(await until(() => readdirSync(folder).filter(name => name.startsWith('events')).length === 1), 'what was taken is gone')
  await spool.close(500)
})

t.test('what a process leaves, the next one sends', async t => {
  const folder = join(t.testdir(), 'spool')
  const first = collector()
  first.state.down = 'ECONNREFUSED'
  const before = new Spool('test', { folder, maxBytes: 1e8 }, first.sender, noPause)
  for (let i = 0; i < 100; i++) before.write(line(i))
  t.equal(await before.writeDurable(line(100)), true, 'a promise needs the disk, not the collector')
  await before.close(100)
  const second = collector()
  const after = new Spool('test', { folder, maxBytes: 1e8 }, second.sender, noPause)
  t.equal(after.status.spooled, 101)
  after.write(line(101))
  t.ok(await until(() => second.got.length === 102))
  t.same(second.got.map(idOf), Array.from({ length: 102 }, (_, i) => `e${i}`))
  await after.close(500)
  appendFileSync(join(folder, 'events.jsonl'), '{"torn')
  const third = collector()
  const last = new Spool('test', { folder, maxBytes: 1e8 }, third.sender, noPause)
  t.equal(last.status.spooled, 0, 'nothing is sent twice after a clean end')
  last.write(line(102))
  t.ok(await until(() => third.got.length === 2))
  t.match(JSON.parse(third.got[0]!), { event: 'narrowgate.torn', bytes: 6 })
  t.match(last.status, { spooled: 0, written: 2 })
  await last.close(100)
})

t.test('the limit is kept by refusing promises first; the rest is counted', async t => {
  const { sender, got, state } = collector()
  state.hang = true
  const spool = new Spool('test', { folder: join(t.testdir(), 'spool'), maxBytes: 100_000 }, sender, noPause)
  let promised = 0
  for (let i = 0; ; i++) {
    if (!await spool.writeDurable(line(i))) break
    promised++
  }
  t.match(spool.status, { healthy: false, error: 'ENOSPC', dropped: 0 })
  t.ok(promised > 50, `${promised} promised`)
  let taken = spool.status.spooled
  for (let i = 0; i < 1000; i++) spool.write(line(i))
  t.ok(spool.status.spooled > taken, 'there is room for what is under way')
  taken = spool.status.spooled
  t.equal(spool.status.dropped, 1000 + promised + 1 - taken)
  state.hang = false
  t.ok(await until(() => spool.status.spooled === 0))
  t.equal(got.length, taken)
  t.equal(spool.status.healthy, true, 'recovered by itself')
  spool.write(line(1))
  t.ok(await until(() => got.length === taken + 2))
  t.match(JSON.parse(got.at(-2)!), { event: 'narrowgate.gap', dropped: 1000 + promised + 1 - taken })
  await spool.close(500)
})

t.test('a line that no collector will ever take is kept aside, and holds up nothing', async t => {
  const { sender, got, state } = collector()
  const folder = join(t.testdir(), 'spool')
  state.refuses = text => ['e7', 'e42'].includes(idOf(text))
  const spool = new Spool('test', { folder, maxBytes: 1e8 }, sender, noPause)
  for (let i = 0; i < 100; i++) spool.write(line(i))
  t.ok(await until(() => spool.status.spooled === 0))
  t.equal(got.length, 98)
  t.same(readFileSync(join(folder, 'rejected.jsonl'), 'utf8').trim().split('\n').map(idOf), ['e7', 'e42'])
  t.equal(spool.status.rejected, 2)
  await spool.close(500)
})

const certificate = makeCertificate({ commonName: 'collector', names: ['127.0.0.1', 'localhost'] })

t.test('batches over HTTP: gzipped, signed, tried again until they are taken', async t => {
  const seen: Array<{ headers: IncomingMessage['headers'], body: string }> = []
  let status = 503
  let answer = ''
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => { chunks.push(chunk) }).on('end', () => {
      seen.push({ headers: request.headers, body: gunzipSync(Buffer.concat(chunks)).toString() })
      response.writeHead(status, answer === 'broken' ? { 'Content-Length': 100 } : {})
      if (answer === 'broken') { response.write('{'); setTimeout(() => { response.destroy() }, 10) } else response.end(answer)
    })
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await new Promise(resolve => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/in`
  const lines = [line(1).trim(), line(2).trim()]
  const key = createSecretKey(Buffer.from('hmac-key'))
  const batch = httpsSender(url, batchPayload(() => key))
  await t.rejects(batch.send(lines), { code: 'HTTP 503', permanent: false })
  status = 413
  await t.rejects(batch.send(lines), { code: 'HTTP 413', permanent: true })
  status = 200
  await batch.send(lines)
  const { headers, body } = seen.at(-1)!
  t.equal(body, `${lines.join('\n')}\n`)
  const [, seconds, signature] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['narrowgate-signature']))!
  t.equal(signature, createHmac('sha256', 'hmac-key').update(`${seconds}.${body}`).digest('hex'))
  const splunk = httpsSender(url, splunkPayload(() => 'hec-token', 'gate-1', undefined))
  await splunk.send(lines)
  t.equal(seen.at(-1)!.headers.authorization, 'Splunk hec-token')
  t.same(seen.at(-1)!.body.split('\n').map(text => JSON.parse(text).event.metadata.uid), ['e1', 'e2'])
  const otlp = httpsSender(url, otlpPayload(() => 'Bearer o', 'gate-1', '1'), undefined, refusesRecords)
  for (const taken of ['', '{}', '{"partialSuccess":{}}', '{"partialSuccess":{"rejectedLogRecords":"0"}}', 'x'.repeat(200_000)]) {
    answer = taken
    await otlp.send(lines)
  }
  answer = '{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}'
  await t.rejects(otlp.send(lines), { code: 'HTTP 200, a part was refused', permanent: true }, 'a part that was not kept is looked for, and kept aside')
  t.equal(JSON.parse(seen.at(-1)!.body).resourceLogs[0].scopeLogs[0].logRecords.length, 2)
  answer = 'broken'
  await t.rejects(batch.send(lines), { code: 'UND_ERR_SOCKET' }, 'an answer that breaks off is none')
  for (const sender of [batch, splunk, otlp]) sender.close()
})

t.test('syslog over TLS: framed by length, verified, and what was in doubt is sent again', async t => {
  let text = ''
  const sockets = new Set<TLSSocket>()
  const server = createTlsServer({ cert: certificate.cert, key: certificate.key }, socket => {
    sockets.add(socket)
    socket.on('data', chunk => { text += chunk.toString() }).on('error', () => {})
  }).listen(0, '127.0.0.1')
  server.on('tlsClientError', () => {})
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const stranger = syslogSender({ host: '127.0.0.1', port, gate: 'gate-1' })
  await t.rejects(stranger.send(['{}']), 'a certificate that nobody vouches for')
  stranger.close()
  t.equal(text, '')
  const sender = syslogSender({ host: '127.0.0.1', port, gate: 'gate-1', ca: certificate.cert })
  await sender.send([line(1).trim()])
  await sender.send([line(2).trim()])
  t.ok(await until(() => text.includes('"e2"')))
  const messages: string[] = []
  for (let rest = Buffer.from(text); rest.length > 0;) {
    const space = rest.indexOf(' ')
    const length = Number(rest.toString('latin1', 0, space))
    messages.push(rest.toString('utf8', space + 1, space + 1 + length))
    rest = rest.subarray(space + 1 + length)
  }
  t.same(messages.map(message => idOf(message.slice(message.indexOf('\ufeff') + 1))), ['e1', 'e2'])
  for (const socket of sockets) socket.destroy()
  t.ok(await until(() => text.match(/id="e2"/g)!.length === 2), 'also when nothing else has to be sent')
  await sender.send([line(3).trim()])
  t.ok(await until(() => text.includes('"e3"')))
  t.match(text.match(/(?<=id=")e\d/g), ['e1', 'e2', 'e1', 'e2', 'e3'], 'all batches before the break came twice: at least once')
  sender.close()
  t.notOk(existsSync('spool'))
})
