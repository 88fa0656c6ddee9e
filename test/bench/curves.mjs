// npm run build && node test/bench/curves.mjs [--only rules,clients,…] [--out docs/growth] [--rounds 3] [--requests 1500]
// How the cost of a request grows with rules, clients, the size of an answer, its header lines, Okta's latency and the number
// of workers: prints a Markdown table of each and writes a picture of it. Sizes are such that all of it takes some five minutes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'
import { root } from '../support/gate-process.mjs'
import { targets } from './mix.mjs'
import { picture } from './picture.mjs'
import { BESIDE, MEASURED, median, round, startScript, stopAll } from './processes.mjs'
import { gate, interleaved, mixed, stopSubjects } from './subjects.mjs'
import { groupSamples } from './workers.mjs'

const { values } = parseArgs({ options: { only: { type: 'string' }, out: { type: 'string', default: path.join(root, 'docs/growth') }, rounds: { type: 'string', default: '3' }, requests: { type: 'string', default: '1500' } } })
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-curves-'))
process.on('exit', () => { rmSync(work, { recursive: true, force: true }) })
const bench = { work, rounds: Number(values.rounds), requests: Number(values.requests), warm: 5000, key: newKey(randomBytes), spare: () => newKey(randomBytes).sha256 }
const upstream = env => startScript('upstream.mjs', BESIDE, env)
const get = { targets: [{ method: 'GET', path: '/api/v1/users/00u00000000000000001', status: 200 }] }

/** CPU per request at each size, interleaved. */
async function cpuCurve (name, sizes, make, mix = mixed, options = {}) {
  const subjects = {}
  for (const [label, size] of sizes) subjects[label] = await make(`${name}-${label.replace(/\W/g, '')}`, size)
  const { samples, failures } = await interleaved(bench, subjects, mix, options)
  if (failures.length > 0) throw new Error(failures.join('; '))
  await stopSubjects(subjects)
  return Object.fromEntries(sizes.map(([label]) => [label, round(median(samples[label].map(sample => sample.cpuUs)), 1)]))
}

const curves = {
  async rules () {
    const { url: org } = await upstream()
    const sizes = [['50', 50], ['200', 200], ['1,000', 1000], ['4,000', 4000]]
    return { title: 'CPU by rules of a client', x: 'rules', unit: 'µs', line: 'all enforcement', points: await cpuCurve('rules', sizes, (name, rules) => gate(bench, name, { org, rules })) }
  },
  async clients () {
    const { url: org } = await upstream()
    const sizes = [['1', 1], ['10', 10], ['100', 100], ['500', 500]]
    return { title: 'CPU by clients of 50 rules', x: 'clients', unit: 'µs', line: 'all enforcement', points: await cpuCurve('clients', sizes, (name, clients) => gate(bench, name, { org, rules: 50, clients })) }
  },
  async body () {
    const sizes = [['1 kB', 1e3], ['10 kB', 1e4], ['100 kB', 1e5], ['1 MB', 1e6]]
    const make = async (name, bytes) => gate(bench, name, { org: (await upstream({ BODY_BYTES: String(bytes) })).url, rules: 50 })
    return { title: 'CPU by size of the answer', x: 'bytes', unit: 'µs', line: 'all enforcement', points: await cpuCurve('body', sizes, make, get, { connections: 16, requests: 400, warm: 3000 }) }
  },
  async headers () {
    const sizes = [['8', 0], ['20', 12], ['50', 42], ['90', 82]]
    const make = async (name, lines) => gate(bench, name, { org: (await upstream({ HEADER_LINES: String(lines) })).url, rules: 50 })
    return { title: 'CPU by header lines of the answer', x: 'lines', unit: 'µs', line: 'all enforcement', points: await cpuCurve('headers', sizes, make, get) }
  },
  async latency () {
    const sizes = [5, 50, 200, 1000, 2000].map(ms => [`${ms} ms`, ms])
    const make = async (name, ms) => gate(bench, name, { org: (await upstream({ LATENCY_MS: String(ms) })).url, rules: 50 })
    return { title: 'CPU by Okta\'s latency, 400 calls in flight', x: 'Okta takes', unit: 'µs', line: 'all enforcement', points: await cpuCurve('latency', sizes, make, { targets }, { connections: 400, requests: 1200, warm: 1200 }) }
  },
  async workers () {
    const { url: org } = await upstream()
    const make = async (name, workers) => ({ ...await gate(bench, name, { org, rules: 50, workers, core: MEASURED }), processes: workers })
    const groups = { '1 of 1': [await make('w1')], '2 of 1': [await make('w2', 2)], '3 of 1': [await make('w3', 3)], '2 apart': [await make('a1'), await make('a2')], '3 apart': [await make('b1'), await make('b2'), await make('b3')] }
    const samples = await groupSamples(bench, groups, { warm: 4000 })
    await stopSubjects(Object.values(groups).flat())
    const of = name => round(median(samples[name].map(sample => sample.cpuUs)), 1)
    return { title: 'CPU by processes on one core', x: 'processes', unit: 'µs', line: 'workers of one gate', points: { 1: of('1 of 1'), 2: of('2 of 1'), 3: of('3 of 1') }, beside: { 'gates apart': [of('1 of 1'), of('2 apart'), of('3 apart')] } }
  }
}

mkdirSync(values.out, { recursive: true })
let failed = false
for (const name of values.only?.split(',') ?? Object.keys(curves)) {
  const began = performance.now()
  try {
    const { title, x, unit, line, points, beside = {} } = await curves[name]()
    const labels = Object.keys(points)
    const lines = { [line]: Object.values(points), ...beside }
    writeFileSync(path.join(values.out, `${name}.svg`), picture({ title: `${title}, Node ${process.versions.node}`, x, y: unit, labels, lines }))
    console.log(`\n${title}\n\n| ${x} | ${labels.join(' | ')} |\n|${'---|'.repeat(labels.length + 1)}`)
    for (const [what, list] of Object.entries(lines)) console.log(`| ${what}, ${unit} | ${list.join(' | ')} |`)
  } catch (error) {
    failed = true
    console.error(`${name}: ${error.stack}`)
  }
  console.error(`${name}: ${Math.round((performance.now() - began) / 1000)} s`)
  await stopAll()
}
process.exitCode = failed ? 1 : 0
