import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { calculateJwkThumbprint, type JWK } from 'jose'
import { pino } from 'pino'
import t from 'tap'
import { startEmulator, type EmulatorOptions } from '../../src/emulator/server.js'
import { Caretaker } from '../../src/server/caretaker.js'
import { createApiToken } from '../../src/upstream/api-token.js'
import { Secret } from '../../src/domain/secret.js'
import { narrowgate } from '../cli/shell.js'
import { startVault } from '../support/secret-services.js'
import { AUTHN_TOKEN, client, later, request, startRig, startStub, until, UPSTREAM_TOKEN, writeFolder, type Rig } from '../support/gate.js'

const CLIENT_ID = '0oa1narrowgatetest05'
const NEXT_TOKEN = '00CANARYnextTOKEN'
const DAY_MS = 86_400_000
const LIST = 'GET /api/v1/users?limit=1'

/** Registered under its thumbprint, as `upstream rotate` prints it. */
const newKey = async (): Promise<{ pem: string, jwk: JWK }> => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' }) as JWK
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, jwk: { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'ES256', use: 'sig' } }
}
const [key, second] = [await newKey(), await newKey()]
const portal = client('portal', 'allow: [{ operation: listUsers }, { operation: listGroups }]')
const serviceApp = (keys = '[{ file: key.pem }]', more = ''): string => `serviceApp: { clientId: ${CLIENT_ID}, keys: ${keys}, dpop: true${more} }`

async function okta (t: { teardown: (end: () => unknown) => void }, options: EmulatorOptions = {}) {
  const emulator = await startEmulator({
    serviceApps: [{ clientId: CLIENT_ID, jwks: { keys: [key.jwk] }, scopes: ['okta.users.read', 'okta.groups.read'], dpop: true }],
    rateLimits: { '/api/v1/users': 1_000_000, '/oauth2/v1/token': 10_000 },
    concurrency: 1000,
    ...options
  })
  t.teardown(() => emulator.close())
  return emulator
}

const status = async (rig: Rig, line = LIST, who = portal): Promise<number> => (await rig.ask(request(line, who.key))).status
const metric = async (rig: Rig, pattern: RegExp): Promise<boolean> => pattern.test((await rig.admin('/metrics')).text)

t.test('keys change and tokens expire under load: no call fails, no proof is wrong', async t => {
  const emulator = await okta(t, { tokenLifetimeSeconds: 5 })
  const files = { 'key.pem': key.pem, 'second.pem': second.pem }
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential: serviceApp(), files, pollMs: 100 })
  const seen = new Map<number, number>()
  const load = { running: true }
  const worker = async (): Promise<void> => {
    const connection = await rig.open()
    while (load.running) {
      connection.send(request(LIST, portal.key))
      const answer = await connection.answer()
      seen.set(answer?.status ?? 0, (seen.get(answer?.status ?? 0) ?? 0) + 1)
      await later(20)
    }
    connection.destroy()
  }
  const workers = Array.from({ length: 8 }, worker)
  await later(300)
  const config = readFileSync(rig.configFile, 'utf8')
  rig.write('narrowgate.yaml', config.replace('[{ file: key.pem }]', '[{ file: second.pem }, { file: key.pem }]'))
  t.ok(await until(() => /Okta refuses the first signing key/.test(rig.log())), 'the new key is not registered yet: an alarm, and the old one serves')
  t.ok(await metric(rig, /narrowgate_credential_position\{upstream="default",credential="serviceApp"\} 2/))
  emulator.org.apps.get(CLIENT_ID)!.jwks.keys.push(second.jwk)
  rig.write('narrowgate.yaml', config.replace('[{ file: key.pem }]', '[{ file: second.pem }]'))
  t.ok(await until(() => /accepts the first signing key/.test(rig.log()), 8000), 'once it is, it serves')
  emulator.org.apps.get(CLIENT_ID)!.jwks.keys.shift()
  await later(1500)
  load.running = false
  await Promise.all(workers)
  t.same([...seen.keys()], [200], `${seen.get(200)} calls`)
  t.notOk(emulator.received.all.some(({ status, target }) => status === 401 && target.startsWith('/api/')), 'Okta has refused no proof and no token')
})

