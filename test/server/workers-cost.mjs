// npm run build && node test/server/workers-cost.mjs [--workers 2] [--requests 6000] [--rounds 5]
// CPU per request of all processes of a gate, with workers: 1 and workers: N, in interleaved rounds of one run. The
// upstream and the load are this process.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, get } from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { freePort, root, startGate } from '../support/gate-process.mjs'

const { values } = parseArgs({ options: { workers: { type: 'string', default: '2' }, requests: { type: 'string', default: '6000' }, rounds: { type: 'string', default: '5' }, connections: { type: 'string', default: '64' } } })
const requests = Number(values.requests)
const { newKey } = await import(path.join(root, 'dist/clients/api-key.js'))
const key = newKey(randomBytes)
const body = JSON.stringify({ id: '00u1', profile: { text: 'x'.repeat(2400) } })
const upstream = createServer((incoming, answer) => { incoming.resume(); answer.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length }).end(body) }).listen(0, '127.0.0.1')
await once(upstream, 'listening')

async function gateOf (workers) {
  const folder = mkdtempSync(path.join(tmpdir(), 'narrowgate-workers-'))
  mkdirSync(path.join(folder, 'policies'))
  writeFileSync(path.join(folder, 'policies/app.yaml'), `version: 1\nclient: app\nowner: a@example.com\ndescription: measures\nauthenticate: [{ apiKey: { sha256: ${key.sha256} } }]\nallow: [{ operation: getUser }]\n`)
  const file = path.join(folder, 'narrowgate.yaml')
  const port = await freePort()
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port} }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: http://127.0.0.1:${upstream.address().port}
    credential: { apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: B-1, approvedBy: bench, expires: 2099-01-01 } } }
limits: { org: { '*': 1000000 }, concurrency: 1000 }
audit: { sinks: [{ file: { path: ./audit.jsonl, format: plain, chain: false } }] }
workers: ${workers}
`)
  const gate = await startGate(file, { env: { OKTA_API_TOKEN: 'token' } })
  return { ...gate, folder, agent: new Agent({ keepAlive: true, maxSockets: Number(values.connections) }), cpu: [] }
}

/** CPU seconds of a process and its children so far, from the operating system's accounting. */
function cpuSeconds (pid) {
  return readdirSync('/proc').filter(name => /^[0-9]+$/.test(name)).reduce((sum, name) => {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1].split(' ')
      return name === String(pid) || fields[1] === String(pid) ? sum + (Number(fields[11]) + Number(fields[12])) / 100 : sum
    } catch { return sum }
  }, 0)
}

async function load ({ url, agent }, count) {
  let left = count
  await Promise.all(Array.from({ length: Number(values.connections) }, async () => {
    while (left-- > 0) {
      await new Promise((resolve, reject) => {
        get(`${url}/api/v1/users/00u1abc`, { agent, headers: { authorization: `SSWS ${key.key}` } }, answer => {
          if (answer.statusCode !== 200) reject(new Error(`answered ${answer.statusCode}`))
          answer.resume().on('end', resolve)
        }).on('error', reject)
      })
    }
  }))
}

const gates = { 1: await gateOf(1), [values.workers]: await gateOf(Number(values.workers)) }
for (const gate of Object.values(gates)) await load(gate, requests * 2)
for (let round = 0; round < Number(values.rounds); round++) {
  for (const gate of Object.values(gates)) {
    const before = cpuSeconds(gate.pid)
    await load(gate, requests)
    gate.cpu.push((cpuSeconds(gate.pid) - before) * 1e6 / requests)
  }
}
const median = list => [...list].sort((a, b) => a - b)[list.length >> 1]
for (const [workers, { cpu }] of Object.entries(gates)) console.log(`workers: ${workers}: ${Math.round(median(cpu))} µs CPU per request, least ${Math.round(Math.min(...cpu))} (${cpu.map(Math.round).join(' ')})`)
const ratios = gates[values.workers].cpu.map((cpu, i) => cpu / gates[1].cpu[i])
console.log(`ratio, median of ${ratios.length} rounds: ${median(ratios).toFixed(2)}; least to least: ${(Math.min(...gates[values.workers].cpu) / Math.min(...gates[1].cpu)).toFixed(2)}`)
for (const gate of Object.values(gates)) {
  gate.agent.destroy()
  await gate.stop()
  rmSync(gate.folder, { recursive: true })
}
upstream.closeAllConnections()
upstream.close()
