import type { Problem } from '../domain/problem.js'
import { orgLimitFor } from '../okta/buckets.js'
import { oktaOperations } from '../okta/operations.js'
import { endOfDay, isLoopback } from './formats.js'
import { nearest } from './nearest.js'
import type { ConfigYaml, Path } from './yaml.js'

const WARN_AHEAD_MS = 30 * 86_400_000
const ANY_ADDRESS: ReadonlySet<string> = new Set(['0.0.0.0', '::'])

/**
 * What no schema can say: rules between several places of the file, and keys whose feature is not built.
 * Written for values that the schema may have refused elsewhere, so that all problems come together.
 *
 * @param now epoch milliseconds; time makes warnings, never errors
 */
export function checkRules (yaml: ConfigYaml, now: number): Problem[] {
  return [...notBuilt(yaml), ...listeners(yaml), ...origins(yaml), ...privateIssuers(yaml), ...exceptions(yaml, now), ...repetitions(yaml), ...redaction(yaml), ...unknownBuckets(yaml), ...emptyAllowances(yaml)]
}

function notBuilt (yaml: ConfigYaml): Problem[] {
  const problems: Problem[] = []
  const refuse = (path: Path, message: string) => problems.push(yaml.problem(path, message, { what: 'key' }))
  const { value } = yaml
  const redis = ['limits', 'store', 'redis']
  if (get(value, [...redis, 'sentinel']) !== undefined && get(value, [...redis, 'cluster']) !== undefined) refuse([...redis, 'cluster'], 'the store is either behind Sentinel or a cluster')
  return problems
}

/** Keys of another form are the schema's to refuse. */
const WELL_FORMED = /^(?:[A-Z]+(?:,[A-Z]+)* )?\//

/** A misspelt bucket would be a limit that nobody keeps. A warning: operations.yaml may bring buckets of its own. */
function unknownBuckets (yaml: ConfigYaml): Problem[] {
  const org = get(yaml.value, ['limits', 'org'])
  if (typeof org !== 'object' || org === null) return []
  const buckets = [...new Set(oktaOperations.map(operation => operation.bucket))]
  return Object.keys(org).filter(key => WELL_FORMED.test(key) && !buckets.some(bucket => orgLimitFor(bucket, { [key]: 1 }) !== undefined)).map(key => {
    const near = nearest(key, buckets)
    return yaml.problem(['limits', 'org', key], `no rate limit bucket of Okta's catalogue is called "${key}": the line has no effect on its operations`, {
      what: 'key', severity: 'warning', hint: near === undefined ? undefined : `did you mean "${near}"?`
    })
  })
}

/** A limit of which the ceiling leaves nothing: clients would be told to come back in a minute, for ever. */
function emptyAllowances (yaml: ConfigYaml): Problem[] {
  const [org, ceiling] = [get(yaml.value, ['limits', 'org']), get(yaml.value, ['limits', 'ceiling'])]
  if (typeof org !== 'object' || org === null || typeof ceiling !== 'string') return []
  const part = parseFloat(ceiling) / 100
  return Object.entries(org).filter(([, calls]) => typeof calls === 'number' && calls >= 1 && Math.floor(part * calls + 1e-9) === 0).map(([key, calls]) =>
    yaml.problem(['limits', 'org', key], `${ceiling} of ${calls} a minute is less than one call: every call of ${key === '*' ? 'these buckets' : 'this bucket'} is refused`, { severity: 'warning', hint: 'raise limits.ceiling, or leave the line out' }))
}

function listeners (yaml: ConfigYaml): Problem[] {
  const problems: Problem[] = []
  const of = (...path: string[]) => get(yaml.value, path)
  const [host, port, adminHost, adminPort] = [of('listen', 'host'), of('listen', 'port'), of('admin', 'host'), of('admin', 'port')]
  if (typeof host !== 'string' || typeof adminHost !== 'string') return problems
  if (of('listen', 'tls') === undefined && !isLoopback(host) && of('listen', 'insecureHttp') !== true) {
    problems.push(yaml.problem(['listen', 'host'], 'client keys would cross the network in plain HTTP', {
      hint: 'add tls: { cert: …, key: … }, or insecureHttp: true behind a balancer that ends TLS'
    }))
  }
  const tls = of('listen', 'tls')
  if (get(tls, ['crl']) !== undefined && get(tls, ['clientCa']) === undefined) problems.push(yaml.problem(['listen', 'tls', 'crl'], 'a revocation list is of no use without clientCa'))
  const proxies = of('listen', 'trustedProxies')
  if (of('listen', 'clientCertHeader') === true && Array.isArray(proxies) && proxies.length === 0) {
    problems.push(yaml.problem(['listen', 'clientCertHeader'], 'the Client-Cert header is believed only of trustedProxies, and there are none'))
  }
  if (port === adminPort && port !== 0 && (host === adminHost || ANY_ADDRESS.has(host) || ANY_ADDRESS.has(adminHost))) {
    problems.push(yaml.problem(['admin', 'port'], 'clients and operators need different ports'))
  }
  return problems
}

