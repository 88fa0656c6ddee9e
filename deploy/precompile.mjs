// Part of `npm run build`: makes the schema of narrowgate.yaml a function, so that a start need not load Ajv for it.
import { writeFileSync } from 'node:fs'
import { schemaCode } from '../dist/config/schema-code.js'

writeFileSync(new URL('../dist/config/schema-compiled.cjs', import.meta.url), schemaCode())
