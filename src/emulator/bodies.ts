import { gunzipSync } from 'node:zlib'
import type { IncomingHttpHeaders } from 'node:http'
import type { Operation } from '../domain/operation.js'
import { failure, type Answer } from './answers.js'

/** A body that was read: a JSON value (undefined without bytes), or bytes that no handler of ours looks into. */
export type ReadBody = { readonly value: unknown } | { readonly answer: Answer }

const NOTHING: ReadBody = { value: undefined }
const MAX_INFLATED_BYTES = 16 * 1024 * 1024

/** POST and PUT without a body need `Content-Length: 0`, else 411 (facts.md, Requests). */
export function lacksLength (method: string, headers: IncomingHttpHeaders): boolean {
  return (method === 'POST' || method === 'PUT') && headers['content-length'] === undefined && headers['transfer-encoding'] === undefined
}

/** True when a request announces a body. */
export function announcesBody (headers: IncomingHttpHeaders): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}

/**
 * Reads a body as Okta does: the type must be one that the operation takes (400 E0000021), JSON must be well-formed
 * (400 E0000003). Whether Okta takes gzip in requests is not established; it is unpacked here so that tests can see
 * that a gate passed it on.
 */
export function readBody (operation: Operation, headers: IncomingHttpHeaders, bytes: Buffer): ReadBody {
  if (bytes.length === 0) return NOTHING
  const type = (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
  const isJson = type === 'application/json' || type.endsWith('+json')
  const takes = operation.requestTypes
  if (takes.length > 0 ? !takes.includes(type) : !isJson && operation.method !== 'GET' && operation.method !== 'DELETE') {
    return { answer: failure('E0000021') }
  }
  return isJson ? parse(headers['content-encoding'] === 'gzip' ? inflate(bytes) : bytes) : NOTHING
}

function inflate (bytes: Buffer): Buffer | undefined {
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_INFLATED_BYTES })
  } catch {
    return undefined
  }
}

function parse (bytes: Buffer | undefined): ReadBody {
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) }
  } catch {
    return { answer: failure('E0000003') }
  }
}

/** An Accept header that JSON does not satisfy is 400 E0000019. */
export function acceptsJson (accept: string | undefined): boolean {
  return accept === undefined || accept.includes('json') || accept.includes('*/*') || accept.includes('application/*')
}
