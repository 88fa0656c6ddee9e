// node test/soak/soak.mjs --requests N [--seconds S] [--seed S] [--chain] [--heap MB] [--json FILE]: mixed requests against a gate process and a
// stub of Okta on loopback. Ends with 1 unless: no crash, no unhandled rejection, what lives in the heap and descriptors level, resident memory below a
// ceiling, as many audit events as requests, each client's status in them, nothing of a client's upstream. --chain: a chained OCSF file beside the lines
// on stdout. --heap: V8's room for old objects; without it the gate runs as the Dockerfile ships it. Needs `npm run build`.
import { fork, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { freePort, root } from '../support/gate-process.mjs'
import { shippedEnvironment } from '../support/shipped.mjs'
import { cpuSeconds, growth, sample } from './proc.mjs'
import { drive } from './traffic.mjs'

/**
 * V8 lets garbage lie as long as it may, and gives pages that it has had back late: resident memory goes up and down by tens of MB, and shows a leak
 * only when that is large. So the gate collects all its garbage at each eighth of the run and says what lives: that has to be level after the first
 * quarter, by which code is compiled, the limits' minute and every pool and table are filled. For resident memory there is a ceiling.
 */
const LIVE_GROWTH_MB = 4
const RSS_CEILING_MB = 256
const COLLECTIONS = 8
/** Part of the requests that a machine without time for this may have answered with a time-out. */
const STARVED = 0.01
/** Connections come and go; what grows by more than this is a leak. */
const FD_GROWTH = 30
/** Times that the breaker may open: five broken calls in a row are chance, or a machine that is late. */
const MOST_ALARMS = 10
/** Part of the requests that warms up: code is compiled, the limits' minute and every pool fill. */
const WARM_UP = 0.3
/** Pooled connections to the upstream end by then (faults.md: 4 s). */
const IDLE_MS = 6000
const FAST = 32
const SLOW = 48

const { values } = parseArgs({ options: { requests: { type: 'string', default: '100000' }, seconds: { type: 'string', default: '3000' }, seed: { type: 'string', default: '1' }, json: { type: 'string' }, chain: { type: 'boolean', default: false }, heap: { type: 'string' } } })
const requests = Number(values.requests)
const HEAP = [shippedEnvironment.NODE_OPTIONS, '--expose-gc', '--import', path.join(import.meta.dirname, 'collect.mjs'), ...values.heap === undefined ? [] : [`--max-old-space-size=${values.heap}`]]

function writeFolder (folder, org, port, { key, limitedKey }) {
  mkdirSync(path.join(folder, 'policies'))
  const policy = (client, { sha256 }, allow) => `version: 1\nclient: ${client}\nowner: soak@example.com\ndescription: the soak's client\nauthenticate: [{ apiKey: { sha256: ${sha256} } }]\nallow:\n${allow}`
  writeFileSync(path.join(folder, 'policies/soak.yaml'), policy('soak', key, `  - operation: getUser
  - operation: listUsers
  - operation: listFactors
  - operation: updateUser
    body: { only: [profile.firstName, profile.mobilePhone, profile.city] }
  - operation: assignUserToGroup
`))
  writeFileSync(path.join(folder, 'policies/limited.yaml'), policy('limited', limitedKey, '  - operation: listGroups\n    rateLimit: 30/min\n'))
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${org}
    credential: { apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: S-1, approvedBy: soak, expires: 2099-01-01 } } }
