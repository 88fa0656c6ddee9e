import type { ErrorObject } from 'ajv'
import type { TSchema } from '../domain/json-schema.js'
import { configSchema } from './schema.js'

/** The part of a schema that messages are made of. */
export interface SchemaPart {
  errorMessage?: string
  reference?: boolean
  format?: string
  properties?: Record<string, SchemaPart>
  patternProperties?: Record<string, SchemaPart>
  propertyNames?: SchemaPart
  items?: SchemaPart
  anyOf?: readonly SchemaPart[]
}

type Schema = TSchema & { properties?: Record<string, Schema>, patternProperties?: Record<string, Schema>, items?: Schema, default?: unknown }

/** Shorter parts stay where they are: a function of their own would be longer. */
const WORTH = 100

/**
 * The schema of narrowgate.yaml with its groups of keys as definitions, each once however often it is used. Ajv makes a
 * function of each, and V8 compiles those of the keys that a file has; in one function it is most of a megabyte, all of
 * it compiled at every start. What is said of a file is the same.
 */
export function schemaInParts (): TSchema {
  const names = new Map<string, string>()
  const definitions: Record<string, Schema> = {}
  const all = (map: Record<string, Schema>): Record<string, Schema> => Object.fromEntries(Object.entries(map).map(([key, schema]) => [key, inner(schema)]))
  // What stands in a branch of anyOf stays: an error's path says that it was there.
  const partsOf = (schema: Schema): Schema => ({
    ...schema,
    ...schema.properties === undefined ? {} : { properties: all(schema.properties) },
    ...schema.patternProperties === undefined ? {} : { patternProperties: all(schema.patternProperties) },
    ...schema.items === undefined ? {} : { items: inner(schema.items) }
  })
  const inner = (schema: Schema): Schema => {
    const { default: fallback, ...copy } = partsOf(schema)
    // A default is looked for where the key stands.
    const more = fallback === undefined ? {} : { default: fallback }
    const text = JSON.stringify(copy)
    if (copy.type !== 'object' || text.length < WORTH) return { ...copy, ...more } as Schema
    let name = names.get(text)
    if (name === undefined) {
      name = `part${names.size}`
      names.set(text, name)
      definitions[name] = copy as Schema
    }
    return { $ref: `#/$defs/${name}`, ...more } as unknown as Schema
  }
  return { ...partsOf(configSchema), $defs: definitions } as unknown as TSchema
}

/** The part of the schema that an error is about: found by the value's place, since a path into parts names no part. */
export function schemaOf (error: Pick<ErrorObject, 'schemaPath' | 'propertyName'>, place: readonly (string | number)[]): SchemaPart {
  const branch = error.schemaPath.indexOf('/anyOf/')
  let part = configSchema as SchemaPart
  for (const step of place) {
    if (branch >= 0 && part.anyOf !== undefined) break
    part = below(part, String(step))
  }
  if (branch >= 0) part = error.schemaPath.slice(branch + 1).split('/').slice(0, -1).map(unescaped).reduce((at: unknown, step) => (at as Record<string, unknown>)[step], part) as SchemaPart
  else if (error.propertyName !== undefined) part = part.propertyNames!
  return part
}

function below (part: SchemaPart, step: string): SchemaPart {
  if (part.items !== undefined) return part.items
  const { properties = {}, patternProperties = {} } = part
  if (Object.hasOwn(properties, step)) return properties[step]!
  return Object.entries(patternProperties).find(([pattern]) => new RegExp(pattern, 'u').test(step))![1]
}

/** A step of a JSON Pointer in a URI fragment (RFC 6901, section 6). */
function unescaped (step: string): string {
  return decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
}
