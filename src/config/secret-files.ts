import { resolve } from 'node:path'
import type { Problem } from '../domain/problem.js'
import { Secret } from '../domain/secret.js'
import type { LocalReference, SecretReference } from './config.js'
import type { Reader } from './files.js'
import { CREDENTIALS } from './formats.js'
import { reasonOf } from './texts.js'

/** Environment variables, as process.env has them. */
export type Environment = Readonly<Record<string, string | undefined>>

export interface LoadedSecrets {
  /** by the reference of the config; a reference with a problem is absent */
  readonly secrets: ReadonlyMap<SecretReference, Secret>
  readonly problems: readonly Problem[]
}

/** A certificate chain with room to spare. */
const CAP_BYTES = 64 * 1024
const OTHERS_MAY_READ = 0o004
const TRAILING_NEWLINE = /\r?\n$/

/**
 * Reads the secrets that a config refers to. One newline at the end is not part of a secret: editors and
 * `echo` add it. Problems stand where the reference is written and never repeat what was read.
 */
export async function readSecrets (reader: Reader, references: readonly LocalReference[], environment: Environment): Promise<LoadedSecrets> {
  const secrets = new Map<SecretReference, Secret>()
  const problems: Problem[] = []
  for (const reference of references) {
    const result = reference.kind === 'env' ? fromEnvironment(reference.name, environment) : await fromFile(reader, reference, environment)
    if (result.error !== undefined) problems.push({ severity: 'error', ...reference.place, message: result.error })
    if (result.warning !== undefined) problems.push({ severity: 'warning', ...reference.place, message: result.warning, hint: 'set its mode to 0400 or 0440' })
    if (result.text !== undefined) secrets.set(reference, new Secret(result.text))
  }
  return { secrets, problems }
}

interface Result { readonly text?: string, readonly error?: string, readonly warning?: string }

function fromEnvironment (name: string, environment: Environment): Result {
  const value = Object.hasOwn(environment, name) ? environment[name] : undefined
  if (value === undefined) return { error: `the environment variable ${name} is not set` }
  return checked(value, `the environment variable ${name}`)
}

async function fromFile (reader: Reader, reference: LocalReference & { kind: 'file' }, environment: Environment): Promise<Result> {
  const path = expand(reference.path, environment)
  if (path === undefined) return { error: 'CREDENTIALS_DIRECTORY is not set: systemd sets it for units with LoadCredential=' }
  const read = await reader.readFile(path)
  if (read.kind === 'failed') return { error: `${path}: ${reasonOf(read.code)}` }
  if (read.bytes.length > CAP_BYTES) return { error: `${path}: it is larger than ${CAP_BYTES} bytes` }
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(read.bytes)
  } catch {
    return { error: `${path}: it is not text (UTF-8)` }
  }
  const open = reference.confidential && process.platform !== 'win32' && (read.mode & OTHERS_MAY_READ) !== 0
  const result = checked(text, path)
  return { ...result, warning: open && result.error === undefined ? `${path}: every user of this machine may read it` : undefined }
}

/** A path that begins with $CREDENTIALS_DIRECTORY/; undefined when the variable is not set. */
function expand (path: string, environment: Environment): string | undefined {
  if (!path.startsWith(CREDENTIALS)) return path
  const directory = environment['CREDENTIALS_DIRECTORY']
  return directory === undefined || directory === '' ? undefined : resolve(directory, path.slice(CREDENTIALS.length))
}

function checked (value: string, name: string): Result {
  const { text, error } = checkedSecret(value)
  return error === undefined ? { text } : { error: `${name}: ${error}` }
}

/** What becomes of a text that is a secret: one newline at its end is no part of it, and nothing is no secret. */
export function checkedSecret (value: string): { readonly text?: string, readonly error?: string } {
  const text = value.replace(TRAILING_NEWLINE, '')
  if (Buffer.byteLength(text) > CAP_BYTES) return { error: `it is larger than ${CAP_BYTES} bytes` }
  return text.trim() === '' ? { error: 'it is empty' } : { text }
}
