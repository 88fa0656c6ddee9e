// npm run build && node test/bench/stalls.mjs [--seconds 30] [--clients 1000] [--json FILE]: how late the event loop of a
// gate under load is, at first with nothing else going on, then with each second a changed policy and the reload that it
// causes, a scrape of /metrics, a look at the console's pages and a rotated audit file. The machine's own lateness is in both.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { randomBytes } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { root } from '../support/gate-process.mjs'
import { targets } from './mix.mjs'
import { BESIDE, here, load, startScript, stop, stopAll } from './processes.mjs'
import { askOf, gate } from './subjects.mjs'

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const PAGES = ['/metrics', '/limits', '/livez', '/readyz']

/** @param {{ seconds: number, clients: number, rules: number }} size */
export async function measureStalls (bench, { seconds, clients, rules }) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const file = path.join(bench.work, 'loop.json')
  const subject = await gate(bench, 'stalls', { org, clients, rules, nodeArguments: ['--import', path.join(here, 'process-watch.mjs'), ...bench.nodeArguments ?? []] }, { WATCH_FILE: file })
  const ask = () => load(askOf(bench, subject, { targets }, { connections: 32, requests: 300 * seconds, rate: 300 }))
  const delay = async () => { subject.child.kill('SIGIO'); await sleep(200); return JSON.parse(readFileSync(file, 'utf8')) }

  await ask()
  await delay()
  const calmCalls = await ask()
  const calm = await delay()
  const policy = path.join(subject.folder, 'policies/bench.yaml')
  const text = readFileSync(policy, 'utf8')
  const loads = () => subject.started.output().split('"msg":"loaded"').length - 1
  const before = loads()
  const until = { over: false }
  let pages = 0
  let longest = 0
  const upset = (async () => {
    for (let i = 0; !until.over; i++) {
      const had = loads()
      writeFileSync(policy, text.replace('a client of the benchmark', `a client of the benchmark, ${i}`))
      const began = performance.now()
      try { renameSync(path.join(subject.folder, 'log/audit.jsonl'), path.join(subject.folder, `log/audit.${i}`)) } catch { /* not there at the moment */ }
      subject.child.kill('SIGHUP')
      for (const page of PAGES) await fetch(subject.adminUrl + page).then(answer => answer.text()).then(() => { pages++ }, () => {})
      while (loads() === had && performance.now() - began < 5000) await sleep(10)
      longest = Math.max(longest, performance.now() - began)
      await sleep(Math.max(0, 1000 - (performance.now() - began)))
    }
  })()
  const busyCalls = await ask()
  until.over = true
  await upset
  const busy = await delay()
  await stop(subject.child)
  const calls = ({ p50, p99, max }) => ({ p50, p99, max })
  return { clients, rules, seconds, reloads: loads() - before, longestReloadMs: Math.round(longest), pages, wrong: busyCalls.wrong + calmCalls.wrong, delayMs: { calm, busy }, callsMs: { calm: calls(calmCalls), busy: calls(busyCalls) } }
}

/** Rows of the bench. */
export async function stallRows (bench) {
  const size = bench.quick ? { seconds: 4, clients: 200, rules: 60 } : { seconds: 20, clients: 1000, rules: 60 }
  const { delayMs: { calm, busy }, reloads, callsMs } = await measureStalls(bench, size)
  const row = (what, measured, goal) => ({ row: what, measured, goal: goal === undefined ? '' : `< ${goal}`, met: goal === undefined ? undefined : measured < goal })
  return {
    rows: [
      row(`event loop late, p99.9 ms, with ${reloads} reloads of ${size.clients} clients (calm: ${calm.p999})`, busy.p999, 10),
      row('the same, longest ms', busy.max),
      row(`calls meanwhile, p99 ms (calm: ${callsMs.calm.p99})`, callsMs.busy.p99)
    ]
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '30' }, clients: { type: 'string', default: '1000' }, rules: { type: 'string', default: '60' }, json: { type: 'string' }, node: { type: 'string' } } })
  const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
  const work = mkdtempSync(path.join(tmpdir(), 'narrowgate-stalls-'))
  process.on('exit', () => { rmSync(work, { recursive: true, force: true }) })
  const bench = { work, key: newKey(randomBytes), spare: () => newKey(randomBytes).sha256, nodeArguments: values.node?.split(' ') }
  const result = { node: process.version, ...await measureStalls(bench, { seconds: Number(values.seconds), clients: Number(values.clients), rules: Number(values.rules) }) }
  await stopAll()
  console.table(result.delayMs)
  console.table(result.callsMs)
  console.log(`${result.reloads} reloads, the longest ${result.longestReloadMs} ms after its change; ${result.pages} pages in ${result.seconds} s, ${result.wrong} wrong answers; goal: p99.9 of the busy event loop below 10 ms`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 1)}\n`)
}
