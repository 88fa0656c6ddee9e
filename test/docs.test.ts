import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import type { TObject, TSchema } from '@sinclair/typebox'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { createPlainLines } from '../src/audit/plain.js'
import { loadConfig } from '../src/config/load.js'
import { configSchema } from '../src/config/schema.js'
import type { AuditEvent } from '../src/domain/event.js'
import { formatProblem, type Problem } from '../src/domain/problem.js'
import { reject, rejections, type RejectionCode } from '../src/domain/rejection.js'
import { createCatalog } from '../src/okta/catalog.js'
import { loadPolicies, type SourceFile } from '../src/policy/load.js'
import { AllowSchema, PolicySchema, SetSchema, TestSchema } from '../src/policy/schema.js'
import { invitesRetry } from '../src/server/answer.js'
import { gateGauges } from '../src/server/gauges.js'
import { Metrics } from '../src/server/metrics.js'
import { narrowgate, NOW } from './cli/shell.js'

const root = resolve(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const markdown = ['', 'docs', 'deploy'].flatMap(folder => readdirSync(join(root, folder)).filter(name => name.endsWith('.md')).map(name => join(folder, name)))

/** The rows of the table that begins with these column names, each cell trimmed. */
function table (path: string, ...columns: string[]): string[][] {
  const lines = read(path).split('\n')
  const start = lines.findIndex(line => columns.every((column, i) => cells(line)[i] === column))
  if (start < 0) throw new Error(`${path} has no table with the columns ${columns.join(', ')}`)
  const length = lines.slice(start).findIndex(line => !line.startsWith('|'))
  return lines.slice(start + 2, length < 0 ? undefined : start + length).map(cells)
}

/** A bar inside a code span or behind a backslash ends no cell. */
function cells (row: string): string[] {
  const split = row.replace(/`[^`]*`|\\\|/g, text => text.replaceAll('|', '\u0000')).split('|')
  return split.slice(1, -1).map(cell => cell.replaceAll('\u0000', '|').trim())
}

const names = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(match => match[1]!)
const first = (rows: readonly string[][]): string[] => rows.map(row => names(row[0]!)[0] ?? row[0]!)

t.test('docs/interfaces.md: the rejection codes are those of the catalogue', async t => {
  const documented = table('docs/interfaces.md', 'code', 'status', 'errorCode', 'retry').map(([code, status, errorCode, retry]) => [names(code!)[0], Number(status), errorCode, retry === 'retry'])
  const actual = Object.entries(rejections).map(([code, { status, errorCode }]) => [code, status, errorCode, invitesRetry(reject(code as RejectionCode))])
  t.same(documented, actual, 'codes, status, errorCode and whether a retry is invited, in the catalogue\'s order')
})

t.test('docs/interfaces.md: the config keys and defaults are those of the schema', async t => {
  const documented = table('docs/interfaces.md', 'key', 'default', 'meaning')
  const actual = [...leaves(configSchema as unknown as Schema, '')]
  t.same(first(documented).sort(), actual.map(([path]) => path).sort())
  for (const [path, schema] of actual) {
    const said = documented.find(row => names(row[0]!)[0] === path)?.[1]
    if (schema.default === undefined || schema.type === 'object') continue
    const text = Array.isArray(schema.default) && path === 'audit.sinks' ? '[{ stdout: {} }]' : typeof schema.default === 'object' ? JSON.stringify(schema.default) : String(schema.default)
    t.equal(said, `\`${text}\``, `the default of ${path}`)
  }
})

interface Schema { type?: string, properties?: Record<string, Schema>, patternProperties?: Record<string, Schema>, items?: Schema, anyOf?: Schema[], default?: unknown, format?: string, [key: symbol]: unknown }

/** What a reference may say beside `file`. */
const STORES: ReadonlySet<string> = new Set(['env', 'vault', 'awsSecretsManager', 'googleSecretManager', 'azureKeyVault'])

/** Every key that a person can write, by its path; a reference ({ env } or { file }) is one value, and so is a map of numbers. */
function * leaves (schema: Schema, path: string): Iterable<[string, Schema]> {
  const { properties = {}, patternProperties = {}, items, anyOf } = schema
  const keys = Object.keys(properties)
  const isReference = keys.length > 0 && keys.every(key => STORES.has(key) || (key === 'file' && properties['file']!.type === 'string'))
  const below = Object.values(patternProperties)[0]
  if (isReference) yield [path, schema]
  else if (below?.properties !== undefined) yield * leaves(below, `${path}.*`)
  else if (items?.properties !== undefined && !Object.keys(items.properties).includes('env')) { yield [path, schema]; yield * leaves(items, `${path}[]`) } else if (anyOf?.some(branch => branch.properties !== undefined) === true) {
    yield [path, schema]
    for (const branch of anyOf) if (branch.properties !== undefined) yield * leaves(branch, path)
  } else if (keys.length > 0) for (const key of keys) yield * leaves(properties[key]!, path === '' ? key : `${path}.${key}`)
  else yield [path, schema]
}

