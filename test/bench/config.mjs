// The gate's files for a benchmark: as an operator would write them, with limits that do not bind.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { freePort } from '../support/gate-process.mjs'
import { targets } from './mix.mjs'

/** The rules of the mix, filled up to `count` with rules of other groups; `own`: every rule has a list of this client's own. */
function rulesText (count, client, more = '') {
  const seen = new Map(targets.map(({ method, template }) => [`${method} ${template}`, '']))
  const rules = [...seen.keys()].map(request => `  - request: ${request}\n${more === '' || !request.startsWith('POST /api/v1/users/{userId}') || !request.endsWith('}') ? '' : more}`)
  const filler = Array.from({ length: Math.max(0, count - rules.length) }, (_, i) => `  - operation: getGroup\n    where: { groupId: ['00g${String(client).padStart(8, '0')}${String(i).padStart(9, '0')}'] }\n`)
  return [...rules, ...filler].join('')
}

export function policyText (name, sha256, rules, client = 0, more = '') {
  return `version: 1\nclient: ${name}\nowner: bench@example.com\ndescription: a client of the benchmark\nauthenticate: [{ apiKey: { sha256: ${sha256} } }]\nallow:\n${rulesText(rules, client, more)}`
}

/**
 * @param {{ org: string, key: { sha256: string }, rules?: number, clients?: number, more?: string, store?: string, audit?: string, credential?: string, upstream?: string, ceiling?: string, spare?: (i: number) => string }} options
 * @returns {Promise<string>} path of narrowgate.yaml
 */
export async function writeGate (folder, { org, key, rules = 100, clients = 1, more = '', store = 'memory', audit = '', credential, spare }) {
  const port = await freePort()
  for (const name of ['policies', 'log']) mkdirSync(path.join(folder, name), { recursive: true })
  writeFileSync(path.join(folder, 'policies/bench.yaml'), policyText('bench', key.sha256, rules, 0, more))
  for (let i = 1; i < clients; i++) writeFileSync(path.join(folder, `policies/c${i}.yaml`), policyText(`c${i}`, spare(i), rules, i))
  const file = path.join(folder, 'narrowgate.yaml')
  writeFileSync(file, `listen: { host: 127.0.0.1, port: ${port}, maxConnectionsPerAddress: 1000, shedAfterMs: 5000 }
publicUrl: http://127.0.0.1:${port}
admin: { host: 127.0.0.1, port: 0 }
policies: ./policies
upstreams:
  default:
    org: ${org}
    credential: { ${credential ?? 'apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: B-1, approvedBy: bench, expires: 2099-01-01 } }'} }
limits: { org: { '*': 1000000 }, concurrency: 1000, clientConcurrency: 100%, store: ${store} }
audit: { sinks: [{ file: { path: ./log/audit.jsonl${audit} } }] }
`)
  return file
}
