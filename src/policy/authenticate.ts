import type { Problem } from '../domain/problem.js'
import type { AuthenticateEntry, KeyPairEntry, WorkloadEntry } from './compile.js'
import type { LoadOptions } from './load.js'
import { didYouMean } from './nearest.js'
import { compilePattern, matches } from './pattern.js'
import type { PolicyFile } from './schema.js'
import type { WrittenPolicy } from './written.js'
import type { Path } from './yaml.js'

type Written = PolicyFile['authenticate'][number]
type Say = (path: Path, message: string, hint?: string) => void

/** Entries of `authenticate:`, ready to be indexed. What is wrong with them goes to `problems`. */
export function compileAuthenticate ({ yaml, value }: WrittenPolicy, options: LoadOptions, problems: Problem[], expiry: (date: string | undefined, path: Path) => number | undefined): AuthenticateEntry[] {
  const say: Say = (path, message, hint) => { problems.push(yaml.problem(path, message, { hint })) }
  return value.authenticate.flatMap(({ apiKey, privateKeyJwt, workload, mtls }, i): AuthenticateEntry[] => {
    const at: Path = ['authenticate', i]
    if (apiKey !== undefined) return [{ kind: 'apiKey', sha256: apiKey.sha256, expiresAt: expiry(apiKey.expires, [...at, 'apiKey', 'expires']) }]
    if (privateKeyJwt !== undefined) {
      const path = [...at, 'privateKeyJwt', 'jwks']
      return [{
        kind: 'privateKeyJwt',
        jwks: readSet(privateKeyJwt.jwks, path, options.attachments, say),
        place: { file: yaml.path, ...yaml.locate(path) },
        dpop: privateKeyJwt.dpop,
        requireJti: privateKeyJwt.requireJti ?? false
      } satisfies KeyPairEntry]
    }
    if (workload !== undefined) return [compileWorkload(workload, [...at, 'workload'], options.issuers, say)]
    return mtls === undefined ? [] : [{ kind: 'mtls', ...mtls }]
  })
}

function readSet ({ file, keys }: NonNullable<Written['privateKeyJwt']>['jwks'], path: Path, attachments: ReadonlyMap<string, string> | undefined, say: Say): unknown {
  if (file === undefined) return { keys }
  if (file.startsWith('/') || file.split(/[/\\]/).includes('..') || !file.endsWith('.json')) {
    say([...path, 'file'], 'a JWK Set is a .json file inside the policies folder', 'write e.g. keys/helpdesk.jwks.json')
    return undefined
  }
  if (attachments === undefined) return undefined
  const text = attachments.get(file.replace(/^(\.\/)+/, ''))
  if (text === undefined) { say([...path, 'file'], 'there is no such file in the policies folder', didYouMean(file, [...attachments.keys()])); return undefined }
  try {
    return JSON.parse(text)
  } catch {
    say([...path, 'file'], 'this file is not JSON')
    return undefined
  }
}

function compileWorkload ({ issuer, audience, claims }: NonNullable<Written['workload']>, path: Path, issuers: readonly string[] | undefined, say: Say): WorkloadEntry {
  if (issuers?.includes(issuer) === false) {
    say([...path, 'issuer'], `narrowgate.yaml has no issuer "${issuer}"`, didYouMean(issuer, issuers) ?? (issuers.length === 0 ? 'add it under issuers' : `known: ${issuers.join(', ')}`))
  }
  const tests = new Map<string, (value: unknown) => boolean>()
  for (const [name, wanted] of Object.entries(claims)) {
    if (typeof wanted !== 'object') { tests.set(name, value => value === wanted); continue }
    const pattern = compilePattern(wanted.pattern)
    if (typeof pattern === 'string') say([...path, 'claims', name, 'pattern'], `this ${pattern}`)
    else tests.set(name, value => typeof value === 'string' && matches(pattern, value))
  }
  return { kind: 'workload', issuer, audience, claims: tests }
}

/** Keys and certificates that occur twice: they would name two clients, or one for two reasons. */
export function repeatedIdentities (policies: readonly WrittenPolicy[]): Problem[] {
  const problems: Problem[] = []
  const places = new Map<string, string>()
  for (const { yaml, value } of policies) {
    for (const [i, { apiKey, mtls }] of value.authenticate.entries()) {
      const identity = identityOf(apiKey, mtls, i)
      if (identity === undefined) continue
      const { path, name, what } = identity
      const place = yaml.locate(path)
      const owner = places.get(name)
      if (owner !== undefined) problems.push(yaml.problem(path, `${what} is in use already`, { hint: `at ${owner}` }))
      else places.set(name, `${yaml.path}:${place.line}:${place.column}`)
    }
  }
  return problems
}

function identityOf (apiKey: Written['apiKey'], mtls: Written['mtls'], i: number): { path: Path, name: string, what: string } | undefined {
  if (apiKey !== undefined) return { path: ['authenticate', i, 'apiKey', 'sha256'], name: `key ${apiKey.sha256}`, what: 'this key' }
  return mtls === undefined ? undefined : { path: ['authenticate', i, 'mtls'], name: `mtls ${JSON.stringify(mtls)}`, what: 'this certificate' }
}
