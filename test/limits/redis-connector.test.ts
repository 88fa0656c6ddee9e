import { createServer as createPlain, connect, type AddressInfo, type Socket } from 'node:net'
import { createServer } from 'node:tls'
import t, { type Test } from 'tap'
import { createLine, type RedisAddress } from '../../src/limits/redis.js'
import { until } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'

/** What a TLS peer may send behind its handshake: a record that can't be deciphered. */
const GARBAGE = Buffer.concat([Buffer.from('1703030028', 'hex'), Buffer.alloc(40, 7)])

/** A TLS server whose certificate nobody trusts, behind a road that appends a broken record to what it says first. */
async function badServer (t: Test): Promise<{ port: number, count: () => number }> {
  const { cert, key } = makeCertificate({ commonName: 'nobody', names: ['127.0.0.1'] })
  const open = new Set<Socket>()
  const server = createServer({ cert, key }).on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  let count = 0
  const road = createPlain(client => {
    const inner = connect((server.address() as AddressInfo).port, '127.0.0.1')
    for (const one of [client, inner]) open.add(one.on('error', () => {}))
    client.on('data', chunk => { inner.write(chunk) }).on('close', () => { inner.destroy() })
    inner.once('data', chunk => { count++; client.write(Buffer.concat([chunk, GARBAGE])) })
    inner.on('close', () => { client.destroy() })
  })
  await new Promise<void>(resolve => road.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const one of open) one.destroy()
    server.close()
    road.close()
  })
  return { port: (road.address() as AddressInfo).port, count: () => count }
}

const ways: Array<[string, (port: number) => Partial<RedisAddress>]> = [
  ['one server', port => ({ url: `rediss://127.0.0.1:${port}` })],
  ['Sentinel', port => ({ url: 'rediss://nowhere.invalid', sentinel: { name: 'limits', nodes: [`127.0.0.1:${port}`] } })],
  ['Cluster', port => ({ url: 'rediss://nowhere.invalid', cluster: [`127.0.0.1:${port}`] })]
]
for (const [name, address] of ways) {
  t.test(`${name}: a refused certificate and a broken record after it are two errors of one socket, and the gate lives`, async t => {
    const { port, count } = await badServer(t)
    const errors: string[] = []
    const line = createLine({ url: '', commandTimeoutMs: 1000, prefix: 'narrowgate:', ...address(port) }, error => { errors.push(error.message) })
    t.teardown(async () => { await line.close() })
    // An error that nobody hears would be an uncaught one, which fails this file.
    t.ok(await until(() => count() > 2), 'it tries again')
    t.ok(errors.length > 0, String(errors[0]))
    await t.rejects(line.run('default', []))
  })
}
