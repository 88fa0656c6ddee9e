// npm run schemas: writes the JSON Schemas that editors use, from the types' source. A test compares them.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './gate-process.mjs'

const { configJsonSchema } = await import(path.join(root, 'dist/config/schema.js'))
const { jsonSchemaText } = await import(path.join(root, 'dist/policy/schema.js'))
const files = {
  'narrowgate.schema.json': `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
  ...Object.fromEntries(['policy', 'set', 'operations'].map(kind => [`${kind}.schema.json`, jsonSchemaText(kind)]))
}
for (const [name, text] of Object.entries(files)) writeFileSync(path.join(root, 'policies', name), text)
