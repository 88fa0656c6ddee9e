// node test/bench/ablation.mjs [--rounds 10] [--requests 3000] [--only NAME,…] [--json FILE]: the built gate beside the same with one
// optimisation taken out, in interleaved rounds of one run: what each is worth. One that is worth less than the noise, which is
// what the gate beside itself shows, does not earn its lines. A copy of dist/ is changed for each, and all start without the
// bundle; one whose place is not found ends the run. Needs `npm run build`.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { startGate, root } from '../support/gate-process.mjs'
import { shippedEnvironment } from '../support/shipped.mjs'
import { writeGate } from './config.mjs'
import { BESIDE, MEASURED, median, quantile, round, startRedis, startScript, stopAll, track } from './processes.mjs'
import { interleaved, mixed } from './subjects.mjs'

/** Takes a writer's place that puts the line together as one text. */
const TEXT_WRITER = `export class LineWriter {
  #text = ''
  get size () { return this.#text.length }
  begin () { this.#text = '' }
  piece ({ bytes }) { this.#text += (bytes.text ??= Buffer.from(bytes).toString()) }
  text (text) { this.#text += text }
  quoted (value) { this.#text += quote(value) }
  again (from, to) { this.#text += this.#text.slice(from, to) }
  number (value) { this.#text += value }
  take () { const line = this.#text; this.#text = ''; return line }
}
class Bytes {`

/** @type {Record<string, { beside?: 'redis' | 'durable', changes: Array<[file: string, from: string | RegExp, to: string]> }>} */
const ablations = {
  'answers of a turn go out together': { changes: [['server/outbox.js', 'push(send) {', 'push(send) { send(); return;']] },
  'answers without _links are not parsed': { changes: [['okta/hrefs.js', "if (!json.includes('_links') && !json.includes('\\\\'))", 'if (false)']] },
  'the line is put together as bytes': { changes: [['audit/line-writer.js', 'export class LineWriter {', TEXT_WRITER]] },
  'names of headers are remembered': { changes: [['domain/remembered.js', 'return text => {', 'return answer; return text => {']] },
  'one timer a call': { changes: [['upstream/inject.js', 'headersTimeout: 0, bodyTimeout: 0', 'headersTimeout: 60000, bodyTimeout: 60000']] },
  'a timer says when a connection is old': { changes: [['upstream/agent.js', /^ {4}markOld\(.*$/m, '']] },
  'requests on the road in an array': { changes: [['server/long-requests.js', 'begin(exchange) {', 'set = new Set(); begin(exchange) { this.set.add(exchange);'], ['server/long-requests.js', 'end(exchange) {', 'end(exchange) { this.set.delete(exchange);']] },
  'steps wait for the answer before them (Redis store)': { beside: 'redis', changes: [['limits/batches.js', 'if (this.#sent.size === 0) {', 'if (true) {']] },
  'flushes are spaced (durable intents)': { beside: 'durable', changes: [['audit/journal.js', 'const SYNC_EVERY_MS = 2', 'const SYNC_EVERY_MS = 0']] }
}
const KINDS = { redis: { store: '{ redis: { url: { env: REDIS_URL }, replicas: 1 } }' }, durable: { audit: ', delivery: required' }, plain: {} }

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '10' }, requests: { type: 'string', default: '3000' }, warm: { type: 'string', default: '12000' }, only: { type: 'string' }, json: { type: 'string' } } })
const chosen = values.only?.split(',') ?? Object.keys(ablations)
const unknown = chosen.filter(name => ablations[name] === undefined)
if (unknown.length > 0) { console.error(`no optimisation ${unknown.join(', ')}; there are ${Object.keys(ablations).join(', ')}`); process.exit(2) }

const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-ablation-'))
process.on('exit', () => { rmSync(work, { recursive: true, force: true }) })
const bench = { key: newKey(randomBytes), spare: () => newKey(randomBytes).sha256, rounds: Number(values.rounds), requests: Number(values.requests), warm: Number(values.warm) }
const { url: org } = await startScript('upstream.mjs', BESIDE)
const redis = chosen.some(name => ablations[name].beside === 'redis') ? await startRedis(work) : undefined

/** A folder as the gate's own, not bundled, with other code in a few places. */
function changed (number, changes) {
  const folder = path.join(work, `program-${number}`)
  mkdirSync(folder)
  cpSync(path.join(root, 'dist'), path.join(folder, 'dist'), { recursive: true })
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'))
  cpSync(path.join(root, 'package.json'), path.join(folder, 'package.json'))
  for (const [file, from, to] of [['main.js', './bundle/run.js', './cli/run.js'], ...changes]) {
    const place = path.join(folder, 'dist', file)
    const before = readFileSync(place, 'utf8')
    const after = before.replace(from, () => to)
    if (after === before) throw new Error(`${file} has no ${from}: what takes it out has to follow the code`)
    writeFileSync(place, after)
  }
  return path.join(folder, 'dist/main.js')
}

let started = 0
async function gateOf (kind, program) {
  const folder = path.join(work, `gate-${started++}`)
  const config = await writeGate(folder, { org, key: bench.key, spare: bench.spare, ...KINDS[kind] })
  const gate = await startGate(config, { program, env: { ...shippedEnvironment, OKTA_API_TOKEN: 'upstream-token', REDIS_URL: `redis://127.0.0.1:${redis?.port}` }, core: MEASURED, onStart: track })
  return { pid: gate.pid, child: gate.child, url: gate.url, enforces: true }
}

const asIs = changed('as-is', [])
const subjects = { plain: await gateOf('plain', asIs), 'the gate itself, once more': await gateOf('plain', asIs) }
for (const [number, name] of chosen.entries()) {
  const { beside = 'plain', changes } = ablations[name]
  subjects[beside] ??= await gateOf(beside, asIs)
  subjects[name] = await gateOf(beside, changed(number, changes))
}
const { samples, failures } = await interleaved(bench, subjects, mixed)
const rows = ['the gate itself, once more', ...chosen].filter(name => samples[name] !== undefined).map(name => {
  const base = samples[ablations[name]?.beside ?? 'plain']
  const ratios = samples[name].map((sample, i) => sample.cpuUs / base[i].cpuUs)
  const at = share => round(quantile(ratios, share))
  return { 'without it': name, 'CPU ÷ the gate': round(median(ratios)), quartiles: `${at(0.25)}…${at(0.75)}`, µs: round(median(samples[name].map(({ cpuUs }) => cpuUs)), 1), least: round(Math.min(...samples[name].map(({ cpuUs }) => cpuUs)), 1) }
})
console.table(rows)
if (failures.length > 0) console.log(failures.join('\n'))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ node: process.version, rows }, null, 1)}\n`)
await stopAll()
process.exit(failures.length > 0 ? 1 : 0)
