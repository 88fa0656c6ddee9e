import type { Operation } from '../domain/operation.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import type { Catalog } from '../okta/catalog.js'
import { parseRequestLine, type RequestLine } from './request-line.js'
import type { CommentedRule } from './write-policy.js'

/** What stands on one line of a list. */
export interface ListedLine {
  /** 1-based */
  readonly line: number
  /** without bullet */
  readonly text: string
  readonly name: string
  readonly method: string
  /** `/path/{parameter}`, `?query` included */
  readonly target: string
  readonly remark: string
}

/** Something about a line that its reader should know. */
export interface ListFinding {
  readonly line: number
  readonly severity: 'error' | 'warning'
  readonly message: string
  /** what Okta really has, as request lines with operation ids */
  readonly real: readonly string[]
}

export interface ImportedList {
  readonly rules: readonly CommentedRule[]
  readonly findings: readonly ListFinding[]
  /** lines that name an operation */
  readonly entries: number
}

const BULLET = /^\s*(?:[-*+•–]\s+|\(?\d{1,4}[.):]\s+)?/
const METHOD = /(?:^|[\s`"'(])(GET|POST|PUT|PATCH|DELETE)(?=$|[\s:`"',])/
const TARGET = /(?:https?:\/\/[^\s/`"']+)?(\/[^\s`"']*)/

/** Reads one line; undefined when it names no method and path. */
export function parseListLine (text: string, line: number): ListedLine | undefined {
  const plain = text.replace(BULLET, '').trim()
  const target = TARGET.exec(plain)
  // A remark may name a method too: the entry's own stands before it, or at the line's very beginning.
  const method = target === null ? null : METHOD.exec(plain.slice(0, target.index)) ?? METHOD.exec(plain.slice(target.index + target[0].length))
  if (target === null || method === null) return undefined
  const before = plain.slice(0, target.index).replace(METHOD, ' ')
  const after = plain.slice(target.index + target[0].length)
  const words = (part: string) => part.replace(/[`"']/g, '').replace(/^[\s:,–—-]+|[\s:,–—-]+$/g, '').replace(/\s+/g, ' ')
  const remark = words(after)
  const name = words(before)
  return { line, text: plain, name: name === '' ? words(after.replace(/\(.*\)/, '').replace(METHOD, ' ')) : name, method: method[1]!, target: target[1]!.replace(/[.,;)]+$/, ''), remark }
}

/**
 * A policy's rules from a plain list of operations, as people write them: `- name METHOD: /path?query (remark)`, name
 * and method in either order, with or without bullets. A line that is no operation of the catalogue becomes a finding
 * that names what Okta has instead, never a rule.
 */
export function importList (text: string, catalog: Catalog): ImportedList {
  const findings: ListFinding[] = []
  const entries: Entry[] = []
  let count = 0
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    if (raw.trim() === '' || /^\s*#/.test(raw)) continue
    const listed = parseListLine(raw, i + 1)
    if (listed === undefined) {
      findings.push({ line: i + 1, severity: 'warning', message: `"${cut(raw.trim())}" names no method and path`, real: [] })
      continue
    }
    count++
    const found = understand(listed, catalog)
    if ('message' in found) findings.push({ line: listed.line, ...found })
    else {
      entries.push(found)
      findings.push(...found.findings)
    }
  }
  return { ...rulesOf(entries), findings: [...findings, ...toldApart(entries)].sort((a, b) => a.line - b.line), entries: count }
}

interface Entry { readonly listed: ListedLine, readonly request: string, readonly operation: Operation, readonly findings: readonly ListFinding[] }

function understand (listed: ListedLine, catalog: Catalog): Entry | Omit<ListFinding, 'line'> {
  const target = braced(listed.target)
  const line = parseRequestLine(`${listed.method} ${target}`)
  if (typeof line === 'string') return { severity: 'error', message: `"${listed.method} ${target}" ${line}`, real: [] }
  const operation = catalog.byTemplate(line.method, line.template) ?? concrete(line, catalog)
  if (operation === undefined) {
    const near = catalog.nearestTemplates(line.method, line.template)
    return { severity: 'error', message: `${listed.method} ${target} is no operation of Okta's catalogue`, real: near.map(each => realText(each, line)) }
  }
  if (operation.reserved) return { severity: 'error', message: `${operation.id} is kept by the gate itself`, real: [] }
  const unknown = [...line.query?.keys() ?? []].filter(name => !operation.query.includes(name))
  const meant = unknown.length === 0 ? undefined : parentThatKnows(line, unknown, catalog)
  if (meant !== undefined) {
    return {
      severity: 'error',
      message: `${listed.method} ${target} is ${operation.id}, which knows no ${unknown.join(', ')}: as it stands it is no operation of Okta's catalogue`,
      real: [realText(meant, line)]
    }
  }
  const findings: ListFinding[] = unknown.length === 0 ? [] : [{ line: listed.line, severity: 'warning', message: `Okta does not document ${unknown.join(', ')} for ${operation.id}`, real: [] }]
  const template = catalog.byTemplate(line.method, line.template) === undefined ? operation.template : line.template
  const query = target.indexOf('?')
  return { listed, operation, request: `${line.method} ${template}${query < 0 ? '' : target.slice(query)}`, findings }
}

/** `:id`, `<id>`, `${id}` and `{{id}}` as `{id}`. */
function braced (target: string): string {
  const [path, ...query] = target.split('?') as [string, ...string[]]
  const segments = path.split('/').map(segment => {
    const name = /^(?::|<|\$\{|\{\{)\s*([A-Za-z_][\w-]*)\s*(?:>|\}|\}\})?$/.exec(segment)?.[1]
    return name === undefined ? segment : `{${name}}`
  })
  return [segments.join('/'), ...query].join('?')
}

/** A path with a real id in it. */
function concrete (line: RequestLine, catalog: Catalog): Operation | undefined {
  const target = parseTarget(line.template, catalog.slashAliases)
  const resolution = isRejection(target) ? undefined : catalog.resolve(line.method, target)
  return resolution?.kind === 'operation' ? resolution.operation : undefined
}

/** `POST /users/{id}?activate=…`: the collection above knows the parameter, so its operation was meant. */
function parentThatKnows (line: RequestLine, names: readonly string[], catalog: Catalog): Operation | undefined {
  const parent = catalog.byTemplate(line.method, line.template.slice(0, line.template.lastIndexOf('/')))
  return parent !== undefined && names.every(name => parent.query.includes(name)) ? parent : undefined
}

/** A real operation with the line's query, as far as it documents it. */
function realText (operation: Operation, line: RequestLine): string {
  const query = [...line.query ?? []].filter(([name]) => operation.query.includes(name)).map(([name, value]) => `${name}=${value}`).join('&')
  return `${operation.method} ${operation.template}${query === '' ? '' : `?${query}`} (${operation.id})`
}

const shape = (request: string) => request.replace(/\{[^{}]*\}/g, '{}')

/** One rule for all entries of one request line. A line with a query comes before the same without: that one would answer first. */
function rulesOf (entries: readonly Entry[]): { rules: CommentedRule[] } {
  const groups = [...byRequest(entries).values()]
  const place = (group: readonly Entry[]) => groups.findIndex(other => pathOf(other[0]!.request) === pathOf(group[0]!.request))
  const ordered = groups.toSorted((a, b) => place(a) - place(b) || Number(b[0]!.request.includes('?')) - Number(a[0]!.request.includes('?')))
  const rules = ordered.map(group => {
    const names = [...new Set(group.map(({ listed }) => listed.name).filter(name => name !== ''))]
    const comment = group.map(({ listed }) => `${listed.line}: ${cut(listed.text)}`)
    return { rule: { request: group[0]!.request, ...names.length === 0 ? {} : { as: cut(names.join(' / ')) } }, comment }
  })
  return { rules }
}

const pathOf = (request: string) => shape(request).split('?')[0]!

function byRequest (entries: readonly Entry[]): Map<string, Entry[]> {
  const groups = new Map<string, Entry[]>()
  for (const entry of entries) groups.set(shape(entry.request), [...groups.get(shape(entry.request)) ?? [], entry])
  return groups
}

/** Several acts under one request line: a list can't say what tells them apart, a body condition can. */
function toldApart (entries: readonly Entry[]): ListFinding[] {
  return [...byRequest(entries).values()].flatMap(group => {
    const names = [...new Set(group.map(({ listed }) => listed.name))]
    if (names.length < 2) return []
    const apart = group[0]!.operation.method === 'GET' ? 'a pattern under where' : 'their bodies'
    return [{
      line: group[0]!.listed.line,
      severity: 'warning' as const,
      message: `lines ${group.map(({ listed }) => listed.line).join(', ')} (${names.join(', ')}) are one operation, ${group[0]!.operation.id}: only ${apart} can tell them apart`,
      real: []
    }]
  })
}

function cut (text: string): string {
  return text.length > 200 ? `${text.slice(0, 199)}…` : text
}