limits: { org: { '*': 1000000 }, concurrency: 1000 }
audit: { sinks: [{ stdout: { format: plain } }${values.chain ? ', { file: { path: ./audit.jsonl, format: ocsf, chain: true, rotate: { maxBytes: 67108864, keep: 2 } } }' : ''}] }
`)
  return file
}

/** The gate as an operator starts it. Its audit lines come on stdout and are counted, its log is searched for trouble. */
async function startGate (file) {
  const child = spawn(process.execPath, [...HEAP, path.join(root, 'dist/main.js'), 'serve', '-c', file], { env: { ...process.env, OKTA_API_TOKEN: '00upstreamtoken' }, stdio: ['ignore', 'pipe', 'pipe'] })
  const gate = { child, pid: child.pid, ended: undefined, events: 0, outcomes: {}, statuses: {}, troubles: 0, alarms: 0, said: [], lives: [], asked: 0 }
  child.once('exit', (code, signal) => { gate.ended = signal ?? code })
  eachLine(child.stdout, line => {
    if (line.includes('"phase":')) return
    const count = Number(/"count":(\d+)/.exec(line)?.[1] ?? 1)
    gate.events += count
    const outcome = /"outcome":"(\w+)"/.exec(line)?.[1]
    gate.outcomes[outcome] = (gate.outcomes[outcome] ?? 0) + count
    const status = /"status":(\d+)/.exec(line)?.[1]
    if (status !== undefined) gate.statuses[status] = (gate.statuses[status] ?? 0) + count
  })
  await new Promise((resolve, reject) => {
    child.once('exit', () => { reject(new Error(`the gate did not start:\n${gate.said.join('\n')}`)) })
    eachLine(child.stderr, line => {
      const level = Number(/"level":(\d+)/.exec(line)?.[1] ?? 60)
      if (line.includes('"msg":"listening"')) { gate.adminUrl = JSON.parse(line).adminUrl; resolve() }
      if (line.includes('"msg":"lives"')) gate.lives.push(JSON.parse(line))
      if (level < 50) return
      // The stub breaks calls on purpose: several in a row open the breaker, which says so.
      if (line.includes('"alarm":"breaker_open"')) { gate.alarms++; return }
      gate.troubles++
      if (gate.said.length < 10) gate.said.push(line.slice(0, 500))
    })
  })
  return gate
}

/** The first request without any answer: what the gate and its connections are doing, for who has to find out why. */
function look (gate, stubPid) {
  if (gate.looked) return
  gate.looked = true
  const sockets = spawnSync('ss', ['-tanp'], { encoding: 'utf8' }).stdout?.split('\n').filter(line => line.includes(`pid=${gate.pid},`) || line.includes(`pid=${stubPid},`)) ?? []
  console.error(sockets.join('\n'))
  for (const pid of [gate.pid, stubPid]) console.error(`${pid} ${readFileSync(`/proc/${pid}/wchan`, 'utf8')} ${/State:.*/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[0]} ${cpuSeconds(pid)} s`)
  fetch(`${gate.adminUrl}/metrics`).then(async answer => { console.error((await answer.text()).split('\n').filter(line => !line.startsWith('#') && !line.includes('_bucket{') && line !== '').join('\n')) }, error => { console.error(`no metrics: ${error.message}`) })
}

function eachLine (stream, take) {
  let rest = ''
  stream.on('data', chunk => {
    const lines = (rest + chunk.toString('latin1')).split('\n')
    rest = lines.pop()
    for (const line of lines) take(line)
  })
}

async function settled (read, ms) {
  let before = -1
  for (const end = Date.now() + ms; Date.now() < end && read() !== before;) {
    before = read()
    await new Promise(resolve => { setTimeout(resolve, 1500) })
  }
}

async function main () {
  const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
  const keys = { key: newKey(randomBytes), limitedKey: newKey(randomBytes) }
  const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-soak-'))
  const stub = fork(path.join(import.meta.dirname, 'upstream.mjs'))
  const [{ port: stubPort }] = await once(stub, 'message')
  const port = await freePort()
  const gate = await startGate(writeFolder(folder, `http://127.0.0.1:${stubPort}`, port, keys))
  const figures = { sent: 0, unanswered: 0, starved: 0, unexpected: 0, groups: {}, statuses: {}, examples: [] }
  const begun = Date.now()
  const until = begun + Number(values.seconds) * 1000
  const samples = []
  let said = begun
  const timer = setInterval(() => {
    if (gate.ended !== undefined) return
    samples.push(sample(gate.pid, figures.sent))
    if (figures.sent >= requests * gate.lives.length / COLLECTIONS && gate.asked === gate.lives.length) { gate.asked++; gate.child.kill('SIGWINCH') }
    if (Date.now() - said >= 60_000) {
      said = Date.now()
      console.error(`${new Date().toISOString()} ${figures.sent} requests, ${gate.events} events, ${JSON.stringify(samples.at(-1))}, ${gate.troubles} troubles, ${figures.unexpected} unexpected`)
    }
  }, 1000)
  try {
    await drive({ port, key: keys.key.key, limitedKey: keys.limitedKey.key, requests, until, seed: Number(values.seed), fast: FAST, slow: SLOW, onSilence: () => { look(gate, stub.pid) } }, figures)
    const seconds = (Date.now() - begun) / 1000
    clearInterval(timer)
    await settled(() => gate.events, 60_000)
    await new Promise(resolve => { setTimeout(resolve, IDLE_MS) })
    const cpu = gate.ended === undefined ? cpuSeconds(gate.pid) : NaN
    const idle = gate.ended === undefined ? sample(gate.pid, figures.sent) : undefined
    stub.send('figures')
    const [upstream] = await once(stub, 'message')
    gate.child.kill('SIGTERM')
    if (gate.ended === undefined) await once(gate.child, 'exit')
    process.exitCode = report({ figures, gate, upstream, samples, idle, seconds, cpu }) ? 0 : 1
  } finally {
    clearInterval(timer)
    if (gate.ended === undefined) gate.child.kill('SIGKILL')
    stub.disconnect()
    rmSync(folder, { recursive: true, force: true })
  }
}

