import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { hashKey } from '../../src/clients/api-key.js'
import { listKeys, revokeKey, rotateKey } from '../../src/cli/keys-manage.js'
import type { Shell } from '../../src/cli/shell.js'
import { createEcsLines } from '../../src/audit/ecs.js'
import { createOcsfLines } from '../../src/audit/ocsf.js'
import { createPlainLines } from '../../src/audit/plain.js'
import { someEvent } from '../audit/events.js'
import { makePair } from '../clients/tokens.js'

const NOW = Date.UTC(2026, 10, 22)
const OLD = 'ab'.repeat(32)

t.test('keys age: listed with their last use, rotated and revoked in the policy itself, comments kept', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-keys-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const policies = join(folder, 'policies')
  const file = join(policies, 'portal.yaml')
  mkdirSync(join(policies, 'keys'), { recursive: true })
  writeFileSync(join(policies, 'keys/portal.json'), JSON.stringify({ keys: [makePair('ES256').jwk] }))
  writeFileSync(file, `# the portal\nversion: 1\nclient: portal\nauthenticate:\n  # the first key\n  - apiKey: { sha256: ${OLD}, expires: 2026-12-01 }\n  - privateKeyJwt: { jwks: { file: keys/portal.json } }\nallow:\n  - { operation: getUser } # one user\n`)
  const audit = join(folder, 'audit.jsonl')
  writeFileSync(audit, JSON.stringify({ event: 'narrowgate.request', version: 1, time: '2026-11-20T10:00:00.000Z', id: '1', outcome: 'allowed', stage: 'observe', method: 'GET', source: '::1', client: 'portal', keyId: 'abababab', bytesIn: 0, bytesOut: 0, durationMs: 1 }) + '\n')
  let out = ''
  const shell = { terminal: { out: (text: string) => { out += text }, err: () => {}, color: false, columns: 80 }, environment: {}, now: () => NOW } as unknown as Shell
  const options = { policies }
  const list = async (): Promise<{ code: number, keys: Record<string, string>[] }> => {
    out = ''
    const code = await listKeys(shell, { ...options, usage: [audit], json: true })
    return { code, ...JSON.parse(out) as { keys: Record<string, string>[] } }
  }

  const first = await list()
  t.equal(first.code, 1, 'one ends within 30 days')
  t.match(first.keys, [{ kind: 'apiKey', keyId: 'abababab', expires: '2026-12-01', state: 'expiring', lastUsed: '2026-11-20T10:00:00.000Z' }, { kind: 'privateKeyJwt', keyId: /^[0-9a-f]{8}$/, state: 'good' }])

  out = ''
  t.equal(await rotateKey(shell, 'portal', { ...options, expires: '2027-11-30' }), 0)
  const key = out.trim()
  const text = readFileSync(file, 'utf8')
  t.match(text, `- apiKey: { sha256: ${hashKey(key)}, expires: 2027-11-30 }`, 'its hash, and never the key')
  t.notOk(text.includes(key))
  for (const comment of ['# the portal', '# the first key', '# one user']) t.ok(text.includes(comment), comment)
  t.equal((await list()).keys.length, 3, 'and it loads')
  await t.rejects(rotateKey(shell, 'portal', options), { message: /has 2 keys already/ })

  await t.rejects(revokeKey(shell, 'portal', 'ffffffff', options), { message: /has no API key/ })
  await t.rejects(revokeKey(shell, 'portal', 'zz', options), { message: /first 8 or more/ })
  await t.rejects(revokeKey(shell, 'nobody', 'abababab', options), { message: /no policy has the client/ })
  t.equal(await revokeKey(shell, 'portal', 'abababab', options), 0)
  t.notOk(readFileSync(file, 'utf8').includes(OLD))
  t.same((await list()).keys.map(({ kind }) => kind), ['apiKey', 'privateKeyJwt'])
  writeFileSync(file, readFileSync(file, 'utf8').replace('client: portal', 'client: portal\nexpires: 2026-12-10'))
  t.match(await list(), { code: 1, keys: [{ kind: 'apiKey', expires: '2026-12-10', state: 'expiring' }, { kind: 'privateKeyJwt', expires: '2026-12-10', state: 'expiring' }] }, 'nothing outlives its policy')
})

t.test('the last use is found in every format, in files put aside too; calls from a foreign network are none', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-keys-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const policies = join(folder, 'policies')
  mkdirSync(policies)
  writeFileSync(join(policies, 'portal.yaml'), `version: 1\nclient: portal\nauthenticate:\n  - apiKey: { sha256: ${OLD} }\n  - apiKey: { sha256: ${'cd'.repeat(32)} }\n  - mtls: { uri: spiffe://acme/portal }\nallow:\n  - { operation: getUser }\n`)
  let out = ''
  const shell = { terminal: { out: (text: string) => { out += text }, err: () => {}, color: false, columns: 80 }, environment: {}, now: () => NOW } as unknown as Shell
  const producer = { version: '1.2.3', gate: 'gate-1' }
  for (const [name, lines] of Object.entries({ ocsf: createOcsfLines(producer), ecs: createEcsLines(producer), plain: createPlainLines() })) {
    const audit = join(folder, `${name}.jsonl`)
    const at = (time: number, more: object): string => `${lines(someEvent({ time, client: 'portal', keyId: 'abababab', authentication: 'apiKey', ...more })).trim()}\n`
    writeFileSync(`${audit}.20261101T000000000Z`, at(NOW - 9000, {}) + at(NOW - 7000, { keyId: '01234567', authentication: 'mtls' }))
    writeFileSync(audit, at(NOW - 5000, { outcome: 'refused', reason: 'network' }) + at(NOW - 8000, { outcome: 'refused', reason: 'no_rule' }))
    out = ''
    t.equal(await listKeys(shell, { policies, usage: [audit], json: true }), 0, name)
    t.same((JSON.parse(out) as { keys: { kind: string, lastUsed?: string }[] }).keys.map(({ kind, lastUsed }) => [kind, lastUsed]), [
      ['apiKey', new Date(NOW - 8000).toISOString()], ['apiKey', undefined], ['mtls', new Date(NOW - 7000).toISOString()]
    ], name)
  }
  out = ''
  await listKeys(shell, { policies, usage: [join(folder, 'plain.jsonl')] })
  t.match(out, /apiKey +cdcdcdcd .*last used never/)
})