t.test('upstream rotate makes a key, waits for Okta and puts it first', async t => {
  const emulator = await okta(t)
  const { configFile, folder } = await writeFolder(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential: serviceApp(), files: { 'key.pem': key.pem } })
  const refused = await narrowgate(['upstream', 'rotate', '-c', configFile, '--wait', '0', '--json'], { now: Date.now() })
  t.equal(refused.code, 1, 'nobody has registered it')
  const first = JSON.parse(refused.out) as { accepted: boolean, key: string, publicJwk: JWK }
  t.equal(first.accepted, false)
  t.match(refused.err, first.publicJwk.kid!, 'who has to register it sees it before the end')
  t.equal(statSync(first.key).mode & 0o777, 0o600)
  t.same(Object.keys(first.publicJwk).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'], 'nothing private is printed')
  t.equal(readFileSync(configFile, 'utf8').includes(first.key), false, 'nothing has changed')
  emulator.org.apps.get(CLIENT_ID)!.jwks.keys.push(first.publicJwk)
  const done = await narrowgate(['upstream', 'rotate', '-c', configFile, '--key', first.key, '--write'], { now: Date.now() })
  t.equal(done.code, 0, done.err)
  t.match(done.err, /Remove the old key, in Okta and here, after 20/)
  t.match(readFileSync(configFile, 'utf8'), new RegExp(`keys: ?\\[ ?\\{ file: ${first.key.slice(folder.length + 1).replace(/[.]/g, '\\.')} \\}, ?\\{ file: key\\.pem \\} ?\\]`))
  t.match(await narrowgate(['check', '-c', configFile], { now: Date.now() }), { code: 1 }, 'warnings only')
  t.match(await narrowgate(['upstream', 'rotate', '-c', configFile, '--key', join(folder, 'key.pem')]), { code: 2, err: /no key of an earlier run/ })
})

t.test('the second API token is tried when Okta refuses the first, and somebody is told', async t => {
  const emulator = await okta(t, { apiTokens: [{ token: UPSTREAM_TOKEN }, { token: NEXT_TOKEN }] })
  const credential = 'apiToken: { value: { env: UPSTREAM_TOKEN }, next: { env: NEXT_TOKEN }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } }'
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential, environment: { NEXT_TOKEN } })
  t.equal(await status(rig), 200)
  emulator.revokeToken(UPSTREAM_TOKEN)
  const before = emulator.received.count
  t.equal(await status(rig), 200, 'the call that found out succeeds')
  t.equal(emulator.received.count - before, 2)
  t.equal(await status(rig), 200)
  t.equal(emulator.received.count - before, 3, 'the refused one is not tried each time')
  t.match(rig.log(), /"alarm":"token_refused","token":1/)
  t.ok(await metric(rig, /narrowgate_credential_alarms\{upstream="default",kind="token_refused"\} 1/))
  t.ok(await metric(rig, /narrowgate_credential_position\{upstream="default",credential="apiToken"\} 2/))
  emulator.revokeToken(NEXT_TOKEN)
  t.equal(await status(rig), 502, 'when both are dead it is said')
})

