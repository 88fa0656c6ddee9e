// npm run test:replay -- DIR: replays recorded Okta traffic through the gate and counts what differs.
// DIR holds the corpus and its harness (replay-upstream.mjs, replay-client.mjs, compare-received.mjs, lib.mjs).
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { freePort, root, startGate } from '../support/gate-process.mjs'

const directory = process.argv[2]
if (directory === undefined) {
  console.error('usage: npm run test:replay -- DIR')
  process.exit(2)
}
const from = name => import(pathToFileURL(path.resolve(directory, name)).href)
const { loadCorpus, rawTarget, readJsonl } = await from('lib.mjs')
const { start } = await from('replay-upstream.mjs')
const { replay } = await from('replay-client.mjs')
const { compare } = await from('compare-received.mjs')
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const { createCatalog } = await import(path.join(root, 'dist/okta/catalog.js'))

const TOKEN_ENDPOINT = '/oauth2/v1/token'
const UPSTREAM_TOKEN = 'replay-upstream-token'
const corpus = path.join(directory, 'corpus-python.jsonl.gz')
const everyRow = loadCorpus([corpus])
const { allow } = JSON.parse(readFileSync(path.join(directory, 'allowlist-python.json'), 'utf8'))

/** How a row has to come back: the classes of exceptions that the gate makes on purpose. */
function classOf (row) {
  const requestPath = row.request.path
  if (requestPath.replace(/^\/+/, '/') === TOKEN_ENDPOINT) return 'token endpoint'
  if (requestPath.includes('//')) return 'double slash'
  if (requestPath.endsWith('/')) return 'trailing slash'
  if (requestPath.startsWith('/api/v1/authn')) return 'authn'
  if (row.response.status === 401 && /"E0000011"/.test(row.response.body ?? '')) return 'credential'
  return 'identical'
}

function writePolicies (folder, sha256) {
  const catalog = createCatalog()
  const wanted = allow.filter(entry => entry.path !== TOKEN_ENDPOINT)
  const missing = wanted.filter(entry => catalog.byTemplate(entry.method, entry.path) === undefined)
  const declared = missing.map((entry, i) => `  - { id: recorded${i}, request: '${entry.method} ${entry.path}' }`)
  writeFileSync(path.join(folder, 'operations.yaml'), `version: 1\noperations:\n${declared.join('\n')}\n`)
  const rules = wanted.map(entry => {
    const names = entry.query.length === 0 ? '' : `\n    query: { allow: { ${entry.query.map(name => `${JSON.stringify(name)}: any`).join(', ')} } }`
    return `  - request: ${entry.method} ${entry.path}${names}`
  })
  writeFileSync(path.join(folder, 'recorded.yaml'), `version: 1
client: recorded
owner: replay@example.com
description: every operation that the recorded traffic uses
authenticate:
  - apiKey: { sha256: ${sha256} }
allow:
${rules.join('\n')}
`)
  return { wanted, declared: missing.length }
}

function writeConfig (folder, upstream, port) {
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${upstream}
    credential:
      apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: SEC-1, approvedBy: replay, expires: 2099-01-01 } }
limits:
  org: { '*': 1000000 }
audit:
  sinks: [{ file: { path: ./audit.jsonl } }]
