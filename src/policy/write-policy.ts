import { Document, isMap, isPair, isScalar, isSeq, visit, type Node, type YAMLSeq } from 'yaml'
import type { PolicyFile, WrittenAllow } from './schema.js'
import type { YamlFile } from './yaml.js'

/** An entry of `allow` and what a comment above it says. */
export interface CommentedRule {
  readonly rule: WrittenAllow
  /** lines without `#` */
  readonly comment: readonly string[]
}

/** What stands above the rules. */
export type PolicyHead = Omit<PolicyFile, 'version' | 'allow' | 'tests'>

/** A hash that no key has: a policy that nobody can use until its operator writes a key's own hash. */
export const NO_KEY = '0'.repeat(64)

const WIDTH = 120

/**
 * The text of a policy file.
 *
 * @param comment lines at its head
 * @param trailer lines at its end, as comments: what is left for the operator to do
 */
export function policyText (head: PolicyHead, rules: readonly CommentedRule[], comment: readonly string[], trailer: readonly string[] = []): string {
  const { client, owner, description, ...rest } = head
  const document = new Document({ version: 1, client, owner, description, ...rest, allow: [] }, { keepUndefined: false })
  document.commentBefore = [' yaml-language-server: $schema=./policy.schema.json', ...comment.map(line => ` ${line}`)].join('\n')
  compact(document, document.contents as unknown as Node)
  document.set('allow', rulesNode(document, rules))
  const keys = document.get('authenticate')
  if (isSeq(keys)) keys.flow = false
  for (const entry of isSeq<Node>(keys) ? keys.items : []) if (isMap(entry)) entry.flow = true
  if (isUnused(head)) noteNoKey(document)
  if (trailer.length > 0) document.comment = trailer.map(line => line === '' ? '' : ` ${line}`).join('\n')
  return textOf(document)
}

function isUnused ({ authenticate }: PolicyHead): boolean {
  return authenticate.length === 1 && authenticate[0]?.apiKey?.sha256 === NO_KEY
}

function noteNoKey (document: Document): void {
  const entry = document.getIn(['authenticate', 0], true) as Node | undefined
  if (entry !== undefined) entry.commentBefore = ' No key has this hash. Replace the line with the one that `narrowgate keys new` prints.'
}

function textOf (document: Document): string {
  return document.toString({ lineWidth: 0, singleQuote: true })
}

function rulesNode (document: Document, rules: readonly CommentedRule[]): YAMLSeq {
  const list = document.createNode(rules.map(({ rule }) => JSON.parse(JSON.stringify(rule)) as unknown)) as unknown as YAMLSeq<Node>
  for (const [i, item] of list.items.entries()) {
    for (const pair of isMap(item) ? item.items : []) if (isPair(pair)) compact(document, pair.value as Node)
    const { comment } = rules[i]!
    if (comment.length > 0) item.commentBefore = comment.map(line => ` ${line}`).join('\n')
  }
  list.flow = rules.length === 0
  return list
}

/** Writes `{ … }` and `[ … ]` on one line where they fit. */
function compact (document: Document, node: Node | null): void {
  visit(node, {
    Collection (_, each) {
      if (each === document.contents) return undefined
      if (JSON.stringify(each.toJS(document)).length > WIDTH - 30) return undefined
      each.flow = true
      return visit.SKIP
    }
  })
}

/** Lines that replace others of a text. */
export interface Edit {
  /** 0-based line before which the edit stands */
  readonly at: number
  readonly removed: readonly string[]
  readonly added: readonly string[]
}

/**
 * Adds rules to a policy file as it stands: nothing else of it changes, no comment, no space.
 *
 * @returns the edit, or a text that says why there is none
 */
export function addRules (yaml: YamlFile, rules: readonly CommentedRule[]): Edit | string {
  const root = yaml.document?.contents
  if (!isMap(root) || root.flow === true) return 'its rules do not stand one below the other: write the file in block style first'
  const lines = yaml.text.split('\n')
  const pair = root.items.find(item => isScalar(item.key) && item.key.value === 'allow')
  const fresh = rulesNode(new Document(), rules)
  if (pair === undefined) {
    const end = lines.at(-1) === '' ? lines.length - 1 : lines.length
    return { at: end, removed: [], added: ['allow:', ...listLines(fresh, 2)] }
  }
  const list = pair.value
  if (isSeq<Node>(list) && list.flow !== true && list.items.length > 0) {
    const indent = column(yaml.text, list.range![0])
    return { at: lineAfter(yaml.text, list.items.at(-1)!.range![1]), removed: [], added: listLines(fresh, indent) }
  }
  const first = lineOf(yaml.text, (pair.key as Node).range![0])
  const end = lineAfter(yaml.text, (list as Node | null)?.range?.[1] ?? (pair.key as Node).range![1])
  const before = isSeq<Node>(list) ? (list.toJSON() as WrittenAllow[]).map(rule => ({ rule, comment: [] })) : []
  const all = rulesNode(new Document(), [...before, ...rules])
  return { at: first, removed: lines.slice(first, end), added: ['allow:', ...listLines(all, 2)] }
}

function listLines (list: YAMLSeq, indent: number): string[] {
  const document = new Document()
  document.contents = list as unknown as typeof document.contents
  return textOf(document).trimEnd().split('\n').map(line => line === '' ? line : ' '.repeat(indent) + line)
}

function lineOf (text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length - 1
}

function column (text: string, offset: number): number {
  return offset - (text.lastIndexOf('\n', offset - 1) + 1)
}

/** The line after the one on which a value ends. A value's range may go on to the next key. */
function lineAfter (text: string, end: number): number {
  return lineOf(text, text.slice(0, end).trimEnd().length) + 1
}

const CONTEXT = 3

/** The edit as a patch: `patch -p0 < FILE` and `git apply -p0` take it. */
export function patchText (path: string, text: string, { at, removed, added }: Edit): string {
  const lines = text.split('\n')
  const ends = lines.at(-1) === ''
  const count = ends ? lines.length - 1 : lines.length
  const from = Math.max(0, at - CONTEXT)
  const to = Math.min(count, at + removed.length + CONTEXT)
  const line = (mark: string, index: number) => `${mark}${lines[index]!}\n${!ends && index === count - 1 ? '\\ No newline at end of file\n' : ''}`
  const range = (start: number, length: number) => `${length === 0 ? start : start + 1},${length}`
  const body = [
    ...indexes(from, at).map(i => line(' ', i)),
    ...removed.map((_, i) => line('-', at + i)),
    ...added.map(each => `+${each}\n`),
    ...indexes(at + removed.length, to).map(i => line(' ', i))
  ]
  const change = added.length - removed.length
  return `--- ${path}\n+++ ${path}\n@@ -${range(from, to - from)} +${range(from, to - from + change)} @@\n${body.join('')}`
}

function indexes (from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}

/** The text with the edit made. */
export function applyEdit (text: string, { at, removed, added }: Edit): string {
  const lines = text.split('\n')
  lines.splice(at, removed.length, ...added)
  return lines.join('\n')
}