t.test('a token in Vault: a new one is taken up without a restart, and the last one outlives Vault', async t => {
  const emulator = await okta(t, { apiTokens: [{ token: UPSTREAM_TOKEN }, { token: NEXT_TOKEN }] })
  const vault = await startVault(t)
  vault.tokens.set('hvs.CANARY', 0)
  vault.secrets.set('okta', JSON.stringify({ token: UPSTREAM_TOKEN }))
  const credential = 'apiToken: { value: { vault: { path: okta, field: token } }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } }'
  const upstream = `\nsecretStores: { refreshSeconds: 3600, vault: { address: ${vault.origin}, auth: { token: { env: VAULT_TOKEN } } } }`
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential, upstream, environment: { VAULT_TOKEN: 'hvs.CANARY' } })
  t.equal(await status(rig), 200)
  const shown = 'narrowgate_secret_store_good\\{store="vault",secret="vault secret/okta token"\\}'
  t.ok(await metric(rig, new RegExp(`${shown} 1`)))
  vault.down = 503
  await rig.gate.rereadSecrets()
  t.ok(await metric(rig, new RegExp(`${shown} 0`)))
  t.equal(await status(rig), 200, 'Vault is away: the last value serves')
  t.match(rig.log(), /"alarm":"secret_kept","secret":"vault secret\/okta token","reason":"Vault is sealed/)
  t.match(JSON.parse((await rig.admin('/readyz')).text), { secretStores: [{ store: 'vault', good: false }] })
  rig.write('narrowgate.yaml', readFileSync(rig.configFile, 'utf8').replace('approvedBy: tests', 'approvedBy: others'))
  t.match(await rig.gate.reload(), { swapped: true }, 'a reload meanwhile is none the worse')
  vault.down = undefined
  await rig.gate.rereadSecrets()
  t.match(rig.log(), /a secret can be read again/)

  vault.secrets.set('okta', JSON.stringify({ token: NEXT_TOKEN }))
  emulator.revokeToken(UPSTREAM_TOKEN)
  const began = rig.gate.snapshot
  await rig.gate.rereadSecrets()
  t.ok(await until(() => rig.gate.snapshot !== began), 'what has changed is loaded')
  t.equal(await status(rig), 200, 'the new token serves')
  rig.write('narrowgate.yaml', readFileSync(rig.configFile, 'utf8').replace('path: okta', 'path: gone'))
  t.match(await rig.gate.reload(), { swapped: false, problems: [{ message: /has no gone/ }] }, 'a secret that is not there is a problem of the load')
  t.equal(await status(rig), 200)
  t.notMatch(rig.log(), /hvs\./)
})

t.test('a credential that Okta refuses is looked up again at once', async t => {
  const emulator = await okta(t, { apiTokens: [{ token: UPSTREAM_TOKEN }, { token: NEXT_TOKEN }] })
  const vault = await startVault(t)
  vault.tokens.set('hvs.CANARY', 0)
  vault.secrets.set('okta', JSON.stringify({ token: UPSTREAM_TOKEN }))
  const credential = 'apiToken: { value: { vault: { path: okta, field: token } }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } }'
  const upstream = `\nsecretStores: { refreshSeconds: 3600, vault: { address: ${vault.origin}, auth: { token: { env: VAULT_TOKEN } } } }`
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential, upstream, environment: { VAULT_TOKEN: 'hvs.CANARY' } })
  vault.secrets.set('okta', JSON.stringify({ token: NEXT_TOKEN }))
  emulator.revokeToken(UPSTREAM_TOKEN)
  t.equal(await status(rig), 502, 'the call that found out')
  t.ok(await until(async () => await status(rig) === 200), 'an hour before the schedule')
})

