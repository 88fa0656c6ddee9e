import { createRequire } from 'node:module'
import type { ValidateFunction } from 'ajv'
import type { Ajv2020, Options } from 'ajv/dist/2020.js'
import { RE2JS } from 're2js'
import type { Operation } from '../domain/operation.js'
import { compileTest } from './analyse-where.js'
import { parseBodyPath, type Step } from './body-path.js'
import type { BodyCondition, OnlyNode, RequiredLeaf } from './condition.js'
import { compilePattern } from './pattern.js'
import { finding, type Finding } from './validate.js'

/** Compiles JSON Schemas; the text of what is wrong otherwise. Equal schemas are compiled once. */
export interface SchemaCompiler {
  (schema: Record<string, unknown>): ValidateFunction | string
  /** The load is over: no more than some are kept for files that change later. */
  forget: () => void
}

const MOST_KEPT = 1000

/**
 * Makes the compiler of one load. Strict: unknown keywords, remote references and patterns that compilePattern
 * refuses are problems; `format` is not checked; nothing is coerced or filled in, since the bytes that were
 * judged are the bytes that are sent.
 */
export function createSchemaCompiler (): SchemaCompiler {
  const known = new Map<string, ValidateFunction | string>()
  const compile = (schema: Record<string, unknown>): ValidateFunction | string => {
    const key = JSON.stringify(schema)
    const before = known.get(key)
    if (before !== undefined) return before
    const made = compileSchema(schema)
    known.set(key, made)
    return made
  }
  return Object.assign(compile, { forget: () => { if (known.size > MOST_KEPT) known.clear() } })
}

/** Few policies have a schema: the others need not load Ajv. */
const require = createRequire(import.meta.url)

function compileSchema (schema: Record<string, unknown>): ValidateFunction | string {
  // One Ajv for each: `$id`s of different policies must not meet.
  const { Ajv2020: Ajv } = require('ajv/dist/2020.js') as { Ajv2020: new (options: Options) => Ajv2020 }
  const ajv = new Ajv({ strict: true, strictTypes: false, strictRequired: false, validateFormats: false, allErrors: false, logger: false, code: { regExp: linearRegExp } })
  try {
    return ajv.compile(schema)
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Ajv's patterns are searched, not wrapped; RE2 keeps them linear. */
function compileSearch (source: string): RE2JS {
  const pattern = compilePattern(source)
  if (typeof pattern === 'string') throw new Error(`the pattern ${JSON.stringify(source)} ${pattern}`)
  return RE2JS.compile(source)
}

function linearRegExp (source: string): { test: (text: string) => boolean } {
  const expression = compileSearch(source)
  return { test: text => expression.test(text) }
}
linearRegExp.code = 'linearRegExp'

type WrittenBody = {
  readonly only?: readonly string[]
  readonly require?: Readonly<Record<string, 'any' | readonly unknown[] | { readonly pattern: string }>>
  readonly schema?: Record<string, unknown>
}

/** Compiles `body`. */
export function analyseBody (body: WrittenBody | undefined, kind: 'allow' | 'deny', operation: Operation, schemas: SchemaCompiler, findings: Finding[]): BodyCondition | undefined {
  if (body === undefined) return undefined
  if (operation.method === 'GET') findings.push(finding(['body'], 'a GET carries no body', { what: 'key' }))
  const require = compileRequire(body.require ?? {}, findings)
  const only = body.only === undefined ? undefined : compileOnly(body.only, findings)
  if (only !== undefined) checkCovered(require, only, findings)
  const schema = body.schema === undefined ? undefined : schemas(body.schema)
  if (typeof schema === 'string') findings.push(finding(['body', 'schema'], `this JSON Schema is not accepted: ${schema}`))
  if (only === undefined && require.length === 0 && body.schema === undefined) {
    findings.push(finding(['body'], 'this body condition says nothing', { what: 'key', hint: kind === 'deny' ? 'name what is denied under require' : 'write only, require or schema; `only: []` admits no body' }))
  }
  return { only, require, schema: typeof schema === 'string' ? undefined : schema }
}

function compileRequire (written: NonNullable<WrittenBody['require']>, findings: Finding[]): RequiredLeaf[] {
  const leaves: RequiredLeaf[] = []
  for (const [text, value] of Object.entries(written)) {
    const path = ['body', 'require', text]
    const steps = parseBodyPath(text)
    if (typeof steps === 'string') {
      findings.push(finding(path, `the path "${text}" ${steps}`, { what: 'key' }))
      continue
    }
    if (steps.at(-1)?.kind === 'subtree' && value !== 'any') {
      findings.push(finding(path, `"${text}" stands for a subtree: only "any" makes sense there`, { what: 'key' }))
    }
    leaves.push({ text, steps, test: compileTest(value, path, findings) })
  }
  return leaves
}

function compileOnly (paths: readonly string[], findings: Finding[]): OnlyNode {
  const root = emptyNode()
  const seen = new Set<string>()
  for (const [i, text] of paths.entries()) {
    const steps = parseBodyPath(text)
    if (typeof steps === 'string') findings.push(finding(['body', 'only', i], `the path "${text}" ${steps}`))
    else if (seen.has(text)) findings.push(finding(['body', 'only', i], `"${text}" stands here twice`, { severity: 'warning' }))
    else addPath(root, steps)
    seen.add(text)
  }
  return root
}

function emptyNode (): OnlyNode {
  return { leaf: false, subtree: false, keys: new Map() }
}

function addPath (root: OnlyNode, steps: readonly Step[]): void {
  let node = root
  for (const step of steps) {
    if (step.kind === 'subtree') { node.subtree = true; return }
    if (step.kind === 'items') { node = node.items ??= emptyNode(); continue }
    let child = node.keys.get(step.key)
    if (child === undefined) node.keys.set(step.key, child = emptyNode())
    node = child
  }
  node.leaf = true
}

/** A path that has to be there and may not be there can never match. */
function checkCovered (require: readonly RequiredLeaf[], only: OnlyNode, findings: Finding[]): void {
  for (const leaf of require) {
    if (!admits(only, leaf.steps, leaf.test.kind === 'any')) {
      findings.push(finding(['body', 'require', leaf.text], `"${leaf.text}" is required but not in only: the rule can never match`, { what: 'key', hint: `add ${leaf.text} to only` }))
    }
  }
}

/** True when something at the path may be present; with `any` anything below it counts too. */
export function admits (node: OnlyNode, steps: readonly Step[], orBelow: boolean): boolean {
  for (const step of steps) {
    if (node.subtree) return true
    if (step.kind === 'subtree') return node.keys.size > 0 || node.items !== undefined
    const next = step.kind === 'items' ? node.items : node.keys.get(step.key)
    if (next === undefined) return false
    node = next
  }
  return node.leaf || (orBelow && (node.subtree || node.keys.size > 0 || node.items !== undefined))
}
