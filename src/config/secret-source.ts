import { unreachable } from '../domain/rejection.js'
import type { StoreReference } from './config.js'

/** A service that keeps secrets and is asked for them over the network. This is all that the gate wants of one. */
export interface SecretSource {
  /** The secret as it is now. @throws SourceFault; anything else that is thrown is shown by its name only */
  read (reference: StoreReference): Promise<string>
  close (): void
}

/** Why a secret could not be had, in words for the operator that repeat nothing of what a service has answered. */
export class SourceFault extends Error {}

/** How long one call may take, milliseconds: a load waits for it. */
export const SOURCE_TIMEOUT_MS = 10_000

/** What messages, metrics and keys call a secret: where it is kept, never what it is. */
export function shownName (reference: StoreReference): string {
  switch (reference.kind) {
    case 'vault': return `vault ${reference.mount}/${reference.path} ${reference.field}`
    case 'awsSecretsManager': return `awsSecretsManager ${reference.id}${reference.field === undefined ? '' : ` ${reference.field}`}`
    case 'googleSecretManager': return `googleSecretManager ${reference.name}`
    case 'azureKeyVault': return `azureKeyVault ${reference.vault} ${reference.name}`
    default: return unreachable(reference)
  }
}

/**
 * Loads the official client of a service. They are optional peer dependencies: who does not use one does not have it.
 * @throws SourceFault that says what to install
 */
export async function loadClient<T> (load: () => Promise<T>, ...packages: string[]): Promise<T> {
  try {
    return await load()
  } catch (error) {
    if (!/^Cannot find (?:package|module) /.test(String((error as { message?: unknown }).message))) throw error
    throw new SourceFault(`its client is not installed: run npm install ${packages.join(' ')} beside narrowgate`)
  }
}

/** One field of a secret that is a JSON object, as AWS keeps several values in one. @throws SourceFault */
export function fieldOf (text: string, field: string): string {
  let value: unknown
  try { value = JSON.parse(text) } catch { throw new SourceFault(`the secret is no JSON, so it has no field "${field}"`) }
  return textOf(value, field)
}

/** @throws SourceFault when a mapping has no text of that name */
export function textOf (mapping: unknown, field: string): string {
  const value = typeof mapping === 'object' && mapping !== null && Object.hasOwn(mapping, field) ? (mapping as Record<string, unknown>)[field] : undefined
  if (typeof value !== 'string') throw new SourceFault(value === undefined ? `the secret has no field "${field}"` : `the field "${field}" is no text`)
  return value
}
