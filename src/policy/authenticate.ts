import type { Problem } from '../domain/problem.js'
import type { AuthenticateEntry, CompiledPolicy, KeyPairEntry, WorkloadEntry } from './compile.js'
import type { LoadOptions } from './load.js'
import { didYouMean } from './nearest.js'
import { compilePattern, matches } from './pattern.js'
import type { PolicyFile } from './schema.js'
import type { WrittenPolicy } from './written.js'
import type { Path, YamlFile } from './yaml.js'

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
    return mtls === undefined ? [] : [{ kind: 'mtls', ...mtls, place: { file: yaml.path, ...yaml.locate([...at, 'mtls']) } }]
  }).slice() // the list that flatMap makes has room for sixteen
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
export function repeatedIdentities (policies: ReadonlyArray<{ readonly policy: Pick<CompiledPolicy, 'authenticate'>, readonly yaml: YamlFile }>): Problem[] {
  const problems: Problem[] = []
  const owners = new Map<string, { yaml: YamlFile, i: number }>()
  for (const { policy, yaml } of policies) {
    for (const [i, entry] of policy.authenticate.entries()) {
      const name = nameOf(entry)
      if (name === undefined) continue
      const owner = owners.get(name)
      if (owner === undefined) { owners.set(name, { yaml, i }); continue }
      const first = owner.yaml.locate(pathOf(entry, owner.i))
      const what = entry.kind === 'apiKey' ? 'this key' : 'this certificate'
      problems.push(yaml.problem(pathOf(entry, i), `${what} is in use already`, { hint: `at ${owner.yaml.path}:${first.line}:${first.column}` }))
    }
  }
  return problems
}

/** What nobody else may be known by. */
function nameOf (entry: AuthenticateEntry): string | undefined {
  if (entry.kind === 'apiKey') return entry.sha256
  return entry.kind === 'mtls' ? JSON.stringify([entry.uri, entry.dns, entry.sha256]) : undefined
}

function pathOf ({ kind }: AuthenticateEntry, i: number): Path {
  return kind === 'apiKey' ? ['authenticate', i, 'apiKey', 'sha256'] : ['authenticate', i, 'mtls']
}
