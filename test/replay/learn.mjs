// npm run test:replay:learn -- DIR. What a client was seen to do becomes its policy: recorded
// traffic through an observed client, learn from its audit log, enforce the result, the same traffic again: the same
// answers; and 10,000 requests that differ in one thing each are all refused.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { freePort, root, startGate } from '../support/gate-process.mjs'

const directory = process.argv[2]
if (directory === undefined) {
  console.error('usage: npm run test:replay:learn -- DIR')
  process.exit(2)
}
const from = name => import(pathToFileURL(path.resolve(directory, name)).href)
const { loadCorpus, rawTarget } = await from('lib.mjs')
const { start } = await from('replay-upstream.mjs')
const { replay } = await from('replay-client.mjs')
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const { createCatalog } = await import(path.join(root, 'dist/okta/catalog.js'))
const { parseTarget } = await import(path.join(root, 'dist/domain/target.js'))
const { parseEvent } = await import(path.join(root, 'dist/audit/parse.js'))

const TOKEN_ENDPOINT = '/oauth2/v1/token'
const UPSTREAM_TOKEN = 'replay-upstream-token'
const MUTATED = 10_000
const everyRow = loadCorpus([path.join(directory, 'corpus-python.jsonl.gz')])
const { allow } = JSON.parse(readFileSync(path.join(directory, 'allowlist-python.json'), 'utf8'))
/** What replay.mjs calls identical: neither the gate's own endpoint nor a doubled or trailing slash, and no rewritten link. */
const rows = everyRow.filter(row => row.request.path !== TOKEN_ENDPOINT && !row.request.path.includes('//') && !row.request.path.endsWith('/') &&
  !row.request.path.startsWith('/api/v1/authn') && !(row.response.status === 401 && /"E0000011"/.test(row.response.body ?? '')))

function writeFiles (work, upstream, port, policy) {
  const catalog = createCatalog()
  const missing = allow.filter(entry => entry.path !== TOKEN_ENDPOINT && catalog.byTemplate(entry.method, entry.path) === undefined)
  mkdirSync(path.join(work, 'policies'), { recursive: true })
  writeFileSync(path.join(work, 'policies/operations.yaml'), `operations:\n${missing.map((entry, i) => `  - { id: recorded${i}, request: '${entry.method} ${entry.path}' }`).join('\n')}\n`)
  writeFileSync(path.join(work, 'policies/recorded.yaml'), policy)
  const file = path.join(work, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams: { default: { org: ${upstream}, credential: { apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: SEC-1, approvedBy: replay, expires: 2099-01-01 } } } } }
