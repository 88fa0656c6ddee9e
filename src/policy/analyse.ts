import type { Operation } from '../domain/operation.js'
import type { Catalog } from '../okta/catalog.js'
import { analyseBody, type SchemaCompiler } from './analyse-body.js'
import { analyseQuery } from './analyse-query.js'
import { analyseWhere } from './analyse-where.js'
import type { QueryCondition } from './condition.js'
import { parseRequestLine, type RequestLine } from './request-line.js'
import type { WrittenAllow, WrittenDeny } from './schema.js'
import { defaultCredential, isAuthn, shapeOf, type CommonShape, type RuleShape } from './shape.js'
import { finding, type Finding } from './validate.js'

/** A rule's shape, when nothing is wrong with it, and what is wrong, by paths relative to the rule. */
export interface Analysis {
  readonly shape?: RuleShape
  readonly findings: readonly Finding[]
}

/** Gives written rules their meaning. Identical rules are analysed once and share their shape. */
export interface Analyser {
  allow: (rule: WrittenAllow) => Analysis
  deny: (rule: WrittenDeny | string) => Analysis
  /** The load is over: what only one file has is let go, so that a gate that reloads for months does not grow. */
  forget: () => void
}

/** Everything that analysing a rule looks things up in. */
export interface Context {
  readonly catalog: Catalog
  readonly schemas: SchemaCompiler
  readonly commons: Pick<Shared<CommonShape>, 'get'>
  documented: (operation: Operation) => QueryCondition
}

/** Rules that several files have, kept for files that change later. */
const MOST_KEPT = 20_000

/** Makes the analyser of a catalogue. */
export function createAnalyser (catalog: Catalog, schemas: SchemaCompiler): Analyser {
  const allows = new Shared<Analysis>()
  const denies = new Shared<Analysis>()
  const commons = new Shared<CommonShape>()
  const documented = new Map<number, QueryCondition>()
  const context: Context = {
    catalog,
    schemas,
    commons,
    documented (operation) {
      return getOrMake(documented, operation.index, () => ({ kind: 'documented', names: new Set(operation.query) }))
    }
  }
  return {
    allow: rule => allows.get(JSON.stringify(rule), () => analyse(rule, 'allow', context)),
    deny (rule) {
      const written = typeof rule === 'string' ? fromText(rule) : rule
      return denies.get(JSON.stringify(rule), () => analyse(written, 'deny', context))
    },
    forget () {
      allows.forget()
      denies.forget()
      commons.forget()
      schemas.forget()
    }
  }
}

/** What was made of texts, and of which of them it was asked for more than once. */
class Shared<T> {
  readonly #known = new Map<string, T>()
  #once = new Set<string>()