function report ({ figures, gate, upstream, samples, idle, seconds, cpu }) {
  const warm = samples.filter(({ at }) => at >= figures.sent * WARM_UP)
  const most = Math.max(...samples.map(({ rssKb }) => rssKb)) / 1024
  const mb = bytes => Math.round(bytes / 1024 / 102.4) / 10
  const lives = gate.lives.slice(COLLECTIONS / 4).map(({ heapUsed, external }) => mb(heapUsed + external))
  const live = lives.length < 2 ? NaN : lives.at(-1) - lives[0]
  const fds = growth(warm, 'fds')
  // What a client saw of its answer stands in the event; the rest had left, or its answer was cut.
  const unrecorded = Object.entries(figures.statuses).filter(([status, count]) => (gate.statuses[status] ?? 0) < count)
  const checks = [
    ['the gate ran to the end and left with 0', gate.ended === 0, `ended with ${gate.ended}`],
    ['no error in its log: no unhandled rejection, no fault', gate.troubles === 0, `${gate.troubles}`],
    [`at most ${MOST_ALARMS} alarms about the upstream, which breaks calls on purpose`, gate.alarms <= MOST_ALARMS, `${gate.alarms}`],
    ['every answer was the expected one', figures.unexpected === 0, `${figures.unexpected} others`],
    [`at most ${STARVED * 100}% ran into a time-out of the gate for want of CPU`, figures.starved <= figures.sent * STARVED, `${figures.starved}`],
    ['events = requests', gate.events === figures.sent, `${gate.events} of ${figures.sent}`],
    ['every status that a client saw is in the events', unrecorded.length === 0, JSON.stringify(unrecorded)],
    ['upstream saw the gate\'s credential and nothing of a client\'s', upstream.wrong === 0, `${upstream.wrong} of ${upstream.requests}`],
    [`what lives in the heap and beside it grew by at most ${LIVE_GROWTH_MB} MB after the first quarter`, live <= LIVE_GROWTH_MB, `${live.toFixed(1)} MB: ${lives.join(', ')}`],
    [`resident memory stayed below ${RSS_CEILING_MB} MB`, most < RSS_CEILING_MB, `${most.toFixed(0)} MB at most over ${samples.length} samples`],
    [`descriptors grew by at most ${FD_GROWTH}`, warm.length > 10 && fds <= FD_GROWTH, warm.length > 10 ? fds.toFixed(1) : 'too few samples to say: the run was too short'],
    ['no connection is left behind', idle !== undefined && idle.fds <= 60, `${idle?.fds} descriptors once the clients had left`]
  ]
  console.log(`${new Date().toISOString()} soak: ${figures.sent} of ${requests} requests in ${Math.round(seconds)} s${figures.sent < requests ? ' (stopped by --seconds)' : ''}, ${Math.round(figures.sent / seconds)} a second, ${Math.round(cpu * 1e6 / figures.sent)} us of the gate's CPU each, Node ${process.version} ${HEAP.join(' ')}, seed ${values.seed}`)
  console.table(Object.entries(figures.groups).map(([kind, count]) => ({ kind, count })))
  console.table(Object.entries(gate.outcomes).map(([outcome, count]) => ({ outcome, events: count })))
  const at = samples.filter((_, i) => i % Math.max(1, Math.ceil(samples.length / 12)) === 0)
  console.table(at.map(({ at, rssKb, fds, threads }) => ({ requests: at, rssMb: Math.round(rssKb / 1024), descriptors: fds, threads })))
  console.table(gate.lives.map(({ heapUsed, external, arrayBuffers, rss }, n) => ({ eighth: n, 'heap MB': mb(heapUsed), 'external MB': mb(external), 'buffers MB': mb(arrayBuffers), 'resident MB': mb(rss) })))
  console.table(checks.map(([check, holds, figure]) => ({ check, holds: holds ? 'yes' : 'NO', figure })))
  for (const line of [...figures.examples, ...gate.said, ...upstream.example === undefined ? [] : [upstream.example]]) console.log(line)
  const good = checks.every(([, holds]) => holds)
  console.log(good ? 'all hold' : 'FAILED')
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ figures, events: gate.events, outcomes: gate.outcomes, statuses: gate.statuses, upstream, seconds, cpu, fds, samples, lives: gate.lives }, null, 1))
  return good
}

await main()