t.test('docs/policy-format.md: the keys are those of the schemas', async t => {
  t.same(first(table('docs/policy-format.md', 'key', 'default')), Object.keys(PolicySchema.properties))
  const text = read('docs/policy-format.md')
  for (const [what, schema] of [['An entry of `allow`', AllowSchema], ['A test', TestSchema], ['A set', SetSchema]] as Array<[string, TObject<Record<string, TSchema>>]>) {
    const sentence = text.split('\n').map(line => line.slice(line.indexOf(what))).find(line => line.startsWith(what))!.split(/\. (?=[A-Z])|\.$/)[0]!
    for (const key of Object.keys(schema.properties)) t.ok(names(sentence).includes(key), `${what} names ${key}`)
  }
})

t.test('docs/interfaces.md: the audit fields are those of the line', async t => {
  const event: Required<AuditEvent> = {
    time: 0, id: 'x', phase: 'open', outcome: 'allowed', stage: 'observe', method: 'GET', path: '/', queryNames: ['q'], source: '127.0.0.1', client: 'c', keyId: 'k', authentication: 'apiKey', operation: 'o', resources: [{ kind: 'user', id: 'u' }], rule: 'r', ruleId: 'f#0', decision: 'allow', reason: 'no_rule', wouldDeny: 'no_rule', detail: 'd', bodyPaths: ['p'], upstream: 'u', credential: 'none', bucket: 'b', status: 200, upstreamStatus: 200, oktaRequestId: 'i', truncated: true, resent: true, count: 2, bytesIn: 0, bytesOut: 0, durationMs: 1, upstreamMs: 1, policy: 'h', traceId: 't'
  }
  const line = JSON.parse(createPlainLines()(event)) as object
  t.same(first(table('docs/interfaces.md', 'field', 'what')), Object.keys(line), 'names and order')
})

t.test('the metrics are those of the registry', async t => {
  const metrics = new Metrics()
  const gauges = gateGauges({} as Parameters<typeof gateGauges>[0])
  const own = (await metrics.registry.getMetricsAsJSON()).map(({ name }) => name).filter(name => !/^narrowgate_(?:process|nodejs)_/.test(name))
  const documented = table('docs/interfaces.md', 'metric', 'labels')
  t.same(first(documented), [...new Set([...['narrowgate_requests_total', 'narrowgate_gate_seconds', 'narrowgate_okta_seconds'].filter(name => own.includes(name)), ...own, ...gauges.map(({ name }) => name)])])
  for (const { name, labels } of gauges) t.same(names(documented.find(row => names(row[0]!)[0] === name)?.[1] ?? ''), labels, `labels of ${name}`)
  const operations = read('docs/operations.md')
  for (const name of first(documented)) t.ok(operations.includes(name), `docs/operations.md says what ${name} says`)
})

t.test('the commands and flags are those of the command line', async t => {
  const rows = table('docs/interfaces.md', 'command', 'flags', 'does')
  const listed = commandsOf((await narrowgate(['--help'])).out)
  const commands = (await Promise.all(listed.map(async command => {
    const below = commandsOf((await narrowgate([command, '--help'])).out)
    const itself = below.length === 0 || command === 'limits' ? [command] : []
    return [...itself, ...below.map(name => `${command} ${name}`)]
  }))).flat()
  t.same(first(rows).sort(), commands.sort())
  for (const command of commands) {
    const help = (await narrowgate([...command.split(' '), '--help'])).out
    const flags = [...help.matchAll(/^ {2}((?:-\w, )?--[a-z-]+)/gm)].map(match => match[1]!).filter(flag => !flag.includes('--help'))
    t.same(names(rows.find(row => names(row[0]!)[0] === command)?.[1] ?? ''), flags, `flags of ${command}`)
    t.ok(read('docs/operations.md').includes(`narrowgate ${command}`), `docs/operations.md has ${command}`)
  }
})

function commandsOf (help: string): string[] {
  const at = help.indexOf('\nCommands:')
  return at < 0 ? [] : [...help.slice(at).matchAll(/^ {2}([a-z]+)/gm)].map(match => match[1]!).filter(name => name !== 'help')
}

/** ```yaml KIND …``` of a page. KIND says what it is, and how it is loaded. */
interface Example { readonly place: string, readonly kind: string, readonly text: string }

function examplesOf (path: string): Example[] {
  const text = read(path)
  return [...text.matchAll(/^( *)```yaml *(.*)\n([\s\S]*?)^ *```$/gm)].map(match => ({
    place: `${path}:${text.slice(0, match.index).split('\n').length}`,
    kind: match[2]!.trim(),
    text: match[3]!.replaceAll(new RegExp(`^${match[1]!}`, 'gm'), '')
  }))
}

const HEAD = 'version: 1\nclient: example-of-the-docs\nauthenticate:\n  - apiKey: { sha256: 0f47a11a19115c2ce1e07ed3fd136b2ec3fde936d5f168a7e05cfb3cfc68d313 }\n'
const shippedSets: SourceFile[] = readdirSync(join(root, 'policies/sets')).map(name => ({ path: `policies/sets/${name}`, name: `sets/${name}`, text: read(`policies/sets/${name}`) }))

