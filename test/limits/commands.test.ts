import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { createEcsLines } from '../../src/audit/ecs.js'
import { createPlainLines } from '../../src/audit/plain.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { peakOf } from '../../src/cli/limits-plan.js'
import { startEmulator } from '../../src/emulator/server.js'
import { someEvent } from '../audit/events.js'
import { narrowgate } from '../cli/shell.js'
import { client, request, startRig, UPSTREAM_TOKEN } from '../support/gate.js'

const app = client('app', 'rateLimit: { share: 50% }\nallow: [{ operation: listUsers }]')
const LIST = 'GET /api/v1/users'

t.test('narrowgate limits shows the buckets of a running gate; the plan reads its audit log', async t => {
  const emulator = await startEmulator({ apiTokens: [{ token: UPSTREAM_TOKEN }], rateLimits: { '/api/v1/users': 40 } })
  t.teardown(() => emulator.close())
  const rig = await startRig(t, { org: emulator.url, policies: { 'app.yaml': app.text }, limits: '{ org: { /api/v1/users: 40 } }' })
  const none = await narrowgate(['limits', '--url', rig.adminUrl])
  t.match(none, { code: 0, out: /no bucket has been called/ })
  for (let i = 0; i < 12; i++) await rig.ask(request(LIST, app.key))
  await rig.events(12)
  // What is shown may be a tenth of a second old.
  await setTimeout(150)

  const { code, out } = await narrowgate(['limits', '--url', rig.adminUrl])
  t.equal(code, 0)
  t.match(out, /^default: 0 of 37 in flight; counted by this gate alone\n/)
  t.match(out, /\/api\/v1\/users +40 narrowgate\.yaml +20 +10\n/)
  t.match(out, / {2}app +10 {2}50%\n/)
  const json = JSON.parse((await narrowgate(['limits', '--url', rig.adminUrl, '--json'])).out) as object
  t.match(json, { store: [], upstreams: [{ upstream: 'default', buckets: [{ bucket: '/api/v1/users', org: 40, source: 'config', allowance: 20, used: 10, clients: [{ client: 'app', used: 10 }] }] }] })

  const stop = new AbortController()
  const watching = narrowgate(['limits', '--watch', '--url', rig.adminUrl], { stop: stop.signal })
  const stopped = setTimeout(300).then(() => { stop.abort() })
  t.match(await watching, { code: 0, out: /\/api\/v1\/users/ }, 'until interrupted')
  await stopped

  const plan = await narrowgate(['limits', 'plan', '--usage', `${rig.folder}/audit.jsonl`, '-c', rig.configFile, '--json'], { environment: { UPSTREAM_TOKEN: 'x' } })
  t.equal(plan.code, 1, 'limits have refused calls')
  t.match(JSON.parse(plan.out), { rows: [{ upstream: 'default', bucket: '/api/v1/users', client: 'app', calls: 10, peak: 10, limited: 2, allowance: 20, headroom: 10, share: '63%' }], tight: [] })
  t.match((await narrowgate(['limits', 'plan', '--usage', `${rig.folder}/audit.jsonl`])).out, /^default \/api\/v1\/users: allowance \d+\/min\n.*peak minute[^]*app +10 +10 /, 'without a config: half of the catalogue')
})

t.test('the plan counts the files that were put aside, too; limits say when what answers is no gate', async t => {
  const plain = createPlainLines()
  const event = (id: string): string => plain(someEvent({ id, time: Date.parse('2026-11-22T12:00:00Z'), client: 'a', upstream: 'default', bucket: '/api/v1/apps', outcome: 'allowed', upstreamStatus: 200 }))
  const folder = t.testdir({ 'audit.jsonl': event('b'), 'audit.jsonl.20261122T101500123Z': event('a') })
  t.match(JSON.parse((await narrowgate(['limits', 'plan', '--usage', join(folder, 'audit.jsonl'), '--json'])).out), { rows: [{ calls: 2 }] })
  const emulator = await startEmulator({})
  t.teardown(() => emulator.close())
  t.match(await narrowgate(['limits', '--url', emulator.url]), { code: 1, err: /no gate answers at .*: --url is its admin listener/ })
})

t.test('the plan is the same from logs of every format, gzipped or not', async t => {
  const producer = { version: '1.2.3', gate: 'gate-1' }
  const formats = { plain: createPlainLines(), ocsf: createOcsfLines(producer), ecs: createEcsLines(producer) }
  const folder = t.testdir({})
  const began = Date.parse('2026-11-22T12:00:00Z')
  const events = Array.from({ length: 200 }, (_, i) => someEvent({ id: `e${i}`, time: began + i * 500, client: i % 4 === 0 ? 'b' : 'a', upstream: 'default', bucket: '/api/v1/apps', outcome: i % 10 === 9 ? 'limited' : 'allowed', upstreamStatus: i % 10 === 9 ? undefined : 200 }))
  for (const [name, format] of Object.entries(formats)) {
    const text = events.map(format).join('')
    for (const [file, content] of [[`${name}.jsonl`, text], [`${name}.jsonl.gz`, gzipSync(text)]] as const) {
      writeFileSync(join(folder, file), content)
      const { code, out, err } = await narrowgate(['limits', 'plan', '--usage', join(folder, file), '--json'])
      t.strictSame([code, err], [1, ''], file)
      // 90 of the 120 of a minute are a's, a tenth is refused.
      t.match(JSON.parse(out), { rows: [{ client: 'a', calls: 130, peak: 78, peakAt: '2026-11-22T12:00:00.500Z', limited: 20 }, { client: 'b', calls: 50, peak: 30, peakAt: '2026-11-22T12:00:00.000Z', limited: 0 }] }, file)
    }
  }
})

t.test('where nothing answers, and what is no URL', async t => {
  t.match(await narrowgate(['limits', '--url', 'http://127.0.0.1:1']), { code: 1, err: /no gate answers at http:\/\/127\.0\.0\.1:1/ })
  t.match(await narrowgate(['limits', '--url', 'gate']), { code: 2, err: /not a URL/ })
  t.match(await narrowgate(['limits', 'plan']), { code: 2, err: /--usage/ })
})

t.test('the peak minute is the fullest 60 seconds, however they fall', async t => {
  t.same(peakOf([]), { peak: 0, at: 0 })
  t.same(peakOf([0, 59_999, 60_000]), { peak: 2, at: 0 })
  t.same(peakOf([100_000, 0, 30_000, 50_000, 80_000]), { peak: 3, at: 0 })
  t.same(peakOf([0, 30_000, 50_000, 80_000, 89_000]), { peak: 4, at: 30_000 })
})
