import type { JavaScriptTypeBuilder } from '@sinclair/typebox'

/** TypeBox's mark of a property that may be absent: enumerable symbols are copied along, and JSON leaves them out. */
const OPTIONAL = Symbol('optional')

type Made = Record<string | symbol, unknown>

const typed = (type: string) => (options: object = {}): Made => ({ ...options, type })

/**
 * Makes JSON Schemas with TypeBox's types, so that one text is the source of types, validation and the editor's schema.
 * TypeBox itself costs 14 MB and 75 ms at each start for what a running gate needs of it: these plain objects. That they
 * are the same is tested (test/policy/load.test.ts).
 */
const builder = {
  String: typed('string'),
  Number: typed('number'),
  Integer: typed('integer'),
  Boolean: typed('boolean'),
  Null: typed('null'),
  Literal: (value: unknown, options: object = {}): Made => ({ ...options, const: value, type: typeof value }),
  Unsafe: (schema: object): Made => ({ ...schema }),
  Optional: (schema: Made): Made => ({ ...schema, [OPTIONAL]: true }),
  Array: (items: Made, options: object = {}): Made => ({ ...options, type: 'array', items }),
  Union: (anyOf: readonly Made[], options: object = {}): Made => anyOf.length === 1 ? { ...options, ...anyOf[0] } : { ...options, anyOf },
  Record: (key: Made, value: Made, options: object = {}): Made => ({ ...options, type: 'object', patternProperties: { [String(key['pattern'] ?? '^(.*)$')]: value } }),
  Object (properties: Record<string, Made>, options: object = {}): Made {
    const required = Object.keys(properties).filter(name => properties[name]![OPTIONAL] !== true)
    return { ...options, type: 'object', ...required.length > 0 ? { required } : {}, properties }
  }
}

export const Type = builder as unknown as Pick<JavaScriptTypeBuilder, keyof typeof builder>

export type { Static, TSchema } from '@sinclair/typebox'
