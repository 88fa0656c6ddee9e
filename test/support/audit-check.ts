import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { readStatement } from '../../src/audit/chain.js'
import { parseEvent } from '../../src/audit/parse.js'
import { verify } from '../../src/audit/verify.js'

/** OCSF 1.8.0, class 6003 with the profile security_control, as published (Apache-2.0). */
const SCHEMA = resolve(import.meta.dirname, 'ocsf-api-activity.schema.json')
let compiled: ValidateFunction | undefined

/** What is wrong with a line by the published schema; undefined when nothing is. */
export function ocsfProblem (line: string): string | undefined {
  compiled ??= new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(readFileSync(SCHEMA, 'utf8')) as object)
  const value = JSON.parse(line) as unknown
  return compiled(value) ? undefined : `${JSON.stringify(compiled.errors)}: ${line}`
}

export async function * linesOf (path: string): AsyncGenerator<string> {
  for (const line of readFileSync(path, 'latin1').split(/(?<=\n)/)) if (line !== '') yield line
}

export async function * filesOf (...paths: string[]): AsyncGenerator<{ name: string, lines: AsyncIterable<string> }> {
  for (const name of paths) yield { name, lines: linesOf(name) }
}

/** Throws unless every event of an audit file is OCSF, can be read back, is in the chain, and none holds a planted secret. */
export async function checkAuditFile (path: string): Promise<void> {
  const { findings } = await verify(filesOf(path), {})
  if (findings.length > 0) throw new Error(`the chain of ${path} is broken: ${JSON.stringify(findings)}`)
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    if (readStatement(line) !== undefined || line.startsWith('{"event":"narrowgate.')) continue
    const problem = ocsfProblem(line)
    if (problem !== undefined) throw new Error(problem)
    if (parseEvent(line) === undefined) throw new Error(`cannot be read back: ${line}`)
  }
}
