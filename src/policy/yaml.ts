import { isAlias, isCollection, isMap, isPair, isScalar, LineCounter, parseAllDocuments, visit, type Document, type Node } from 'yaml'
import { isTooDeep } from '../domain/nesting.js'
import { ownText } from '../domain/own-text.js'
import type { Problem, Severity } from '../domain/problem.js'

/** Where something stands: keys and indexes from the root of the file. */
export type Path = readonly (string | number)[]

/** A YAML file: its value, and where each part of it stands. */
export interface YamlFile {
  /** the path that problems show */
  readonly path: string
  readonly text: string
  /** undefined when the file could not be read as one YAML document */
  readonly value: unknown
  readonly problems: readonly Problem[]
  /** the document itself, with its comments, for tools that write it back */
  readonly document: Document | undefined
  /** 1-based place of the value at `path`, or of its key; of the nearest parent when it does not exist */
  locate: (path: Path, what?: 'value' | 'key') => { line: number, column: number }
  /** a problem at a path of this file */
  problem: (path: Path, message: string, more?: { hint?: string, severity?: Severity, what?: 'value' | 'key' }) => Problem
}

/**
 * Reads one YAML 1.2 document. Refused with file, line and column: syntax errors, duplicate keys, keys that
 * are no text, `__proto__`, tags, several documents, an empty file, and anchors, aliases and merge keys (they
 * hide what a reviewer has to see, and ten lines of them can stand for a billion rules).
 */
export function readYaml (path: string, text: string): YamlFile {
  const lines = new LineCounter()
  const problems: Problem[] = []
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const say = (offset: number, message: string, hint?: string) =>
    problems.push({ severity: 'error', file: path, ...at(offset), message, hint })

  const document = parse(text, lines, say)
  if (document !== undefined && problems.length === 0) inspect(document, say)
  const sound = document !== undefined && problems.length === 0 ? document : undefined

  const locate = (target: Path, what: 'value' | 'key' = 'value') => at(offsetOf(document, target, what))
  return {
    path,
    text,
    value: detached(sound?.toJS({ maxAliasCount: 0 })),
    problems,
    document: sound,
    locate,
    problem: (target, message, more = {}) => {
      const { line, column } = locate(target, more.what)
      return { severity: more.severity ?? 'error', file: path, line, column, message: ownText(message), hint: more.hint }
    }
  }
}

/** The same file, read when something of it is asked for: most of what did not change is not. */
export function lazyYaml (path: string, text: () => string): YamlFile {
  let read: YamlFile | undefined
  const file = (): YamlFile => {
    read ??= readYaml(path, text())
    return read
  }
  return {
    path,
    get text () { return text() },
    get value () { return file().value },
    get problems () { return file().problems },
    get document () { return file().document },
    locate: (...place) => file().locate(...place),
    problem: (...place) => file().problem(...place)
  }
}

/** `{ request: GET /users/{id} }` is the mistake that everybody makes once. */
function braceHint (offset: number, text: string): string | undefined {
  const start = text.lastIndexOf('\n', offset) + 1
  const line = text.slice(start, (text.indexOf('\n', offset) + text.length + 1) % (text.length + 1))
  return /[{[,].*[A-Z]+ \/[^"']*\/\{/.test(line) ? 'inside { … } a path with {parameters} has to be in quotes' : undefined
}

/** One missing bracket can be a thousand errors. */
const MOST_ERRORS = 10

type Say = (offset: number, message: string, hint?: string) => void

/**
 * Copies every text in place: what the parser returns are slices, and a policy that keeps one would keep the text of the
 * whole file. (A reviver can't do it: what it returns is dropped when it equals what was there.)
 */
function detached (value: unknown): unknown {
  if (typeof value === 'string') return ownText(value)
  if (Array.isArray(value)) for (let i = 0; i < value.length; i++) value[i] = detached(value[i])
  else if (typeof value === 'object' && value !== null) for (const key of Object.keys(value)) (value as Record<string, unknown>)[key] = detached((value as Record<string, unknown>)[key])
  return value
}

function parse (text: string, lineCounter: LineCounter, say: Say): Document | undefined {
  if (isTooDeep(text)) {
    say(0, 'the file is nested too deeply')
    return undefined
  }
  let documents: readonly Document[]
  try {
    const parsed = parseAllDocuments(text, { lineCounter, prettyErrors: false, version: '1.2', merge: false, keepSourceTokens: false })
    documents = Array.isArray(parsed) ? parsed as Document[] : []
  } catch (error) {
    say(0, `the file cannot be read as YAML: ${firstLine(error instanceof Error ? error.message : String(error))}`)
    return undefined
  }
  const document = documents[0]
  const errors = documents.flatMap(each => [...each.errors, ...each.warnings])
  for (const error of errors.slice(0, MOST_ERRORS)) say(error.pos[0], firstLine(error.message), braceHint(error.pos[0], text))
  if (documents.length > 1) {
    const second = documents[1]?.contents?.range?.[0] ?? documents[1]?.range?.[0] ?? 0
    say(second, 'the file holds several YAML documents', 'one file, one document: remove the ---')
  }
  if (document === undefined || document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    if (documents.length <= 1 && (document?.errors.length ?? 0) === 0) say(0, 'the file is empty')
    return undefined
  }
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    say(0, `YAML ${document.directives.yaml.version} is not accepted`, 'remove the %YAML line: files are YAML 1.2')
  }
  return document
}

function inspect (document: Document, say: Say): void {
  visit(document, {
    Node (_, node, ancestors) {
      const offset = (node as Node).range?.[0] ?? 0
      if (isAlias(node)) {
        say(offset, `the alias *${node.source} is not accepted`, 'write the value out, or move the rules to a file under sets/ and use extends')
        return visit.SKIP
      }
      if ('anchor' in node && node.anchor !== undefined) say(offset, `the anchor &${node.anchor} is not accepted`, 'write the value out where it is used')
      if (node.tag !== undefined && !node.tag.startsWith('tag:yaml.org,2002:')) say(offset, `the tag ${node.tag} is not accepted`)
      if (ancestors.length > 200) { say(offset, 'the file is nested too deeply'); return visit.BREAK }
    },
    Pair (_, pair) {
      const key = pair.key
      const offset = (key as Node | null)?.range?.[0] ?? 0
      if (!isScalar(key) || typeof key.value !== 'string') say(offset, 'a key must be text', 'put it in quotes')
      else if (key.value === '<<') say(offset, 'the merge key << is not accepted', 'write the keys out')
      else if (key.value === '__proto__') say(offset, 'the key __proto__ is not accepted')
    }
  })
}

function offsetOf (document: Document | undefined, path: Path, what: 'value' | 'key'): number {
  let node: unknown = document?.contents
  let offset = startOf(node) ?? 0
  for (let i = 0; i < path.length; i++) {
    if (!isCollection(node)) return offset
    const step = path[i]!
    const last = i === path.length - 1
    if (isMap(node)) {
      const pair = node.items.find(item => isPair(item) && isScalar(item.key) && item.key.value === step)
      if (pair === undefined) return offset
      const keyOffset = startOf(pair.key) ?? offset
      node = pair.value
      offset = last && what === 'key' ? keyOffset : startOf(node) ?? keyOffset
    } else {
      node = node.items[Number(step)]
      offset = startOf(node) ?? offset
    }
  }
  return offset
}

function startOf (node: unknown): number | undefined {
  const range = (node as Node | null | undefined)?.range
  return range?.[0]
}

function firstLine (message: string): string {
  const line = message.split('\n', 1)[0] ?? message
  return line.charAt(0).toLowerCase() + line.slice(1)
}