  get (text: string, make: () => T): T {
    const known = this.#known.get(text)
    if (known !== undefined) { this.#once.delete(text); return known }
    const made = make()
    this.#known.set(text, made)
    this.#once.add(text)
    return made
  }

  forget (): void {
    for (const text of this.#once) this.#known.delete(text)
    if (this.#known.size > MOST_KEPT) this.#known.clear()
    this.#once = new Set()
  }
}

function getOrMake<K, V> (map: Map<K, V>, key: K, make: () => V): V {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

function fromText (text: string): WrittenDeny {
  return text.includes(' ') || text.includes('/') ? { request: text } : { operation: text }
}

function analyse (rule: WrittenAllow | WrittenDeny, kind: 'allow' | 'deny', context: Context): Analysis {
  const findings: Finding[] = []
  const subject = findOperation(rule, context.catalog, findings)
  if (subject === undefined) return { findings }
  const { operation, line } = subject
  const names = line?.names ?? operation.parameters

  const where = analyseWhere(rule.where, operation, names, context.catalog, findings)
  const query = analyseQuery(rule, line, kind, operation, context, findings)
  const body = analyseBody(rule.body, kind, operation, context.schemas, findings)
  const credential = 'credential' in rule && rule.credential !== undefined ? rule.credential : defaultCredential(operation)
  if (credential === 'authnToken' && !isAuthn(operation)) {
    findings.push(finding(['credential'], 'credential: authnToken is only for operations under /api/v1/authn', { hint: 'remove the line: the upstream\'s credential is the default here' }))
  }
  if (kind === 'allow' && credential === 'upstream' && isAuthn(operation)) {
    findings.push(finding(['credential'], 'credential: upstream sends a management credential to an /authn operation', { severity: 'warning', hint: 'none is enough for public calls; authnToken is meant for trusted ones' }))
  }
  if (findings.some(found => found.severity === 'error')) return { findings }
  // With another `where` the same rule has all the rest in common.
  const { where: _, ...rest } = rule
  const common = context.commons.get(`${kind} ${JSON.stringify(rest)}`, () => ({
    operation,
    // The catalogue's own text: ten thousand rules would keep a copy each.
    name: rule.as ?? (rule.operation === undefined ? rule.request : undefined) ?? operation.id,
    spelling: kind === 'deny' || line === undefined ? 'any' : operation.aliases.includes(line.template) ? 'alias' : 'canonical',
    names,
    query,
    body,
    credential,
    limitPerMinute: 'rateLimit' in rule && rule.rateLimit !== undefined ? Number.parseInt(rule.rateLimit, 10) : undefined,
    waitMs: 'wait' in rule ? rule.wait?.upToMs : undefined,
    observe: 'mode' in rule && rule.mode === 'observe',
    bodyText: rule.body === undefined ? undefined : JSON.stringify(rule.body)
  }))
  return { findings, shape: shapeOf(common, where) }
}

interface Subject { operation: Operation, line?: RequestLine }

function findOperation (rule: { operation?: string, request?: string }, catalog: Catalog, findings: Finding[]): Subject | undefined {
  if (rule.operation !== undefined && rule.request !== undefined) {
    findings.push(finding(['request'], '"operation" and "request" exclude each other', { what: 'key' }))
    return undefined
  }
  const subject = rule.operation !== undefined ? byId(rule.operation, catalog, findings) : byLine(rule.request, catalog, findings)
  if (subject?.operation.reserved === true) {
    const key = rule.operation !== undefined ? 'operation' : 'request'
    findings.push(finding([key], `${subject.operation.id} is kept by the gate itself; no policy may name it`))
    return undefined
  }
  return subject
}

function byId (id: string, catalog: Catalog, findings: Finding[]): Subject | undefined {
  const operation = catalog.byId(id)
  if (operation !== undefined) return { operation }
  const near = catalog.nearestIds(id)
  const hint = near.length > 0 ? `did you mean ${near.slice(0, 3).map(name => `"${name}"`).join(' or ')}?` : undefined
  findings.push(finding(['operation'], `unknown operation "${id}"`, { hint }))
  return undefined
}

function byLine (text: string | undefined, catalog: Catalog, findings: Finding[]): Subject | undefined {
  if (text === undefined) {
    findings.push(finding([], '"operation" or "request" is missing'))
    return undefined
  }
  const line = parseRequestLine(text)
  if (typeof line === 'string') {
    findings.push(finding(['request'], `"${text}" ${line}`))
    return undefined
  }
  const operation = catalog.byTemplate(line.method, line.template)
  if (operation !== undefined) return { operation, line }
  const near = catalog.nearestTemplates(line.method, line.template)
  findings.push(finding(['request'], `${line.method} ${line.template} is no operation of the catalogue`, { hint: templateHint(line, near) }))
  return undefined
}

function templateHint (line: RequestLine, near: readonly Operation[]): string | undefined {
  const shape = (template: string) => template.replace(/\{[^{}]*\}/g, '{}')
  const otherMethods = near.filter(operation => shape(operation.template) === shape(line.template)).map(operation => operation.method)
  if (otherMethods.length > 0) return `did you mean ${otherMethods.join(' or ')}?`
  const names = near.slice(0, 3).map(operation => `${operation.method} ${operation.template}`)
  return names.length > 0 ? `did you mean ${names.join(' or ')}?` : 'operations that Okta\'s specification lacks are declared in operations.yaml'
}
