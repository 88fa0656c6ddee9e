import type { Pool } from 'undici'
import type { Catalog } from '../okta/catalog.js'
import { scopesOf } from '../okta/permissions.js'
import { at } from '../server/self-knowledge.js'
import { CredentialFault, type CredentialProvider, type PresentedCredential } from '../upstream/credential.js'
import type { Check } from './doctor-finding.js'

const TIMEOUT_MS = 15_000
const MAX_PAGES = 20
const MAX_BYTES = 5_000_000

/** What a read brought, or why there is nothing. */
export type Read = { readonly json: unknown } | { readonly why: string, readonly status?: number }

export interface Answer { readonly status: number, readonly json: unknown, readonly date?: string, readonly next?: string }

/** Reads an org, and nothing else: every call is a GET. */
export class OrgReader {
  readonly #pool: Pool
  readonly #catalog: Catalog
  readonly #credential: CredentialProvider | undefined
  readonly #read = new Map<string, Promise<Read>>()

  /** @param credential undefined: there is none, nothing can be read */
  constructor (pool: Pool, catalog: Catalog, credential: CredentialProvider | undefined) {
    this.#pool = pool
    this.#catalog = catalog
    this.#credential = credential
  }

  /** One read, once, however many checks ask for it. All pages of a list. */
  async read (check: Check, operation: string, target: string): Promise<Read> {
    const known = this.#catalog.byId(operation)!
    const scope = scopesOf(known)[0]
    check.reads.push(scope === undefined ? operation : `${operation} (${scope})`)
    let read = this.#read.get(target)
    if (read === undefined) this.#read.set(target, read = this.#fetch(target))
    const found = await read
    if (!('why' in found)) return found
    const hint = found.status === 403 && scope !== undefined ? `: Okta answers 403; reading it takes ${scope} and a role that may` : ''
    return { ...found, why: `${operation} could not be read${hint === '' ? `: ${found.why}` : hint}` }
  }

  async #fetch (target: string): Promise<Read> {
    const credential = await this.#credential?.get()
    if (credential === undefined || credential instanceof CredentialFault) return { why: 'there is no credential to read with' }
    const items: unknown[] = []
    let next: string | undefined = target
    for (let page = 0; next !== undefined && page < MAX_PAGES; page++) {
      const answer: Answer | undefined = await get(this.#pool, next, credential)
      if (answer === undefined) return { why: 'Okta did not answer' }
      if (answer.status !== 200) return { why: `Okta answers ${answer.status} ${String(at(answer.json, 'errorCode') ?? '')}`.trim(), status: answer.status }
      if (!Array.isArray(answer.json)) return { json: answer.json }
      items.push(...answer.json as unknown[])
      next = answer.next
    }
    return { json: items }
  }
}

/** One GET. @returns undefined when no answer came */
export async function get (pool: Pool, target: string, credential?: PresentedCredential): Promise<Answer | undefined> {
  const headers = ['accept', 'application/json', 'user-agent', 'narrowgate-doctor']
  if (credential !== undefined) {
    headers.push('authorization', `${credential.scheme} ${credential.token.reveal()}`)
    if (credential.prove !== undefined) headers.push('dpop', credential.prove('GET', target.replace(/\?.*$/, '')))
  }
  const { statusCode, headers: lines, body } = await pool.request({ path: target, method: 'GET', headers, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS })
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BYTES) return undefined
    chunks.push(chunk)
  }
  const date = lines['date']
  return { status: statusCode, json: parse(Buffer.concat(chunks)), date: typeof date === 'string' ? date : undefined, next: nextOf(lines['link']) }
}

function parse (bytes: Buffer): unknown {
  try { return JSON.parse(bytes.toString('utf8')) as unknown } catch { return undefined }
}

/** Path and query only: no link takes the credential to another host. */
function nextOf (link: string | string[] | undefined): string | undefined {
  for (const line of [link ?? []].flat()) {
    const url = /<([^>]+)>;\s*rel="next"/.exec(line)?.[1]
    if (url !== undefined && URL.canParse(url)) return new URL(url).pathname + new URL(url).search
  }
  return undefined
}

/** The items of a list; undefined when it is none. */
export function listOf (read: Read, ...path: string[]): readonly unknown[] | undefined {
  if ('why' in read) return undefined
  const found = path.length === 0 ? read.json : at(read.json, ...path)
  return Array.isArray(found) ? found as unknown[] : undefined
}

export function whyOf (read: Read): string {
  return 'why' in read ? read.why : 'Okta\'s answer is not what its documentation says'
}