function redaction (yaml: ConfigYaml): Problem[] {
  const redact = get(yaml.value, ['audit', 'redact'])
  if (!Array.isArray(redact) || redact.length === 0 || get(yaml.value, ['audit', 'redactKey']) !== undefined) return []
  return [yaml.problem(['audit', 'redact'], 'a hash without a key is undone by trying: redactKey is missing', { hint: 'add redactKey: { file: … } with 32 random bytes or more' })]
}

/** What stands only in a private network has to be said to. */
function privateIssuers (yaml: ConfigYaml): Problem[] {
  const issuers = get(yaml.value, ['issuers'])
  if (!Array.isArray(issuers)) return []
  return issuers.flatMap((issuer: unknown, index) => {
    const url = get(issuer, ['jwks', 'url']) ?? (get(issuer, ['jwks', 'file']) === undefined ? get(issuer, ['issuer']) : undefined)
    return typeof url === 'string' && url.startsWith('http:') && get(issuer, ['allowPrivateNetwork']) !== true
      ? [yaml.problem(['issuers', index], 'its keys would be fetched by plain HTTP', { hint: 'only with allowPrivateNetwork: true, and from a loopback address' })]
      : []
  })
}

function origins (yaml: ConfigYaml): Problem[] {
  const publicUrl = get(yaml.value, ['publicUrl'])
  return upstreamNames(yaml.value)
    .filter(name => typeof publicUrl === 'string' && get(yaml.value, ['upstreams', name, 'org']) === publicUrl)
    .map(name => yaml.problem(['upstreams', name, 'org'], 'is publicUrl itself: the gate would call itself'))
}

/** An expired exception never stops the gate: calls that need the token are answered 503. */
function exceptions (yaml: ConfigYaml, now: number): Problem[] {
  const problems: Problem[] = []
  for (const name of upstreamNames(yaml.value)) {
    for (const token of [['credential', 'apiToken'], ['authnToken']]) {
      const path = ['upstreams', name, ...token, 'exception', 'expires']
      const written = get(yaml.value, path)
      const end = typeof written === 'string' ? endOfDay(written) : undefined
      if (end === undefined) continue
      const hint = 'renew the exception, or change to a service app'
      if (now >= end) problems.push(yaml.problem(path, 'the exception for this API token has expired: calls that need it are answered 503', { severity: 'warning', hint }))
      else if (now >= end - WARN_AHEAD_MS) problems.push(yaml.problem(path, 'the exception for this API token expires within 30 days', { severity: 'warning', hint }))
    }
  }
  return problems
}

function repetitions (yaml: ConfigYaml): Problem[] {
  const lists: [Path, string][] = [[['audit', 'sinks'], 'this sink is listed twice'], [['listen', 'trustedProxies'], 'this block is listed twice'], [['telemetry', 'trustedNetworks'], 'this block is listed twice'], [['tokens', 'keys'], 'this key is listed twice']]
  const issuers = get(yaml.value, ['issuers'])
  const names = Array.isArray(issuers) ? issuers.map(issuer => get(issuer, ['issuer'])) : []
  const twice = repeated(names).map(index => yaml.problem(['issuers', index, 'issuer'], 'this issuer is listed twice'))
  for (const name of upstreamNames(yaml.value)) lists.push([['upstreams', name, 'credential', 'serviceApp', 'keys'], 'this key is listed twice'])
  return [...twice, ...lists.flatMap(([path, message]) => repeated(get(yaml.value, path)).map(index => yaml.problem([...path, index], message)))]
}

function repeated (list: unknown): number[] {
  if (!Array.isArray(list)) return []
  const texts = list.map(item => JSON.stringify(item))
  return texts.flatMap((text, index) => texts.indexOf(text) < index ? [index] : [])
}

function upstreamNames (value: unknown): string[] {
  const upstreams = get(value, ['upstreams'])
  return typeof upstreams === 'object' && upstreams !== null && !Array.isArray(upstreams) ? Object.keys(upstreams) : []
}

function get (value: unknown, path: Path): unknown {
  let current = value
  for (const step of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined
    current = (current as Record<string | number, unknown>)[step]
  }
  return current
}