t.test('a scope that Okta refuses costs only the rules that need it', async t => {
  const emulator = await okta(t, { serviceApps: [{ clientId: CLIENT_ID, jwks: { keys: [key.jwk] }, scopes: ['okta.users.read'], dpop: true }] })
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential: serviceApp(), files: { 'key.pem': key.pem } })
  t.equal(await status(rig), 200)
  const refused = await rig.ask(request('GET /api/v1/groups', portal.key))
  t.equal(refused.status, 503)
  t.match(refused.error.errorCauses, [{ errorSummary: /portal\.yaml#1 needs the scope okta\.groups\.read, which Okta refuses/ }])
  t.match(rig.log(), /"scope":"okta\.groups\.read","rules":\["portal\.yaml#1 \(listGroups\)"\]/)
})

t.test('another client id that does not work yet leaves the old one in use', async t => {
  const emulator = await okta(t)
  const rig = await startRig(t, { org: emulator.url, policies: { 'portal.yaml': portal.text }, credential: serviceApp(), files: { 'key.pem': key.pem }, pollMs: 100 })
  const config = readFileSync(rig.configFile, 'utf8')
  rig.write('narrowgate.yaml', config.replace(CLIENT_ID, '0oa1anotherxxxtest05'))
  t.ok(await until(async () => { await status(rig); return /"alarm":"no_token"/.test(rig.log()) }))
  for (let i = 0; i < 5; i++) t.equal(await status(rig), 200)
})

t.test('an org that is stuck delays neither the start nor another org', async t => {
  const good = await okta(t)
  const stuck = await startStub(t)
  stuck.answer = () => {}
  const preview = client('preview', 'upstream: preview\nallow: [{ operation: listUsers }]')
  const began = Date.now()
  const rig = await startRig(t, {
    org: good.url,
    policies: { 'portal.yaml': portal.text, 'preview.yaml': preview.text },
    credential: serviceApp(),
    upstream: `timeouts: { headersMs: 1000 }\n  preview:\n    org: ${stuck.origin}\n    timeouts: { connectMs: 200, headersMs: 300 }\n    credential: { apiToken: { value: { env: UPSTREAM_TOKEN }, exception: { ticket: SEC-1, approvedBy: tests, expires: 2099-01-01 } } }`,
    files: { 'key.pem': key.pem },
    ownCalls: true
  })
  t.ok(Date.now() - began < 6000, `started after ${Date.now() - began} ms`)
  const slow: Array<Promise<number>> = Array.from({ length: 20 }, () => status(rig, LIST, preview))
  const times: number[] = []
  for (let i = 0; i < 20; i++) {
    const at = performance.now()
    t.equal(await status(rig), 200)
    times.push(performance.now() - at)
  }
  t.ok(Math.max(...times) < 1000, `slowest ${Math.round(Math.max(...times))} ms`)
  t.ok((await Promise.all(slow)).every(code => code === 504 || code === 502))
  t.ok(await metric(rig, /narrowgate_upstream_breaker_open\{upstream="preview"\} 1/), 'its breaker is open')
  t.ok(await metric(rig, /narrowgate_upstream_breaker_open\{upstream="default"\} 0/), 'the other one\'s is not')
  t.ok(await until(async () => {
    const count = stuck.requests.length
    const refused = await rig.ask(request(LIST, preview.key))
    return refused.status === 502 && /the call was not sent/.test(refused.error.errorSummary) && stuck.requests.length === count
  }), 'but for the one that goes first to see, calls are refused at once and not sent')
  stuck.answer = (_, socket) => { socket.write('HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n') }
  t.ok(await until(async () => await status(rig, LIST, preview) === 500), 'once it answers, whatever it is, calls go through')
  t.ok(await metric(rig, /narrowgate_upstream_breaker_open\{upstream="preview"\} 0/))
})

t.test('tokens that lie idle are used, and what ends is told of in time', async t => {
  let log = ''
  let now = Date.UTC(2026, 0, 1)
  const token = createApiToken({ token: (secret => () => secret)(new Secret(AUTHN_TOKEN)), next: (secret => () => secret)(new Secret(NEXT_TOKEN)), exceptionExpiresAt: Infinity, now: () => now })
  const used: string[] = []
  let answer: number | undefined = 200
  const ends = now + 40 * DAY_MS
  const caretaker = new Caretaker({
    log: pino({ base: null, timestamp: false }, { write: (line: string) => { log += line } }),
    tokens: () => [{ upstream: 'default', token }],
    expiries: () => [{ what: 'certificate', name: 'listen.tls.cert', at: ends }],
    use: async (_, { presented, position }) => { used.push(`${position} ${presented.token.reveal()}`); return answer }
  })
  token.get()
  await caretaker.look(now)
  t.same(used, [`2 ${NEXT_TOKEN}`], 'nothing is known of the second, the first was used just now')
  now += 19 * DAY_MS
  await caretaker.look(now)
  t.equal(used.length, 1)
  now += 2 * DAY_MS
  answer = undefined
  await caretaker.look(now)
  answer = 200
  await caretaker.look(now)
  t.same(used.slice(1), [`1 ${AUTHN_TOKEN}`, `2 ${NEXT_TOKEN}`, `1 ${AUTHN_TOKEN}`, `2 ${NEXT_TOKEN}`], 'without an answer it is tried again')
  await caretaker.look(now + 1000)
  t.equal(used.length, 5)
  t.match(log, /idle for 20 days and was used/)
  now += 21 * DAY_MS
  answer = 401
  await caretaker.look(now)
  t.match(log, /"alarm":"token_refused","token":1/)
  t.equal(log.match(/"what":"certificate"/g)?.length, 2, 'within 30 days, and at the end; each said once')
  t.match(log, /expires within 30 days[^]*this has expired/)
  t.notMatch(log, /CANARY/)
})
