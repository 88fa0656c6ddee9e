// CPU per request of the gate beside its peers, and what single features add to it.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { startCaddy, startHaproxy, startNginx } from './peers/others.mjs'
import { BESIDE, here, MEASURED, median, peakMb, quantile, round, load, startRedis, startScript } from './processes.mjs'
import { askOf, certificate, gate, interleaved, mixed, ratio, stopSubjects } from './subjects.mjs'

const node24 = Number(process.versions.node.split('.')[0]) >= 24
const enforcing = found => found === undefined ? undefined : { ...found, enforces: true }
const SERVICE_APP = dpop => `serviceApp: { clientId: 0oa1narrowgatebench5, keys: [{ env: APP_KEY }], scopes: [okta.users.manage], dpop: ${dpop} }`

/** Starts what is there; what is not, or won't start, is named. */
async function startAll (bench, makers) {
  const subjects = {}
  const missing = []
  for (const [name, start] of Object.entries(makers)) {
    try {
      const found = await start()
      if (found === undefined) missing.push(name)
      else subjects[name] = found
    } catch (error) { missing.push(`${name} (${String(error.message).trim().split('\n')[0]})`) }
  }
  return { subjects, missing }
}

const describe = (subjects, samples) => Object.entries(samples).filter(([, list]) => list.length > 0).map(([name, list]) => ({
  name,
  cpuUsPerRequest: round(median(list.map(sample => sample.cpuUs)), 1),
  leastCpuUs: round(Math.min(...list.map(sample => sample.cpuUs)), 1),
  requestsPerSecond: Math.round(median(list.map(sample => sample.perSecond))),
  peakRssMb: peakMb(subjects[name].pid)
}))

/** The gate beside its peers. */
export async function peerRows (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const npmPeer = script => async () => existsSync(path.join(here, 'node_modules')) ? await startScript(script, MEASURED, { UPSTREAM: org }) : undefined
  const { subjects, missing } = await startAll(bench, {
    relay: () => startScript('peers/relay.mjs', MEASURED, { UPSTREAM: org }),
    bare: () => startScript('peers/bare.mjs', MEASURED, { UPSTREAM: org }),
    gate: () => gate(bench, 'gate', { org }),
    caddy: async () => enforcing(await startCaddy(bench.work, org, bench.key.key)),
    nginx: async () => enforcing(await startNginx(bench.work, org, bench.key.key)),
    haproxy: async () => enforcing(await startHaproxy(bench.work, org, bench.key.key)),
    'node-http-proxy (npm ci in test/bench)': npmPeer('peers/node-http-proxy.mjs'),
    'http-proxy-middleware (npm ci in test/bench)': npmPeer('peers/http-proxy-middleware.mjs')
  })
  const { samples, failures } = await interleaved(bench, subjects, mixed)
  const rows = [
    ratio(samples, 'gate', 'relay', 'gate ÷ relay', node24 ? 1.05 : 1.15),
    ratio(samples, 'gate', 'bare', 'gate ÷ Fastify + http-proxy', 0.65),
    ratio(samples, 'gate', 'caddy', 'gate ÷ caddy', 0.5),
    ...Object.keys(subjects).filter(name => !['relay', 'bare', 'gate', 'caddy'].includes(name)).map(name => ratio(samples, 'gate', name, `gate ÷ ${name.split(' ')[0]}`))
  ]
  const targets = describe(subjects, samples)
  await stopSubjects(subjects)
  return { rows, targets, missing: [...missing, ...failures] }
}

/** The gate with one thing more, beside the gate as it is. */
export async function featureRows (bench) {
  const { url: org } = await startScript('upstream.mjs', BESIDE)
  const { cert, key } = certificate(bench)
  const { url: tlsOrg } = await startScript('upstream.mjs', BESIDE, { TLS_CERT: cert, TLS_KEY: key })
  const { generateKeyPairSync } = await import('node:crypto')
  const APP_KEY = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  const { subjects, missing } = await startAll(bench, {
    gate: () => gate(bench, 'plain', { org }),
    redis: async () => {
      const { port } = await startRedis(bench.work)
      return await gate(bench, 'redis', { org, store: '{ redis: { url: { env: REDIS_URL }, replicas: 1 } }' }, { REDIS_URL: `redis://127.0.0.1:${port}` })
    },
    durable: () => gate(bench, 'durable', { org, audit: ', delivery: required' }),
    app: () => gate(bench, 'app', { org, credential: SERVICE_APP(false) }, { APP_KEY }),
    dpop: () => gate(bench, 'dpop', { org, credential: SERVICE_APP(true) }, { APP_KEY }),
    'TLS to Okta': () => gate(bench, 'tls-upstream', { org: tlsOrg, ca: cert }),
    'TLS to clients': async () => ({ ...await gate(bench, 'tls-client', { org, tls: { cert, key } }), ca: cert }),
    '50 rules': () => gate(bench, 'rules50', { org, rules: 50 })
  })
  const { samples, failures } = await interleaved(bench, subjects, mixed)
  const bodies = await bodySamples(bench, org)
  const rows = [
    ratio(samples, 'redis', 'gate', 'Redis store ÷ memory store', 1.25),
    ratio(samples, 'dpop', 'app', 'upstream DPoP ÷ without', 1.45),
    ratio(samples, 'durable', 'gate', 'durable intents ÷ plain audit lines', 1.25),
    ratio(bodies.samples, 'bodies', 'gate', 'body conditions on 2 kB ÷ none', 1.2),
    ratio(samples, 'TLS to Okta', 'gate', 'TLS to Okta ÷ plain HTTP'),
    ratio(samples, 'TLS to clients', 'gate', 'TLS to clients ÷ plain HTTP'),
    ratio(samples, 'gate', '50 rules', '100 rules ÷ 50 rules'),
    ...await addedLatency(bench, subjects)
  ]
  const targets = describe(subjects, samples)
  await stopSubjects(subjects)
  return { rows, targets, missing: [...missing, ...failures, ...bodies.failures] }
}

const MORE = '    body: { only: [profile.firstName, profile.lastName, profile.mobilePhone, profile.city], require: { profile.firstName: any } }\n'

async function bodySamples (bench, org) {
  const writes = { targets: [{ method: 'POST', path: '/api/v1/users/00u00000000000000001', body: JSON.stringify({ profile: { firstName: 'Ada', lastName: 'Lovelace', city: 'x'.repeat(1900) } }), status: 200 }] }
  const subjects = { gate: await gate(bench, 'bodies-none', { org }), bodies: await gate(bench, 'bodies', { org, more: MORE }) }
  const found = await interleaved(bench, subjects, writes)
  await stopSubjects(subjects)
  return found
}

/** What the Redis store adds to the time of a call, beside the memory store's, at 500 calls a second in turns. */
async function addedLatency (bench, { gate: memory, redis }) {
  if (memory === undefined || redis === undefined) return []
  const times = { memory: [], redis: [] }
  const ask = subject => load(askOf(bench, subject, mixed, { requests: bench.quick ? 500 : 2500, rate: 500 }))
  for (let i = 0; i < (bench.quick ? 3 : 6); i++) for (const [name, subject] of [['memory', memory], ['redis', redis]]) times[name].push(await ask(subject))
  return ['p50', 'p99'].map(at => {
    const more = times.redis.map((one, i) => one[at] - times.memory[i][at])
    return { row: `Redis store: ${at}, ms more than the memory store's ${round(median(times.memory.map(one => one[at])), 2)}`, measured: round(median(more), 2), lower: round(quantile(more, 0.25), 2), upper: round(quantile(more, 0.75), 2), goal: '' }
  })
}