limits: { org: { '*': 1000000 } }
audit: { sinks: [{ file: { path: ./audit.jsonl } }] }
`)
  return file
}

/** The rows through a gate with this policy: which came back identical, and how the others differ. */
async function play (work, policy, key, mutated = []) {
  const upstream = await start(everyRow, { requireAuth: [`SSWS ${UPSTREAM_TOKEN}`, ''], noHints: true, noMarks: true })
  const gate = await startGate(writeFiles(work, upstream.base, await freePort(), policy), { env: { OKTA_API_TOKEN: UPSTREAM_TOKEN } })
  try {
    const played = await replay({ base: gate.url, upstreamBase: upstream.base, auth: `SSWS ${key}`, noHints: true, concurrency: 1, ignoreHeader: ['set-cookie'], loaded: rows, bodyHost: 'upstream', examples: 5 })
    const before = upstream.org.stats.received
    const refusals = await refused(gate.url, key, mutated)
    return { identical: played.identical, classes: played.classes, examples: played.examples, refusals, reached: upstream.org.stats.received - before }
  } finally {
    await gate.stop()
    await upstream.close().catch(() => {})
  }
}

async function refused (url, key, mutated) {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const counts = {}
  const queue = [...mutated]
  const work = async () => {
    for (let one = queue.pop(); one !== undefined; one = queue.pop()) {
      const status = await send(agent, url, key, one)
      const fine = status === 403 || status === 405
      counts[`${one.kind} ${fine ? 'refused' : status}`] = (counts[`${one.kind} ${fine ? 'refused' : status}`] ?? 0) + 1
      if (!fine) console.error('not refused:', one.method, one.target, one.body?.slice(0, 200), status)
    }
  }
  await Promise.all(Array.from({ length: 8 }, work))
  agent.destroy()
  return counts
}

function send (agent, url, key, { method, target, body }) {
  const { hostname, port } = new URL(url)
  const headers = { authorization: `SSWS ${key}`, 'content-length': String(Buffer.byteLength(body ?? '')), ...body === undefined ? {} : { 'content-type': 'application/json' } }
  return new Promise((resolve, reject) => {
    const outgoing = request({ agent, hostname, port, method, path: target, headers }, incoming => {
      incoming.resume()
      incoming.on('end', () => resolve(incoming.statusCode))
    })
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

/** Requests that differ from a recorded one in one thing, and that no other recorded one is like. */
function mutations (log) {
  const catalog = createCatalog()
  const events = log.filter(event => event.operation !== undefined && event.decision === 'allow')
  const seen = new Set(events.map(event => event.operation))
  assert.ok(events.length > 0, 'the log can be read: without it every mutation might be one that was seen')
  const names = groupBy(events)
  const ofOperation = (method, target) => {
    const parsed = parseTarget(target)
    const found = 'path' in parsed ? catalog.resolve(method, parsed) : { kind: 'none' }
    return found.kind === 'operation' ? found.operation.id : undefined
  }
  const made = []
  const add = (kind, method, target, body) => made.push({ kind, method, target, body })
  for (const row of rows) {
    const target = rawTarget(row)
    const { method } = row.request
    const plain = target.split('?')[0]
    const own = names.get(ofOperation(method, plain)) ?? []
    for (const other of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      const operation = ofOperation(other, plain)
      if (other !== method && !(operation !== undefined && seen.has(operation)) && !events.some(event => event.method === other && event.path === plain)) add('method', other, plain)
    }
    for (const sibling of [`${plain}/narrowgate`, plain.replace(/[^/]+$/, 'narrowgate/rules')]) {
      const operation = ofOperation(method, sibling)
      if (operation === undefined || !seen.has(operation)) add('sibling', method, sibling)
    }
    const extra = `${target}${target.includes('?') ? '&' : '?'}narrowgate=1`
    if (own.length > 0) add('query', method, extra, row.request.body ?? undefined)
    const body = jsonOf(row.request.body)
    // Where a body was no JSON the log has no leaves, and what was learned has no body condition.
    if (method !== 'GET' && own.length > 0 && own.every(event => event.bytesIn === 0 || (event.bodyPaths !== undefined && event.bodyPaths.length < 100 && !event.bodyPaths.includes('')))) {
      add('leaf', method, target, JSON.stringify({ ...body, narrowgate: 1 }))
    }
  }
  return made
}

function groupBy (events) {
  const groups = new Map()
  for (const event of events) groups.set(event.operation, [...groups.get(event.operation) ?? [], event])
  return groups
}

function jsonOf (body) {
  try {
    const value = JSON.parse(body)
    return typeof value === 'object' && !Array.isArray(value) ? value : {}
  } catch {
    return {}
  }
}

/** The same number of requests every time, each kind in its share. */
function chosen (made) {
  const list = []
  for (let round = 0; list.length < MUTATED; round++) for (const one of made) if (list.length < MUTATED) list.push(round === 0 ? one : again(one, round))
  return list
}

/** Another id in the path, another name: not the same request twice. */
function again (one, round) {
  if (one.kind === 'query') return { ...one, target: one.target.replace(/narrowgate=1$/, `narrowgate${round}=1`) }
  if (one.kind === 'leaf') return { ...one, body: one.body.replace('"narrowgate":1', `"narrowgate${round}":1`) }
  return { ...one, target: `${one.target}?round=${round}` }
}

async function main () {
  const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-learn-'))
  try {
    const { key, sha256 } = newKey(randomBytes)
    const head = `version: 1\nclient: recorded\nauthenticate:\n  - apiKey: { sha256: ${sha256} }\nmode: observe\nobserveSince: 2026-11-01\nallow: []\n`
    const observed = await play(work, head, key)
    const logFile = path.join(work, 'audit.jsonl')
    const log = readFileSync(logFile, 'utf8').trimEnd().split('\n').map(parseEvent).filter(event => event !== undefined)
    const learned = execFileSync(process.execPath, [path.join(root, 'dist/main.js'), 'learn', '--from', logFile, '-c', path.join(work, 'narrowgate.yaml'), '--client', 'recorded'],
      { encoding: 'utf8', env: { ...process.env, OKTA_API_TOKEN: UPSTREAM_TOKEN }, maxBuffer: 64 * 1024 * 1024 })
    const rules = learned.match(/^ {2}- (?:operation|request):/gm)?.length ?? 0
    rmSync(logFile)
    const enforced = await play(work, learned, key, chosen(mutations(log)))
    const kinds = Object.entries(enforced.refusals)
    const refusedCount = kinds.filter(([kind]) => kind.endsWith(' refused')).reduce((sum, [, count]) => sum + count, 0)
    for (const [name, examples] of Object.entries(enforced.examples)) if (!(name in observed.classes)) console.error(name, JSON.stringify(examples).slice(0, 1500))
    console.log(JSON.stringify({ rows: rows.length, observed: observed.identical, enforced: enforced.identical, rules, mutated: enforced.refusals }))
    assert.ok(!/mode: observe/.test(learned), 'what was learned is enforced')
    assert.deepEqual(enforced.classes, observed.classes, 'the same rows differ, in the same way')
    assert.equal(enforced.identical, observed.identical, 'the same rows come back identical')
    assert.equal(refusedCount, MUTATED, 'every request that differs in one thing is refused')
    assert.equal(enforced.reached, 0, 'none of them reached the upstream')
    console.log(`learn: ${enforced.identical} of ${rows.length} rows identical under the ${rules} rules that were learned, as before; ${refusedCount} of ${MUTATED} mutated requests refused (${kinds.map(([kind, count]) => `${count} ${kind.split(' ')[0]}`).join(', ')})`)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

await main()
