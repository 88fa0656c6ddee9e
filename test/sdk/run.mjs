// Runs Okta's SDKs of other languages, unchanged but for URL and key, over TLS against the gate and the emulator.
// node test/sdk/run.mjs [python|go|java]... : installs each SDK with its own package manager, prints PASS, FAIL or SKIP.
// Needs `npm run build` before it, and openssl.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { createPublicKey, randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pino } from 'pino'
import { root, freePort } from '../support/gate-process.mjs'

const here = path.join(root, 'test/sdk')
const { startEmulator } = await import(path.join(root, 'dist/emulator/server.js'))
const { startGate } = await import(path.join(root, 'dist/server/start.js'))
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))

const LANGUAGES = {
  python: { tools: [['python3', '--version']], run: ['bash', path.join(here, 'python/run.sh')] },
  // Okta's Go SDK drops the port of its base URL (client.go: URL.Hostname()), so the gate has to stand on 443.
  go: { tools: [['go', 'version']], run: ['bash', path.join(here, 'go/run.sh')], port: 443 },
  java: { tools: [['java', '-version'], ['mvn', '--version']], run: ['bash', path.join(here, 'java/run.sh')] }
}

const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-sdk-'))
const file = name => path.join(folder, name)
const openssl = (...words) => execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder })

function certificates () {
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-subj', '/CN=narrowgate tests', '-keyout', 'ca.key', '-out', 'ca.pem', '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
  openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=localhost', '-keyout', 'key.pem', '-out', 'req.pem')
  writeFileSync(file('ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n')
  openssl('x509', '-req', '-in', 'req.pem', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '30', '-extfile', 'ext', '-out', 'cert.pem')
}

function clientKey (name) {
  openssl('genrsa', '-traditional', '-out', `${name}.pem`, '2048')
  const jwk = createPublicKey(readFileSync(file(`${name}.pem`))).export({ format: 'jwk' })
  writeFileSync(file(`policies/keys/${name}.json`), JSON.stringify({ keys: [jwk] }))
}

const RULES = `allow:
  - { operation: listUsers, as: list users }
  - { operation: getUser, as: get user, rateLimit: 5/min }
  - { operation: createUser, as: create user }
  - { operation: updateUser, as: update user }
  - { operation: replaceUser, as: replace user }
  - { operation: assignUserToGroup, as: add to group }
`

async function start (port) {
  mkdirSync(file('policies/keys'), { recursive: true })
  certificates()
  const { key, sha256 } = newKey(randomBytes)
  // A client for each mode, so that the three can wait out their 429 at the same time.
  const entries = { keyed: `apiKey: { sha256: ${sha256} }`, plain: 'privateKeyJwt: { jwks: { file: keys/plain.json } }', bound: 'privateKeyJwt: { jwks: { file: keys/bound.json }, dpop: required }' }
  for (const [name, entry] of Object.entries(entries)) {
    if (name !== 'keyed') clientKey(name)
    writeFileSync(file(`policies/${name}.yaml`), `version: 1\nclient: ${name}\nowner: tests\ndescription: an SDK\nauthenticate:\n  - ${entry}\n${RULES}`)
  }
  const emulator = await startEmulator({ apiTokens: [{ token: '00upstream' }], users: 25 })
  const publicUrl = port === 443 ? 'https://localhost' : `https://localhost:${port}`
  writeFileSync(file('narrowgate.yaml'), `listen: { host: 127.0.0.1, port: ${port}, tls: { cert: { file: cert.pem }, key: { file: key.pem } } }
publicUrl: ${publicUrl}
admin: { host: 127.0.0.1, port: 0 }
upstreams:
  default:
    org: ${emulator.url}
    credential: { apiToken: { value: { env: OKTA_TOKEN }, exception: { ticket: T-1, approvedBy: tests, expires: 2099-01-01 } } }
audit: { sinks: [{ file: { path: ./audit.jsonl, format: plain, chain: false, delivery: buffered } }] }
`)
  const gate = await startGate({ configFile: file('narrowgate.yaml'), environment: { OKTA_TOKEN: '00upstream' }, log: pino({ level: 'silent' }) })
  const group = [...emulator.org.groups.values()].find(({ type }) => type === 'OKTA_GROUP')
  return {
    environment: { GATE_URL: publicUrl, CA_FILE: file('ca.pem'), CLIENT_KEY: key, PLAIN_KEY: file('plain.pem'), BOUND_KEY: file('bound.pem'), GROUP_ID: group.id, WORK: folder, SSL_CERT_FILE: file('ca.pem') },
    stop: async () => { await gate.drain(1000); await emulator.close() }
  }
}

/** What the gate saw of tokens that ended in mid-run: each client with a key pair has asked for a second one. */
function renewed (name) {
  const events = readFileSync(file('audit.jsonl'), 'utf8').trim().split('\n').map(line => JSON.parse(line))
  rmSync(file('audit.jsonl'))
  for (const [client, mode] of [['plain', 'PrivateKey'], ['bound', 'DPoP']]) {
    const tokens = events.filter(event => event.client === client && event.path === '/oauth2/v1/token' && event.status === 200).length
    const bad = events.filter(event => event.client === client && event.reason === 'bad_credential' && event.path !== '/oauth2/v1/token').length
    const good = tokens === 2 && bad === 0
    if (!good) failed = true
    console.log(`${good ? 'PASS' : 'FAIL'} ${name} ${mode} token expiry in mid-run, as the gate saw it${good ? '' : `: ${tokens} tokens, ${bad} calls refused`}`)
  }
}

const present = ([tool, flag]) => spawnSync(tool, [flag], { stdio: 'ignore' }).status === 0

async function run (command, environment) {
  const child = spawn(command[0], command.slice(1), { env: { ...process.env, ...environment }, stdio: ['ignore', 'inherit', 'inherit'] })
  return await new Promise(resolve => child.once('exit', resolve))
}

const asked = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(LANGUAGES)
let failed = false
try {
  for (const name of asked) {
    const { tools, run: command, port } = LANGUAGES[name]
    const missing = tools.filter(tool => !present(tool)).map(([tool]) => tool)
    if (missing.length > 0) { console.log(`SKIP ${name}: not on this machine: ${missing.join(', ')}`); continue }
    let world
    try { world = await start(port ?? await freePort()) } catch (error) {
      if (error.code !== 'EACCES' && error.code !== 'EADDRINUSE') throw error
      console.log(`SKIP ${name}: port ${port} can't be had here`)
      continue
    }
    const code = await run(command, world.environment)
    if (code === 75) console.log(`SKIP ${name}: its SDK could not be installed`)
    else if (code !== 0) { failed = true; console.log(`FAIL ${name}: exit ${code}`) }
    await world.stop()
    if (code !== 75) renewed(name)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)
