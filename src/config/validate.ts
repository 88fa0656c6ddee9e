import type { ErrorObject, ValidateFunction } from 'ajv'
import type { Problem } from '../domain/problem.js'
import { formats } from './formats.js'
import { nearest } from './nearest.js'
import { compiledSchema } from './schema-code.js'
import { schemaOf, type SchemaPart } from './schema-parts.js'
import type { ConfigYaml, Path } from './yaml.js'

const LITERAL = {
  message: 'a secret is written as a reference, never as itself',
  hint: 'write { env: NAME } or { file: path }, or name one of the secretStores, and replace the secret: it has been in a file'
}
const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'must be text', object: 'must be a mapping', array: 'must be a list', integer: 'must be a whole number', boolean: 'must be true or false'
}
/** What may be repeated of an unknown key: a misspelt word, not a secret that lost its place. */
const WORD = /^[A-Za-z]{1,24}$/

interface Said { path: Path, what: 'value' | 'key', message: string, hint?: string }

/** Checks a value against the schema, fills in its defaults, and returns everything that is wrong. */
export type Validate = (yaml: ConfigYaml) => Problem[]

/** Once per process is enough. */
export function createValidate (validate: ValidateFunction = compiledSchema()): Validate {
  return yaml => {
    if (validate(yaml.value)) return []
    const errors = validate.errors ?? []
    const branch = errors.some(isOfStore)
    const problems = errors.filter(error => isMeant(error) ? !(branch && error.instancePath === STORE) : isOfStore(error)).map(error => describe(error, yaml.value))
      .map(({ path, what, message, hint }) => yaml.problem(path, message, { hint, what }))
    return unique(problems)
  }
}

/** A union says one thing, not what each of its branches misses; `propertyNames` repeats what its format said. */
function isMeant (error: ErrorObject): boolean {
  return error.keyword !== 'propertyNames' && !error.schemaPath.includes('/anyOf/')
}

/** Only one branch of that union has keys: who wrote `redis:` meant it, and is told what is wrong in it. */
const STORE = '/limits/store'

function isOfStore (error: ErrorObject): boolean {
  return error.keyword !== 'propertyNames' && error.instancePath.startsWith(`${STORE}/redis`)
}

function describe (error: ErrorObject, root: unknown): Said {
  const path = pathOf(error.instancePath)
  const schema = schemaOf(error, path)
  const value = valueAt(root, path)
  if (schema.reference === true) return { path, what: 'value', ...describeReference(error, schema, value) }
  switch (error.keyword) {
    case 'required': return describeMissing(path, String(error.params['missingProperty']))
    case 'additionalProperties': return describeUnknown(path, String(error.params['additionalProperty']), schema)
    case 'format': return error.propertyName === undefined
      ? { path, what: 'value', ...describeFormat(schema, value) }
      : { path: [...path, error.propertyName], what: 'key', ...describeFormat({ format: String(error.params['format']) }, error.propertyName) }
    case 'type': return { path, what: 'value', ...describeType(error, schema, value) }
    default: return { path, what: 'value', message: schema.errorMessage ?? `is not accepted (${error.keyword})` }
  }
}

/** Whatever stands where a reference belongs may be the secret itself. */
function describeReference (error: ErrorObject, schema: SchemaPart, value: unknown): { message: string, hint?: string } {
  const isText = error.keyword === 'type' && ['string', 'number', 'boolean'].includes(typeof value)
  return isText ? LITERAL : { message: schema.errorMessage ?? LITERAL.message }
}

function describeMissing (path: Path, name: string): Said {
  if (name !== 'exception') return { path, what: 'key', message: `"${name}" is missing` }
  return {
    path,
    what: 'key',
    message: 'an API token needs an approved exception',
    hint: 'use serviceApp, or add exception: { ticket: …, approvedBy: …, expires: YYYY-MM-DD }'
  }
}

function describeUnknown (path: Path, key: string, schema: SchemaPart): Said {
  const where = { path: [...path, key], what: 'key' as const }
  if (schema.patternProperties !== undefined && schema.errorMessage !== undefined) return { ...where, message: schema.errorMessage }
  const known = Object.keys(schema.properties ?? {})
  const meant = WORD.test(key) ? nearest(key, known) : undefined
  return {
    ...where,
    message: WORD.test(key) ? `unknown key "${key}"` : 'unknown key',
    hint: meant === undefined ? `known here: ${known.join(', ')}` : `did you mean "${meant}"?`
  }
}

function describeFormat (schema: SchemaPart, value: unknown): { message: string, hint?: string } {
  return formats.get(schema.format ?? '')?.(String(value)) ?? { message: schema.errorMessage ?? 'must be text', hint: 'put it in quotes' }
}

function describeType (error: ErrorObject, schema: SchemaPart, value: unknown): { message: string, hint?: string } {
  const wanted = String(error.params['type'])
  if (schema.format !== undefined && ['number', 'boolean'].includes(typeof value)) return describeFormat(schema, value)
  if (schema.properties !== undefined && Object.hasOwn(schema.properties, 'value')) return LITERAL
  return { message: schema.errorMessage ?? TYPE_WORDS[wanted] ?? `must be ${wanted}` }
}

/** JSON Pointer (RFC 6901) → path. An index is a number where the parent is a list; locate() takes either. */
function pathOf (pointer: string): Path {
  return pointer === '' ? [] : pointer.slice(1).split('/').map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function valueAt (root: unknown, path: Path): unknown {
  return path.reduce((value: unknown, step) => (value as Record<string, unknown> | undefined)?.[step], root)
}

function unique (problems: readonly Problem[]): Problem[] {
  const seen = new Map(problems.map(problem => [`${problem.line}:${problem.column} ${problem.message}`, problem]))
  return [...seen.values()]
}
