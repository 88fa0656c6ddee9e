import { isAlias, isCollection, isMap, isScalar, LineCounter, parseDocument, visit, type Document, type Node } from 'yaml'
import { isTooDeep } from '../domain/nesting.js'
import type { Problem, Severity } from '../domain/problem.js'

/** Where something stands: keys and indexes from the root of the file. */
export type Path = readonly (string | number)[]

export interface ConfigYaml {
  /** undefined when the text is not one sound YAML document */
  readonly value: unknown
  readonly problems: readonly Problem[]
  /** 1-based place of the value at `path`, or of its key; of the nearest parent when it does not exist */
  locate (path: Path, what?: 'value' | 'key'): { line: number, column: number }
  problem (path: Path, message: string, more?: { hint?: string, severity?: Severity, what?: 'value' | 'key' }): Problem
}

const MAX_DEPTH = 50

/**
 * The parser's errors in our words: its own repeat pieces of the file, and a piece of this file may be a
 * secret that somebody wrote out.
 */
const SYNTAX: Readonly<Record<string, string>> = {
  BAD_INDENT: 'the indentation is wrong, or a closing bracket is missing',
  BAD_SCALAR_START: 'a value must not begin with this character; put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a colon followed by a space stands inside a value; put the value in quotes',
  BLOCK_IN_FLOW: 'an indented block must not stand inside { } or [ ]',
  DUPLICATE_KEY: 'this key stands here twice',
  MISSING_CHAR: 'a character is missing here: a closing quote, bracket, comma, colon or space',
  MULTILINE_IMPLICIT_KEY: 'a key must stand on one line; a closing quote or a colon may be missing',
  MULTIPLE_DOCS: 'the file holds several YAML documents; remove the ---',
  NON_STRING_KEY: 'a key must be text',
  TAB_AS_INDENT: 'a tab stands where spaces must indent',
  TAG_RESOLVE_FAILED: 'tags (!…) are not accepted',
  UNEXPECTED_TOKEN: 'this character is not expected here'
}

/**
 * Reads one YAML 1.2 document. Aliases, anchors, merge keys and tags are problems: they make one place of the
 * file mean another. Nothing of the file's text is repeated.
 *
 * @param file as problems show it
 */
export function readConfigYaml (file: string, text: string): ConfigYaml {
  const lines = new LineCounter()
  const problems: Problem[] = []
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const said = new Set<string>()
  const say: Say = (offset, message) => {
    if (said.has(`${offset} ${message}`)) return
    said.add(`${offset} ${message}`)
    problems.push({ severity: 'error', file, ...at(offset), message })
  }
  const document = parse(text, lines, say)
  if (document !== undefined && problems.length === 0) inspect(document, say)
  const sound = problems.length === 0 ? document : undefined
  const locate: ConfigYaml['locate'] = (path, what = 'value') => at(offsetOf(sound, path, what))
  return {
    value: sound?.toJS({ maxAliasCount: 0 }),
    problems,
    locate,
    problem: (path, message, more = {}) => ({ severity: more.severity ?? 'error', file, ...locate(path, more.what), message, hint: more.hint })
  }
}

type Say = (offset: number, message: string) => void

function parse (text: string, lineCounter: LineCounter, say: Say): Document | undefined {
  if (isTooDeep(text)) {
    say(0, 'the file is nested too deeply')
    return undefined
  }
  let document: Document
  try {
    document = parseDocument(text, { lineCounter, prettyErrors: false, version: '1.2', schema: 'core', merge: false })
  } catch {
    say(0, 'the file cannot be read as YAML')
    return undefined
  }
  for (const error of [...document.errors, ...document.warnings]) say(error.pos[0], SYNTAX[error.code] ?? `this is not valid YAML (${error.code})`)
  if (document.errors.length === 0 && !isMap(document.contents)) say(0, document.contents === null ? 'the file is empty' : 'the file must be a mapping: lines of the form key: value')
  return document
}

function inspect (document: Document, say: Say): void {
  visit(document, {
    Node (_, node, ancestors) {
      const offset = (node as Node).range?.[0] ?? 0
      if (isAlias(node) || ('anchor' in node && node.anchor !== undefined)) say(offset, 'anchors (&) and aliases (*) are not accepted; write the value out')
      if (node.tag !== undefined && !node.tag.startsWith('tag:yaml.org,2002:')) say(offset, 'tags (!…) are not accepted')
      if (ancestors.length > MAX_DEPTH) { say(offset, 'the file is nested too deeply'); return visit.BREAK }
    },
    Pair (_, pair) {
      const offset = (pair.key as Node | null)?.range?.[0] ?? 0
      if (!isScalar(pair.key) || typeof pair.key.value !== 'string') say(offset, 'a key must be text')
      else if (pair.key.value === '<<' || pair.key.value === '__proto__') say(offset, 'this key is not accepted')
    }
  })
}

function offsetOf (document: Document | undefined, path: Path, what: 'value' | 'key'): number {
  let node: unknown = document?.contents
  let offset = startOf(node) ?? 0
  for (const [i, step] of path.entries()) {
    if (!isCollection(node)) return offset
    if (!isMap(node)) {
      node = node.items[Number(step)]
      offset = startOf(node) ?? offset
      continue
    }
    const pair = node.items.find(item => isScalar(item.key) && item.key.value === step)
    if (pair === undefined) return offset
    const keyOffset = startOf(pair.key) ?? offset
    node = pair.value
    offset = what === 'key' && i === path.length - 1 ? keyOffset : startOf(node) ?? keyOffset
  }
  return offset
}

function startOf (node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0]
}
