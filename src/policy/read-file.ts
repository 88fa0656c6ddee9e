import type { Problem } from '../domain/problem.js'
import { soundParts } from './salvage.js'
import { PolicySchema, SetSchema, type PolicyFile, type SetFile } from './schema.js'
import { validate } from './validate.js'
import type { WrittenFile, WrittenPolicy } from './written.js'
import type { YamlFile } from './yaml.js'

/** `sound`: its schema has nothing against it; otherwise the file is only judged, never served. */
export interface ReadFile { readonly file?: WrittenFile, readonly sound: boolean }

export interface ReadPolicy { readonly file: WrittenPolicy, readonly sound: boolean }

/** Holds a policy or a set against its schema; what is wrong goes to `problems`. */
export function readFile (name: string, yaml: YamlFile, problems: Problem[]): ReadFile {
  problems.push(...yaml.problems)
  if (yaml.value === undefined) return { sound: false }
  const isSet = name.includes('/')
  const found = validate(isSet ? SetSchema : PolicySchema, yaml.value)
  for (const { path, message, ...more } of found) problems.push(yaml.problem(path, message, more))
  const sound = found.length === 0
  const value = sound ? yaml.value : { client: '', authenticate: [], ...soundParts(yaml.value, found) }
  return {
    sound,
    file: isSet ? { kind: 'set', name, yaml, value: value as SetFile } : { kind: 'policy', name, yaml, value: value as PolicyFile }
  }
}
