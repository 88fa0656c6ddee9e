import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isSeq, type Document } from 'yaml'
import { keyIdOf } from '../clients/key-id.js'
import { hasErrors } from '../domain/problem.js'
import type { Loaded } from '../server/load.js'
import { auditEvents, withRotated } from './audit-events.js'
import { EXIT } from './exit.js'
import { loadFiles, type FileOptions } from './files.js'
import { checkClientId, makeClientKey } from './keys.js'
import type { Shell } from './shell.js'
import { UsageFault } from './usage.js'

/** One way in which a client may be known. */
export interface ListedKey {
  readonly client: string
  readonly kind: 'apiKey' | 'privateKeyJwt' | 'workload' | 'mtls'
  /** as audit events have it; absent where it depends on what is presented */
  readonly keyId?: string
  /** ISO date of the last good day: of the key, or of its policy where that ends first */
  readonly expires?: string
  readonly state: 'good' | 'expiring' | 'expired'
  /** ISO time of its last use in the audit logs that were given: it proved who called, from where that is allowed */
  readonly lastUsed?: string
}

const WARN_MS = 30 * 86_400_000
/** A key and the one that replaces it. */
const MOST_KEYS = 2

/** `narrowgate keys list`: every way in; exit 1 when one has expired or will within 30 days. */
export async function listKeys (shell: Shell, options: FileOptions & { usage?: string[], json?: boolean }): Promise<number> {
  const loaded = await loadOrFail(shell, options)
  const lastUsed = await lastUses(shell, options.usage ?? [])
  const keys = describe(loaded, shell.now(), lastUsed)
  if (options.json === true) shell.terminal.out(`${JSON.stringify({ keys }, null, 2)}\n`)
  else for (const { client, kind, keyId, expires, state, lastUsed: used } of keys) shell.terminal.out(`${client.padEnd(24)} ${kind.padEnd(13)} ${(keyId ?? '-').padEnd(8)}  ${(expires ?? 'no end').padEnd(10)}  ${state}${options.usage === undefined ? '' : `  last used ${used ?? 'never'}`}\n`)
  return keys.some(({ state }) => state !== 'good') ? EXIT.findings : EXIT.fine
}

function describe ({ policies, identities }: Loaded, now: number, lastUsed: ReadonlyMap<string, number>): ListedKey[] {
  const keys: ListedKey[] = []
  const add = (client: string, kind: ListedKey['kind'], keyId?: string, own?: number): void => {
    const policy = policies!.clients.get(client)?.expiresAt
    const end = own === undefined || policy === undefined ? own ?? policy : Math.min(own, policy)
    const used = lastUsed.get(`${client} ${keyId ?? kind}`)
    keys.push({
      client,
      kind,
      keyId,
      expires: end === undefined ? undefined : new Date(end - 1).toISOString().slice(0, 10),
      state: end === undefined || end - now > WARN_MS ? 'good' : end > now ? 'expiring' : 'expired',
      lastUsed: used === undefined ? undefined : new Date(used).toISOString()
    })
  }
  for (const { client, authenticate } of policies!.clients.values()) {
    for (const entry of authenticate) {
      if (entry.kind === 'apiKey') add(client, entry.kind, entry.sha256.slice(0, 8), entry.expiresAt)
      else if (entry.kind !== 'privateKeyJwt') add(client, entry.kind, entry.kind === 'mtls' ? entry.sha256?.slice(0, 8) : undefined)
    }
    for (const pair of identities!.keyPairs) if (pair.client === client) for (const { thumbprint } of pair.keys) add(client, 'privateKeyJwt', keyIdOf(thumbprint))
  }
  return keys
}

async function lastUses (shell: Shell, files: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const uses = new Map<string, number>()
  if (files.length === 0) return uses
  for await (const { client, keyId, authentication, reason, time } of auditEvents(shell, withRotated(files))) {
    if (client === undefined || keyId === undefined || reason === 'network') continue
    // By its kind, too: which id a workload or a certificate has is seen only when it calls.
    for (const name of [`${client} ${keyId}`, `${client} ${authentication}`]) uses.set(name, Math.max(uses.get(name) ?? 0, time))
  }
  return uses
}

