import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Ajv2020, Options } from 'ajv/dist/2020.js'
import type { CodeOptions } from 'ajv/dist/core.js'
import type { ValidateFunction } from 'ajv'
import { formats } from './formats.js'
import { schemaInParts } from './schema-parts.js'
import { configSchema } from './schema.js'

/** Ajv is loaded only where it is used: it and its work on the schema are a third of a start. */
const require = createRequire(import.meta.url)

type Formats = Readonly<Record<string, (text: string) => boolean>>

/** What `npm run build` puts beside this file. */
interface Compiled {
  readonly digest: string
  readonly make: (formats: Formats) => ValidateFunction
}

/** The schema of narrowgate.yaml as a function: the one that was made at the build, or else made now. */
export function compiledSchema (): ValidateFunction {
  const made = precompiled()
  return made?.digest === digest() ? made.make(checks()) : createAjv().compile(schemaInParts())
}

/** The text of a module that makes the same function without Ajv. */
export function schemaCode (): string {
  const { _ } = require('ajv') as typeof import('ajv')
  const { default: standalone } = require('ajv/dist/standalone') as { default: (ajv: Ajv2020, validate: ValidateFunction) => string }
  const ajv = createAjv({ source: true, formats: _`formats` })
  return `// Made at the build from config/schema.ts.
exports.digest = '${digest()}'
exports.make = formats => {
const module = { exports: {} }
const exports = module.exports
${standalone(ajv, ajv.compile(schemaInParts())).replace(/^"use strict";/, '')}
return module.exports
}
`
}

function createAjv (code?: CodeOptions): Ajv2020 {
  const { Ajv2020: Ajv } = require('ajv/dist/2020.js') as { Ajv2020: new (options: Options) => Ajv2020 }
  const ajv = new Ajv({ allErrors: true, strict: true, inlineRefs: false, useDefaults: true, allowUnionTypes: true, code })
  ajv.addVocabulary(['errorMessage', 'reference'])
  for (const [name, check] of Object.entries(checks())) ajv.addFormat(name, check)
  return ajv
}

function checks (): Formats {
  return Object.fromEntries([...formats].map(([name, check]) => [name, (text: string) => check(text) === undefined]))
}

function precompiled (): Compiled | undefined {
  try {
    return require('./schema-compiled.cjs') as Compiled
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined
    throw error
  }
}

function digest (): string {
  return createHash('sha256').update(JSON.stringify(configSchema)).digest('hex')
}
