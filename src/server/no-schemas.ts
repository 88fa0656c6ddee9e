/**
 * Fastify's `schemaController` for listeners whose routes have no JSON Schemas. Without it Fastify loads Ajv and
 * fast-json-stringify for each, 115 files that nothing here asks for.
 */
export const noSchemas = { compilersFactory: { buildValidator: refuse, buildSerializer: refuse } }

function refuse (): never {
  throw new Error('a route has a schema: nothing here compiles schemas')
}