`)
  return file
}

/** Requests that the allowlist does not hold: every other catalogue operation, called once. */
function outsideRequests (wanted) {
  const shape = (method, template) => `${method} ${template.replace(/\{[^}]*\}/g, '{}')}`
  const listed = new Set(wanted.map(entry => shape(entry.method, entry.path)))
  return createCatalog().operations
    .filter(operation => operation.template !== TOKEN_ENDPOINT && !listed.has(shape(operation.method, operation.template)))
    .map(operation => ({ method: operation.method, target: operation.template.replace(/\{[^}]*\}/g, 'x0000000000000000001') }))
}

async function main () {
  const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-replay-'))
  const policies = path.join(work, 'policies')
  mkdirSync(policies)
  const { key, sha256 } = newKey(randomBytes)
  const { wanted, declared } = writePolicies(policies, sha256)
  const log = path.join(work, 'received.jsonl')
  const upstream = await start(everyRow, { requireAuth: [`SSWS ${UPSTREAM_TOKEN}`, ''], log, logBodies: true, noHints: true, noMarks: true })
  const gate = await startGate(writeConfig(work, upstream.base, await freePort()), { env: { OKTA_API_TOKEN: UPSTREAM_TOKEN } })
  try {
    const classes = group(everyRow)
    const counts = Object.fromEntries(Object.entries(classes).map(([name, rows]) => [name, rows.length]))
    const common = { base: gate.url, upstreamBase: upstream.base, auth: `SSWS ${key}`, noHints: true, concurrency: 1, ignoreHeader: ['set-cookie'] }
    const played = await replay({ ...common, loaded: classes.identical, bodyHost: 'upstream' })
    // Only /authn answers have their _links rewritten: there the bodies point to the gate.
    const authn = await replay({ ...common, loaded: classes.authn, bodyHost: 'proxy' })
    const refused = await refusals([...(classes['double slash'] ?? []), ...(classes['trailing slash'] ?? [])], gate.url, key)
    const before = upstream.org.stats.received
    const outside = await refusedOutside(outsideRequests(wanted), gate.url, key)
    const leaked = upstream.org.stats.received - before
    const exit = await gate.stop()
    await upstream.close()
    const received = compare(readJsonl(log), everyRow, { clientAuth: `SSWS ${key}`, expectAuth: [`SSWS ${UPSTREAM_TOKEN}`, '(none)'] })
    const audit = readFileSync(path.join(work, 'audit.jsonl'), 'utf8')
    const report = {
      rows: everyRow.length,
      declared,
      counts,
      identical: played.identical,
      differing: played.differing,
      differences: played.classes,
      authn: { identical: authn.identical, differences: authn.classes },
      refusedForTheirSlash: refused,
      outsideTheAllowlist: outside,
      reachedTheUpstream: leaked,
      received: { url: received.url, body: received.body, withoutRow: received.no_row, clientCredentials: received.client_credential_leaked, unexpectedCredentials: received.unexpected_auth },
      auditEvents: audit.trimEnd().split('\n').filter(line => !line.startsWith('{"event":"narrowgate.')).length, // lines of the chain are no events
      exit
    }
    console.log(JSON.stringify(report, null, 1))
    for (const [name, examples] of Object.entries(played.examples)) console.error(name, JSON.stringify(examples[0]).slice(0, 600))

    assert.deepEqual(counts, expectedCounts, 'rows by kind')
    assert.deepEqual(played.classes, expectedDifferences, 'every row that is no exception comes back identical')
    assert.equal(played.identical, counts.identical - expectedDifferences['body: org URLs not rewritten'])
    assert.equal(authn.identical, counts.authn, '/authn answers come back with their _links pointing to the gate')
    assert.equal(refused, (counts['double slash'] ?? 0) + (counts['trailing slash'] ?? 0), 'rows refused with a message that names the slash')
    assert.equal(outside.refused, outside.sent, 'every request outside the allowlist is refused with 403')
    assert.equal(leaked, 0, 'none of them reached the upstream')
    assert.equal(received.url.changed + received.body.changed + received.no_row, 0, 'every URL and body arrives unchanged')
    assert.equal(received.client_credential_leaked + received.unexpected_auth, 0, 'no client credential reaches the upstream')
    assert.ok(!gate.output().includes('CANARY') && !audit.includes('CANARY'), 'no recorded secret in any output')
    assert.ok(!gate.output().includes(UPSTREAM_TOKEN) && !audit.includes(UPSTREAM_TOKEN) && !audit.includes(key), 'no credential in any output')
    assert.equal(report.auditEvents, played.sent + authn.sent + refused + outside.sent, 'one audit event for each request')
    assert.equal(exit, 0)
    console.log(`replay: ${played.identical + 62} of ${counts.identical} rows identical (62 of them with -admin URLs in the body, byte for byte Okta's), ${authn.identical} of ${counts.authn} /authn rows with rewritten _links, ${refused} refused for their slash, ${counts['token endpoint']} of the token endpoint left out, ${outside.refused} requests outside the allowlist refused`)
  } finally {
    await gate.stop()
    await upstream.close().catch(() => {})
    rmSync(work, { recursive: true, force: true })
  }
}

/** What the corpus holds, by kind. A change here is a change of what the gate promises. */
const expectedCounts = { identical: 2218, authn: 13, 'token endpoint': 40, 'double slash': 31, 'trailing slash': 2 }

/**
 * Bodies pass byte for byte. In 62 of them the harness would have {org}-admin URLs rewritten, because it has one
 * option for the -admin host in headers and bodies, and the Link lines need it: this class says that the bytes are
 * exactly the upstream's.
 */
const expectedDifferences = { 'body: org URLs not rewritten': 62 }

function group (rows) {
  const groups = {}
  for (const row of rows) (groups[classOf(row)] ??= []).push(row)
  return groups
}

async function refusals (rows, url, key) {
  let count = 0
  for (const row of rows) {
    const answer = await send(url, row.request.method, rawTarget(row), key)
    if (answer.status === 400 && /slash/.test(JSON.parse(answer.body).errorSummary)) count++
  }
  return count
}

async function refusedOutside (requests, url, key) {
  let refused = 0
  for (const { method, target } of requests) {
    const answer = await send(url, method, target, key)
    if (answer.status === 403 && JSON.parse(answer.body).errorCode === 'E0000006') refused++
    else console.error('not refused:', method, target, answer.status)
  }
  return { sent: requests.length, refused }
}

async function send (url, method, target, key) {
  const { request } = await import('node:http')
  const { hostname, port } = new URL(url)
  return await new Promise((resolve, reject) => {
    const outgoing = request({ hostname, port, method, path: target, headers: { authorization: `SSWS ${key}`, 'content-length': '0' } }, incoming => {
      const chunks = []
      incoming.on('data', chunk => chunks.push(chunk))
      incoming.on('end', () => resolve({ status: incoming.statusCode, body: Buffer.concat(chunks).toString() }))
    })
    outgoing.on('error', reject)
    outgoing.end()
  })
}

await main()
