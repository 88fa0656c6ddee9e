import type { TSchema } from '../domain/json-schema.js'
import type { Path } from './yaml.js'
import { didYouMean } from './nearest.js'
import { LATER_KEYS } from './schema.js'

/** What is wrong at a path of a value. */
export interface Finding {
  readonly path: Path
  readonly what: 'value' | 'key'
  readonly message: string
  readonly hint?: string
  readonly severity: 'error' | 'warning'
}

/** Makes a Finding; error at the value unless told otherwise. */
export function finding (path: Path, message: string, more: Partial<Omit<Finding, 'path' | 'message'>> = {}): Finding {
  return { path: [...path], message, what: more.what ?? 'value', severity: more.severity ?? 'error', hint: more.hint }
}

type Schema = TSchema & {
  properties?: Record<string, Schema>
  required?: string[]
  patternProperties?: Record<string, Schema>
  items?: Schema
  anyOf?: Schema[]
  const?: unknown
  pattern?: string
  minItems?: number
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minProperties?: number
  maxProperties?: number
}

/**
 * Checks a value against one of schema.ts's schemas and finds everything that is wrong. It knows the part of
 * JSON Schema that those use; a general validator's messages about unions help nobody who wrote a file.
 */
export function validate (schema: TSchema, value: unknown): Finding[] {
  const found: Finding[] = []
  check(schema, value, [], found)
  return found
}

/** @param path where the value stands; one array for all, which findings copy */
function check (schema: TSchema, value: unknown, path: (string | number)[], found: Finding[]): void {
  const s = schema as Schema
  if (s.anyOf !== undefined) validateUnion(s.anyOf, value, path, found)
  else if ('const' in s) validateConstant(s, value, path, found)
  else if (s.type === 'integer') validateInteger(s, value, path, found)
  else if (s.type !== undefined && typeOf(value) !== s.type) {
    found.push(finding(path, `${article(s.type as string)} is needed here, not ${article(typeOf(value))}`, { hint: quoteHint(s.type as string, value) }))
  } else if (s.type === 'object') validateObject(s, value as Record<string, unknown>, path, found)
  else if (s.type === 'array') validateArray(s, value as unknown[], path, found)
  else if (s.type === 'string') validateString(s, value as string, path, found)
}

function validateInteger (schema: Schema, value: unknown, path: Path, found: Finding[]): void {
  const { minimum = -Infinity, maximum = Infinity } = schema
  if (!Number.isInteger(value) || (value as number) < minimum || (value as number) > maximum) found.push(finding(path, `a whole number from ${minimum} to ${maximum} is needed here, not ${show(value)}`))
}

function validateConstant (schema: Schema, value: unknown, path: Path, found: Finding[]): void {
  if (value !== schema.const) found.push(finding(path, `${show(value)} is not ${show(schema.const)}`))
}

function validateUnion (branches: readonly Schema[], value: unknown, path: (string | number)[], found: Finding[]): void {
  const type = typeOf(value)
  const constants = branches.filter(branch => 'const' in branch)
  if (constants.some(branch => branch.const === value)) return
  const branch = branches.find(candidate => !('const' in candidate) && candidate.type === type)
  if (branch !== undefined) { check(branch, value, path, found); return }
  const names = constants.map(candidate => String(candidate.const))
  if (constants.length === branches.length || (type === 'string' && names.length > 0 && branches.every(candidate => candidate.type !== 'string' || 'const' in candidate))) {
    const others = branches.filter(candidate => !('const' in candidate)).map(candidate => article(candidate.type as string))
    found.push(finding(path, `${show(value)} is not one of ${[...names, ...others].join(', ')}`, { hint: didYouMean(String(value), names) }))
    return
  }
  const kinds = [...new Set(branches.map(candidate => 'const' in candidate ? String(candidate.const) : article(candidate.type as string)))]
  found.push(finding(path, `${kinds.join(' or ')} is needed here, not ${article(type)}`, { hint: quoteHint(branches.some(candidate => candidate.type === 'string' && !('const' in candidate)) ? 'string' : '', value) }))
}

function validateObject (schema: Schema, value: Record<string, unknown>, path: (string | number)[], found: Finding[]): void {
  const properties = schema.properties ?? {}
  const values = schema.patternProperties === undefined ? undefined : Object.values(schema.patternProperties)[0]
  for (const key of schema.required ?? []) {
    if (!Object.hasOwn(value, key)) found.push(finding(path, `"${key}" is missing`))
  }
  if (Object.keys(value).length < (schema.minProperties ?? 0)) found.push(finding(path, 'this is empty', { hint: schema.maxProperties === 1 ? `one of ${Object.keys(properties).join(', ')} is needed` : undefined }))
  if (schema.maxProperties === 1 && Object.keys(value).length > 1) found.push(finding(path, `exactly one of ${Object.keys(properties).join(', ')} is needed here`))
  for (const [key, member] of Object.entries(value)) {
    const known = Object.hasOwn(properties, key) ? properties[key] : values
    if (known !== undefined) {
      path.push(key)
      check(known, member, path, found)
      path.pop()
    } else if (schema.additionalProperties === false) found.push(unknownKey(key, path, properties))
  }
}

function unknownKey (key: string, path: Path, properties: Record<string, Schema>): Finding {
  if (LATER_KEYS.has(key)) return finding([...path, key], `"${key}" is not built yet`, { what: 'key' })
  const known = Object.keys(properties)
  return finding([...path, key], `unknown key "${key}"`, { what: 'key', hint: didYouMean(key, known) ?? `known here: ${known.join(', ')}` })
}

function validateArray (schema: Schema, value: readonly unknown[], path: (string | number)[], found: Finding[]): void {
  if (value.length < (schema.minItems ?? 0)) found.push(finding(path, 'this list is empty', { hint: 'an empty list matches nothing' }))
  if (schema.items === undefined) return
  for (let i = 0; i < value.length; i++) {
    path.push(i)
    check(schema.items, value[i], path, found)
    path.pop()
  }
}

function validateString (schema: Schema, value: string, path: Path, found: Finding[]): void {
  if (value.length < (schema.minLength ?? 0)) found.push(finding(path, 'this text is empty'))
  else if (value.length > (schema.maxLength ?? Infinity)) found.push(finding(path, `this text is longer than ${schema.maxLength} characters`))
  else if (schema.pattern !== undefined && !patternOf(schema.pattern).test(value)) {
    // Who pastes a key where its hash belongs must not find it in a log.
    const shown = schema.writeOnly === true ? 'this' : show(value)
    found.push(finding(path, `${shown} has not the form that is needed here`, { hint: value.startsWith('ngk_') ? 'this is the key itself: give its hash, and replace the key, since it has been in a file' : schema.description ?? `it has to match ${schema.pattern}` }))
  }
}

/** Compiled once: what the schemas have are a dozen. */
const patterns = new Map<string, RegExp>()

function patternOf (source: string): RegExp {
  const known = patterns.get(source)
  if (known !== undefined) return known
  const made = new RegExp(source, 'u')
  patterns.set(source, made)
  return made
}

function typeOf (value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value
}

const WORDS: Readonly<Record<string, string>> = {
  string: 'a text', number: 'a number', boolean: 'true or false', null: 'nothing', array: 'a list', object: 'a group of keys'
}

function article (type: string): string {
  return WORDS[type] ?? type
}

function quoteHint (wanted: string, value: unknown): string | undefined {
  const scalar = typeof value === 'number' || typeof value === 'boolean'
  return wanted === 'string' && scalar ? `put it in quotes: '${String(value)}'` : undefined
}

function show (value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 60 ? `${text.slice(0, 57)}…` : text
}
