// The gate's files for a benchmark: as an operator would write them. What differs from the defaults, and why:
// limits that do not bind (org, concurrency, clientConcurrency), since the load has to be forwarded; the load comes from one
// address and may be later than a calm machine's (maxConnectionsPerAddress, shedAfterMs); the org is on this machine (http).
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { freePort } from '../support/gate-process.mjs'
import { targets } from './mix.mjs'

/** Parameter values that a client's own rules admit: those of the mix for the client that is measured, others for the rest. */
function ownWhere (request, client) {
  const names = new Map()
  for (const { method, template, values } of targets) {
    if (`${method} ${template}` !== request) continue
    for (const [name, value] of values) names.set(name, (names.get(name) ?? new Set()).add(client === 0 ? value : `${value.slice(0, 3)}${String(client).padStart(17, '0')}`))
  }
  const lists = [...names].filter(([name]) => name !== 'factorType').map(([name, list]) => `${name}: ['${[...list, `00x${String(client).padStart(17, '0')}`].join("', '")}']`)
  return lists.length === 0 ? '' : `    where: { ${lists.join(', ')} }\n`
}

/** The rules of the mix, filled up to `count` with rules of other groups; `own`: every rule that has parameters has lists of this client's own. */
function rulesText (count, client, more, own) {
  const seen = [...new Set(targets.map(({ method, template }) => `${method} ${template}`))]
  const isUpdate = request => request.startsWith('POST /api/v1/users/{userId}') && request.endsWith('}')
  const rules = seen.map(request => `  - request: ${request}\n${own ? ownWhere(request, client) : ''}${isUpdate(request) ? more : ''}`)
  const filler = Array.from({ length: Math.max(0, count - rules.length) }, (_, i) => `  - operation: getGroup\n    where: { groupId: ['00g${String(client).padStart(8, '0')}${String(i).padStart(9, '0')}'] }\n`)
  return [...rules, ...filler].join('')
}

export function policyText (name, sha256, rules, client = 0, more = '', own = false) {
  return `version: 1\nclient: ${name}\nowner: bench@example.com\ndescription: a client of the benchmark\nauthenticate: [{ apiKey: { sha256: ${sha256} } }]\nallow:\n${rulesText(rules, client, more, own)}`
}

const API_TOKEN = 'apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: B-1, approvedBy: bench, expires: 2099-01-01 } }'

/**
 * @param {{ org: string, key: { sha256: string }, rules?: number, clients?: number, own?: boolean, more?: string, store?: string, audit?: string, credential?: string, ca?: string, tls?: { cert: string, key: string }, workers?: number, spare?: (i: number) => string }} options
 * @returns {Promise<string>} path of narrowgate.yaml
 */
export async function writeGate (folder, { org, key, rules = 100, clients = 1, own = false, more = '', store = 'memory', audit = '', credential = API_TOKEN, ca, tls, workers, spare }) {
  const port = await freePort()
  for (const name of ['policies', 'log']) mkdirSync(path.join(folder, name), { recursive: true })
  writeFileSync(path.join(folder, 'policies/bench.yaml'), policyText('bench', key.sha256, rules, 0, more, own))
  for (let i = 1; i < clients; i++) writeFileSync(path.join(folder, `policies/c${i}.yaml`), policyText(`c${i}`, spare(i), rules, i, '', own))
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen:
  host: 127.0.0.1
  port: ${port}
  maxConnectionsPerAddress: 1000
  shedAfterMs: 5000
${tls === undefined ? '' : `  tls: { cert: { file: ${tls.cert} }, key: { file: ${tls.key} } }\n`}publicUrl: ${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${org}
${ca === undefined ? '' : `    ca: { file: ${ca} }\n`}    credential: { ${credential} }
limits: { org: { '*': 1000000 }, concurrency: 1000, clientConcurrency: 100%, store: ${store} }
audit: { sinks: [{ file: { path: ./log/audit.jsonl${audit} } }] }
${workers === undefined ? '' : `workers: ${workers}\n`}`)
  return file
}