/** Loads an example as the gate would, and gives every error. What time changes is a warning, and passes. */
function errorsOf ({ place, kind, text }: Example): string[] {
  const name = kind.startsWith('set ') ? kind.slice(4) : kind === 'operations' ? 'operations.yaml' : 'example.yaml'
  let problems: readonly Problem[]
  switch (kind.split(' ')[0]) {
    case 'config': problems = loadConfig({ path: place, text }, root, NOW).problems; break
    case 'policy': case 'rules': case 'operations': case 'set': {
      const sets = shippedSets.filter(set => set.name !== name)
      problems = loadPolicies([...sets, { path: place, name, text: kind === 'rules' ? HEAD + text : text }], createCatalog, NOW).problems
      break
    }
    default: return [`${place}: say what this example is: \`\`\`yaml config, policy, rules, operations or set NAME`]
  }
  return problems.filter(({ severity }) => severity === 'error').map(formatProblem)
}

t.test('every YAML example loads, and its tests pass', async t => {
  const examples = markdown.flatMap(examplesOf)
  t.ok(examples.length >= 12, `${examples.length} examples`)
  for (const example of examples) t.same(errorsOf(example), [], `${example.kind} at ${example.place}`)
  t.not(errorsOf({ place: 'x', kind: 'rules', text: 'allow: [{ operation: getUsr }]\n' }).length, 0, 'an example that is wrong is found')
  t.not(errorsOf({ place: 'x', kind: '', text: 'a: 1\n' }).length, 0, 'and so is one that does not say what it is')
})

t.test('the files in deploy/ hold configurations and policies that load', async t => {
  t.same(errorsOf({ place: 'deploy/narrowgate.yaml', kind: 'config', text: read('deploy/narrowgate.yaml') }), [])
  const objects = parseAllDocuments(read('deploy/kubernetes.yaml'), { version: '1.1' }).map(document => document.toJS() as { kind: string, metadata: { name: string }, data?: Record<string, string> })
  const data = (name: string): Record<string, string> => objects.find(object => object.kind === 'ConfigMap' && object.metadata.name === name)!.data!
  t.same(errorsOf({ place: 'deploy/kubernetes.yaml', kind: 'config', text: data('narrowgate-config')['narrowgate.yaml']! }), [])
  for (const [name, text] of Object.entries(data('narrowgate-policies'))) t.same(errorsOf({ place: `deploy/kubernetes.yaml ${name}`, kind: 'policy', text }), [])
  t.match(objects.find(object => object.kind === 'Deployment'), {
    spec: { template: { spec: { volumes: [{}, {}, { secret: { defaultMode: 0o400 } }, { secret: { defaultMode: 0o400 } }], containers: [{ securityContext: { readOnlyRootFilesystem: true } }] } } }
  })
})

t.test('links and named files exist', async t => {
  for (const path of markdown) {
    const text = read(path).replaceAll(/^( *)```[\s\S]*?^ *```$/gm, '')
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target!)) continue
      const [file, anchor] = target!.split('#') as [string, string | undefined]
      const full = file === '' ? join(root, path) : resolve(root, dirname(path), file)
      if (!t.ok(existsSync(full), `${path} links to ${target}`) || anchor === undefined) continue
      t.ok(anchorsOf(relative(root, full)).includes(anchor), `${path} links to the heading ${target}`)
    }
  }
  const named = [...read('SECURITY.md').matchAll(/`?((?:test|src|policies)\/[\w./-]*)`?/g)].map(match => match[1]!)
  t.ok(named.length > 20)
  for (const file of new Set(named)) t.ok(existsSync(join(root, file)), `SECURITY.md names ${file}`)
  const rooms = [...read('docs/architecture.md').matchAll(/^([a-z]+)\/ {3,}/gm)].map(match => match[1]!)
  for (const room of rooms.filter(room => !existsSync(join(root, room)))) t.ok(existsSync(join(root, 'src', room)), `src/${room}`)
})

t.test('docs/architecture.md names files that exist, and the road of the events', async t => {
  const text = read('docs/architecture.md')
  const rooms = text.slice(text.indexOf('## src/'), text.indexOf('**Who may'))
  let room = ''
  let count = 0
  for (const line of rooms.split('\n')) {
    room = /^([a-z]+)\/ /.exec(line)?.[1] ?? room
    for (const [, file] of line.matchAll(/(?<![\w/-])([a-z][a-z-]*\.ts)\b/g)) {
      const places = [join('src', room, file!), join('src', file!), join('src', room, 'data', file!)]
      t.ok(places.some(place => existsSync(join(root, place))), `${room}/${file}`)
      count++
    }
  }
  t.ok(count > 50, `${count} files named`)
  const road = /```\n(record → .*)\n```/.exec(text)![1]!
  const stages = names(table('docs/interfaces.md', 'field', 'what').find(row => row[0] === '`stage`')![1]!)
  t.same(road.replaceAll(/\([^)]*\)/g, '').split('→').map(word => word.trim()), stages)
})

/** GitHub's anchors of a page's headings. */
function anchorsOf (path: string): string[] {
  return [...read(path).matchAll(/^#+ (.+)$/gm)].map(match => match[1]!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').trim().replaceAll(' ', '-'))
}
