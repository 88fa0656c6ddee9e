// What the audit log promises, at length: kill -9 under writes, a collector that is away for minutes, a spool that fills up.
//   npm run test:audit -- [--kills 50] [--per-second 500] [--away-seconds 600] [--away-per-second 500] [--full-seconds 30]
// 0 leaves a part out. Figures on stdout; exit 1 when a promise was broken.
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createReadStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request, Agent } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { freePort, root, startGate } from '../support/gate-process.mjs'
import { auditFiles, killRounds, readOutcomes, startUpstream } from '../support/kill-rounds.mjs'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, 'per-second': { type: 'string', default: '500' }, 'away-seconds': { type: 'string', default: '600' }, 'away-per-second': { type: 'string' }, 'full-seconds': { type: 'string', default: '30' } } })
const perSecond = Number(values['per-second'])
const awayPerSecond = Number(values['away-per-second'] ?? perSecond)
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const { key, sha256 } = newKey(randomBytes)
const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-outage-'))
const narrowgate = (...words) => execFileSync(process.execPath, [path.join(root, 'dist/main.js'), ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
/** A gate under such load holds some 160 MB; what grew with the outage would be beyond this after minutes. */
const MOST_MEMORY_MB = 400
let failures = 0
const report = (good, text) => { console.log(`${good ? 'ok' : 'NOT OK'}  ${text}`); if (!good) failures++ }

execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', path.join(folder, 'key.pem')])
mkdirSync(path.join(folder, 'policies'))
writeFileSync(path.join(folder, 'policies/app.yaml'), `version: 1\nclient: app\nowner: x@example.com\ndescription: writes\nauthenticate: [{ apiKey: { sha256: ${sha256} } }]\nallow: [{ operation: deactivateUser }]\n`)
const config = (origin, port, sinks) => {
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams: { default: { org: '${origin}', credential: { apiToken: { value: { env: TOKEN }, exception: { ticket: T-1, approvedBy: tests, expires: 2099-01-01 } } } } }
limits: { org: { '*': 1000000 }, concurrency: 1000 }
audit: { key: { file: key.pem }, sinks: ${sinks} }
`)
  return file
}

/** kill -9 under writes. */
async function kills () {
  const upstream = await startUpstream()
  const file = config(upstream.origin, await freePort(), '[{ file: { path: ./audit.jsonl, format: ocsf, chain: true, delivery: required, rotate: { maxBytes: 8388608 } } }]')
  const start = () => startGate(file, { env: { TOKEN: 'x' } })
  const { answered, sent } = await killRounds({ start, key, rounds: Number(values.kills), loadMs: 2000, perSecond })
  await (await start()).stop()
  const files = auditFiles(folder, 'audit.jsonl')
  const { intents, ends } = await readOutcomes(files)
  const paths = new Set(intents.values())
  const missing = [...upstream.received].filter(each => !paths.has(each))
  report(missing.length === 0, `${values.kills} kills, ${sent} writes tried, ${answered} answered, ${upstream.received.size} reached Okta; without an intent: ${missing.length}`)
  const endless = [...intents.keys()].filter(id => !ends.has(id))
  report(endless.length === 0, `${intents.size} intents; without an end: ${endless.length}; unknown: ${[...ends.values()].filter(outcome => outcome === 'unknown').length}`)
  const verdict = JSON.parse(narrowgate('audit', 'verify', path.join(folder, 'audit.jsonl'), '--key', path.join(folder, 'key.pem'), '--json'))
  report(verdict.findings.length === 0 && verdict.signed, `chain over ${verdict.files} files, ${verdict.events} events, ${verdict.checkpoints} signed statements`)
  upstream.close()
}

/** A collector whose answers can be switched to 503, and what it has taken, in its order. */
async function startCollector () {
  const got = []
  const state = { away: true }
  const server = createServer((incoming, answer) => {
    const chunks = []
    incoming.on('data', chunk => { chunks.push(chunk) }).on('end', () => {
      if (state.away) { answer.writeHead(503).end(); return }
      for (const line of gunzipSync(Buffer.concat(chunks)).toString().trim().split('\n')) { const event = JSON.parse(line); if (event.class_uid === 6003) got.push(event.metadata.uid) }
      answer.writeHead(200).end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { got, state, port: server.address().port, close: () => { server.closeAllConnections(); server.close() } }
}

/** Writes at a rate for so long; what was answered, and the most memory that the gate held. */
async function load (gate, port, name, seconds, rate) {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  const tally = {}
  let open = 0
  let peak = 0
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gate.pid}/status`, 'utf8'))[1]) / 1024
  const began = Date.now()
  for (let number = 0; Date.now() - began < seconds * 1000;) {
    for (const due = (Date.now() - began) * rate / 1000; number < due && open < 1000; number++) {
      open++
      request({ host: '127.0.0.1', port, agent, method: 'POST', path: `/api/v1/users/${name}${number}/lifecycle/deactivate`, headers: { authorization: `SSWS ${key}`, 'content-length': 0 } }, answer => {
        tally[answer.statusCode] = (tally[answer.statusCode] ?? 0) + 1
        answer.resume().on('end', () => { open-- })
      }).on('error', () => { tally.error = (tally.error ?? 0) + 1; open-- }).end()
    }
    peak = Math.max(peak, rss())
    await sleep(2)
  }
  while (open > 0) await sleep(10) // eslint-disable-line no-unmodified-loop-condition
  agent.destroy()
  return { tally, peak: Math.max(peak, rss()) }
}

