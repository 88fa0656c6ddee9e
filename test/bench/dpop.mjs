// npm run build && node test/bench/dpop.mjs [--requests 10000] [--rate 1000] [--plain]: calls through the gate to an org
// that enforces DPoP, while the signing key changes and tokens expire. Ends with 1 when any call has failed or the org
// has refused a proof. --plain leaves DPoP out, for the gate's CPU per request beside it.
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { calculateJwkThumbprint } from 'jose'
import { freePort, root, startGate } from '../support/gate-process.mjs'

const { values } = parseArgs({ options: { requests: { type: 'string', default: '10000' }, rate: { type: 'string', default: '1000' }, plain: { type: 'boolean', default: false } } })
const [total, rate] = [Number(values.requests), Number(values.rate)]
const { startEmulator } = await import(path.join(root, 'dist/emulator/server.js'))
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const CLIENT = '0oa1narrowgatebench5'
const CLOCK_TICKS = 100

async function signingKey () {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' })
  return { pem: privateKey.export({ type: 'pkcs8', format: 'pem' }), jwk: { ...jwk, kid: await calculateJwkThumbprint(jwk), alg: 'ES256' } }
}

const keys = [await signingKey(), await signingKey()]
const emulator = await startEmulator({
  serviceApps: [{ clientId: CLIENT, jwks: { keys: [keys[0].jwk] }, scopes: ['okta.users.read'], dpop: !values.plain }],
  rateLimits: { '/api/v1/users': 10_000_000, 'GET /api/v1/users/{id}': 10_000_000, '/oauth2/v1/token': 10_000_000 },
  concurrency: 5000,
  tokenLifetimeSeconds: 6,
  receivedSize: 2 * total
})
const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-dpop-'))
const client = newKey(randomBytes)
const port = await freePort()
const config = first => `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
upstreams:
  default:
    org: ${emulator.url}
    credential: { serviceApp: { clientId: ${CLIENT}, keys: ${first}, dpop: ${!values.plain} } }
limits: { org: { '*': 1000000 }, concurrency: 1000 }
audit: { sinks: [{ file: { path: audit.jsonl, delivery: buffered } }] }
`
mkdirSync(path.join(folder, 'policies'))
writeFileSync(path.join(folder, 'policies/bench.yaml'), `version: 1\nclient: bench\nowner: bench@example.com\ndescription: calls under DPoP\nauthenticate: [{ apiKey: { sha256: ${client.sha256} } }]\nallow: [{ operation: getUser }]\n`)
for (const [index, { pem }] of keys.entries()) writeFileSync(path.join(folder, `${index}.pem`), pem, { mode: 0o600 })
const file = path.join(folder, 'narrowgate.yaml')
writeFileSync(file, config('[{ file: 0.pem }]'))
const gate = await startGate(file)
const cpu = () => { const fields = readFileSync(`/proc/${gate.pid}/stat`, 'utf8').split(') ')[1].split(' '); return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS }

const agent = new http.Agent({ keepAlive: true, maxSockets: 100 })
const user = [...emulator.org.users.keys()].at(-1)
const statuses = new Map()
const call = () => new Promise(resolve => {
  const done = status => { statuses.set(status, (statuses.get(status) ?? 0) + 1); resolve() }
  http.get({ port, host: '127.0.0.1', path: `/api/v1/users/${user}`, agent, headers: { authorization: `SSWS ${client.key}` } }, response => { response.resume().on('end', () => done(response.statusCode)) }).on('error', error => done(error.code))
})

const began = performance.now()
const cpuBefore = cpu()
const waiting = []
let changed = false
for (let sent = 0; sent < total;) {
  const due = Math.min(total, Math.floor((performance.now() - began) / 1000 * rate))
  for (; sent < due; sent++) waiting.push(call())
  if (!changed && sent > total / 3) {
    changed = true
    emulator.org.apps.get(CLIENT).jwks.keys.push(keys[1].jwk)
    writeFileSync(file, config('[{ file: 1.pem }, { file: 0.pem }]'))
  }
  await new Promise(resolve => setTimeout(resolve, 5))
}
await Promise.all(waiting)
const seconds = (performance.now() - began) / 1000
const refused = emulator.received.all.filter(({ status, target }) => (status === 400 || status === 401) && target.startsWith('/api/'))
console.log(JSON.stringify({
  node: process.version,
  calls: total,
  perSecond: Math.round(total / seconds),
  statuses: Object.fromEntries(statuses),
  refusedByOkta: refused.length,
  tokens: emulator.received.all.filter(({ status, target }) => status === 200 && target === '/oauth2/v1/token').length,
  newKeyServes: /accepts the first signing key/.test(gate.output()),
  gateCpuMicrosecondsPerCall: Math.round((cpu() - cpuBefore) / total * 1e6)
}))
await gate.stop()
await emulator.close()
agent.destroy()
rmSync(folder, { recursive: true, force: true })
process.exitCode = statuses.size === 1 && statuses.has(200) && refused.length === 0 ? 0 : 1