/** `narrowgate keys rotate CLIENT`: a second key beside the first, written into the policy; comments stay. */
export async function rotateKey (shell: Shell, client: string, options: FileOptions & { expires?: string, json?: boolean }): Promise<number> {
  checkClientId(client)
  const { document, path, loaded } = await openPolicy(shell, client, options)
  const valid = loaded.policies!.clients.get(client)!.authenticate.filter(entry => entry.kind === 'apiKey' && (entry.expiresAt ?? Infinity) > shell.now())
  if (valid.length >= MOST_KEYS) throw new UsageFault(`${client} has ${valid.length} keys already: revoke the one that is no longer used (narrowgate keys list --usage AUDIT.jsonl)`)
  const made = makeClientKey(client, options.expires, shell.now())
  const entry = document.createNode({ apiKey: { sha256: made.sha256, ...options.expires === undefined ? {} : { expires: options.expires } } })
  const inner = entry.get('apiKey') as { flow?: boolean }
  inner.flow = true
  listOf(document).add(entry)
  await writeFile(path, document.toString({ lineWidth: 0 }))
  if (options.json === true) shell.terminal.out(`${JSON.stringify({ ...made, file: path }, null, 2)}\n`)
  else {
    shell.terminal.out(`${made.key}\n`)
    shell.terminal.err(`\nThat is the new key of ${client}, shown once; its hash stands in ${path} now. The old one works until you revoke it.\n`)
  }
  return EXIT.fine
}

/** `narrowgate keys revoke CLIENT KEYID`: takes a key out of the policy; the next reload refuses it. */
export async function revokeKey (shell: Shell, client: string, keyId: string, options: FileOptions): Promise<number> {
  checkClientId(client)
  if (!/^[0-9a-f]{8,64}$/.test(keyId)) throw new UsageFault('a key is named by the first 8 or more hex digits of its sha256, as audit events have it')
  const { document, path } = await openPolicy(shell, client, options)
  const list = listOf(document)
  const found = list.items.flatMap((_, index) => String(document.getIn(['authenticate', index, 'apiKey', 'sha256']) ?? '').startsWith(keyId) ? [index] : [])
  if (found.length === 0) throw new UsageFault(`${client} has no API key ${keyId}; a key pair is revoked by taking it out of its JWK Set`)
  if (found.length > 1) throw new UsageFault(`several keys of ${client} begin with ${keyId}: give more digits`)
  if (list.items.length === 1) throw new UsageFault(`that is the only way in of ${client}, and a policy without one does not load: remove ${path}, or rotate first`)
  list.delete(found[0]!)
  await writeFile(path, document.toString({ lineWidth: 0 }))
  shell.terminal.err(`key ${keyId} of ${client} is gone from ${path}; a running gate refuses it within a second\n`)
  return EXIT.fine
}

async function loadOrFail (shell: Shell, options: FileOptions): Promise<Loaded> {
  const loaded = await loadFiles(shell, options)
  if (loaded.policies === undefined || loaded.identities === undefined || hasErrors(loaded.problems)) throw new UsageFault('the files do not load: see narrowgate check')
  return loaded
}

async function openPolicy (shell: Shell, client: string, options: FileOptions): Promise<{ document: Document, path: string, loaded: Loaded }> {
  const loaded = await loadOrFail(shell, options)
  const name = loaded.policies!.clients.get(client)?.file
  const document = name === undefined ? undefined : loaded.policies!.written?.get(name)?.yaml.document
  if (name === undefined || document === undefined) throw new UsageFault(`no policy has the client ${client}`)
  const folder = loaded.config?.policies.path ?? resolve(options.policies ?? './policies')
  return { document, path: join(folder, name), loaded }
}

function listOf (document: Document): { items: unknown[], add: (item: unknown) => void, delete: (index: number) => boolean } {
  const list = document.get('authenticate')
  if (!isSeq(list)) throw new Error('authenticate is no list')
  return list
}