/** A collector that is away under load, then back. With a small spool writes have to be refused, and nothing may be missing all the same. */
async function outage (name, seconds, rate, maxSpoolBytes) {
  const upstream = await startUpstream()
  const collector = await startCollector()
  writeFileSync(path.join(folder, 'hmac'), randomBytes(32).toString('hex'))
  const port = await freePort()
  const gate = await startGate(config(upstream.origin, port, `[{ file: { path: ./${name}.jsonl, delivery: required } }, { https: { url: 'http://127.0.0.1:${collector.port}/${name}', hmacKey: { file: hmac }, delivery: required, maxSpoolBytes: ${maxSpoolBytes} } }]`), { env: { TOKEN: 'x' } })
  const { tally, peak } = await load(gate, port, name, seconds, rate)
  const sink = async () => JSON.parse(await (await fetch(`${gate.adminUrl}/readyz`)).text()).audit.sinks[1]
  const before = await sink()
  collector.state.away = false
  const back = Date.now()
  while ((await sink()).spooled > 0 && Date.now() - back < 300_000) await sleep(200)
  const after = await sink()
  await gate.stop()
  const written = await readIds(auditFiles(folder, `${name}.jsonl`))
  const arrived = [...new Set(collector.got)]
  const { intents } = await readOutcomes(auditFiles(folder, `${name}.jsonl`))
  const paths = new Set(intents.values())
  const missing = [...upstream.received].filter(each => !paths.has(each)).length
  const inOrder = arrived.length === written.length && arrived.every((id, i) => id === written[i])
  report(after.spooled === 0 && after.dropped === 0 && inOrder && missing === 0 && peak < MOST_MEMORY_MB, `collector away ${seconds} s at ${rate} writes/s, spool of ${maxSpoolBytes / 1e6} MB: answers ${JSON.stringify(tally)}, ${before.spooled} events spooled; then ${arrived.length} of ${written.length} arrived${inOrder ? ' in order' : ', NOT in order'}, ${collector.got.length - arrived.length} twice before de-duplication, ${after.dropped} dropped, ${missing} writes without an intent, drained in ${((Date.now() - back) / 1000).toFixed(0)} s, peak ${peak.toFixed(0)} MB`)
  report(after.made === after.written + after.spooled + after.dropped + (after.rejected ?? 0), `made ${after.made} = written ${after.written} + spooled ${after.spooled} + dropped ${after.dropped} + rejected ${after.rejected ?? 0}`)
  collector.close()
  upstream.close()
  return tally
}

/** The events' own ids, in the order of the log, each once. */
async function readIds (files) {
  const ids = new Set()
  for (const file of files) {
    for await (const line of createInterface({ input: createReadStream(file) })) {
      const event = JSON.parse(line)
      if (event.class_uid === 6003) ids.add(event.metadata.uid)
    }
  }
  return [...ids]
}

try {
  if (Number(values.kills) > 0) await kills()
  if (Number(values['away-seconds']) > 0) await outage('outage', Number(values['away-seconds']), awayPerSecond, 4_000_000_000)
  if (Number(values['full-seconds']) > 0) {
    const tally = await outage('full', Number(values['full-seconds']), perSecond, 4_000_000)
    report(tally[503] > 0, `a full spool refuses writes: ${tally[503]} answers 503`)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failures === 0 ? 0 : 1)
