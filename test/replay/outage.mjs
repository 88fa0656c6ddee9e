// What issue 7 asks to be shown, at length: kill -9 under writes, and a collector that is away for minutes.
//   node test/replay/outage.mjs [--kills 50] [--per-second 500] [--away-seconds 600]
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, request, Agent } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { freePort, root, startGate } from '../support/gate-process.mjs'
import { auditFiles, killRounds, readOutcomes, startUpstream } from '../support/kill-rounds.mjs'

const { values } = parseArgs({ options: { kills: { type: 'string', default: '50' }, 'per-second': { type: 'string', default: '500' }, 'away-seconds': { type: 'string', default: '600' } } })
const perSecond = Number(values['per-second'])
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const { key, sha256 } = newKey(randomBytes)
const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-outage-'))
const narrowgate = (...words) => execFileSync(process.execPath, [path.join(root, 'dist/main.js'), ...words], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
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
  report([...intents.keys()].every(id => ends.has(id)), `${intents.size} intents, each with an end; unknown: ${[...ends.values()].filter(outcome => outcome === 'unknown').length}`)
  const verdict = JSON.parse(narrowgate('audit', 'verify', path.join(folder, 'audit.jsonl'), '--key', path.join(folder, 'key.pem'), '--json'))
  report(verdict.findings.length === 0 && verdict.signed, `chain over ${verdict.files} files, ${verdict.events} events, ${verdict.checkpoints} signed statements`)
  upstream.close()
}

/** A collector that is away under load. */
async function outage () {
  const upstream = await startUpstream()
  const got = []
  let away = true
  const collector = createServer((incoming, answer) => {
    const chunks = []
    incoming.on('data', chunk => { chunks.push(chunk) }).on('end', () => {
      if (away) { answer.writeHead(503).end(); return }
      for (const line of gunzipSync(Buffer.concat(chunks)).toString().trim().split('\n')) { const event = JSON.parse(line); if (event.class_uid === 6003) got.push(event.metadata.uid) }
      answer.writeHead(200).end()
    })
  }).listen(0, '127.0.0.1')
  await once(collector, 'listening')
  writeFileSync(path.join(folder, 'hmac'), randomBytes(32).toString('hex'))
  const port = await freePort()
  const gate = await startGate(config(upstream.origin, port, `[{ file: { path: ./outage.jsonl, format: ocsf, chain: true, delivery: required } }, { https: { url: 'http://127.0.0.1:${collector.address().port}/', hmacKey: { file: hmac }, format: ocsf, delivery: required, maxSpoolBytes: 1000000000 } }]`), { env: { TOKEN: 'x' } })
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  const tally = {}
  let open = 0
  let peak = 0
  const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gate.pid}/status`, 'utf8'))[1]) / 1024
  const began = Date.now()
  for (let number = 0; Date.now() - began < Number(values['away-seconds']) * 1000;) {
    for (const due = (Date.now() - began) * perSecond / 1000; number < due && open < 1000; number++) {
      open++
      request({ host: '127.0.0.1', port, agent, method: 'POST', path: `/api/v1/users/o${number}/lifecycle/deactivate`, headers: { authorization: `SSWS ${key}`, 'content-length': 0 } }, answer => {
        tally[answer.statusCode] = (tally[answer.statusCode] ?? 0) + 1
        answer.resume().on('end', () => { open-- })
      }).on('error', () => { open-- }).end()
    }
    if (number % 100 === 0) peak = Math.max(peak, rss())
    await sleep(2)
  }
  while (open > 0) await sleep(10) // eslint-disable-line no-unmodified-loop-condition
  peak = Math.max(peak, rss())
  away = false
  const sink = async () => JSON.parse(await (await fetch(`${gate.adminUrl}/readyz`)).text()).audit.sinks[1]
  const back = Date.now()
  while ((await sink()).spooled > 0 && Date.now() - back < 300_000) await sleep(200)
  const { spooled, dropped } = await sink()
  await gate.stop()
  const { intents, ends } = await readOutcomes(auditFiles(folder, 'outage.jsonl'))
  const ids = new Set(got)
  const expected = [...intents.keys()].map(id => `${id}:intent`).concat([...ends.keys()])
  report(spooled === 0 && dropped === 0 && expected.every(id => ids.has(id)), `collector away ${values['away-seconds']} s at ${perSecond}/s: answers ${JSON.stringify(tally)}, ${expected.length} events, arrived ${ids.size} (${got.length - ids.size} twice), drained in ${((Date.now() - back) / 1000).toFixed(0)} s, peak ${peak.toFixed(0)} MB`)
  collector.closeAllConnections()
  collector.close()
  upstream.close()
}

try {
  if (Number(values.kills) > 0) await kills()
  if (Number(values['away-seconds']) > 0) await outage()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failures === 0 ? 0 : 1)
