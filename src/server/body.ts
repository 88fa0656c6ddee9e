import type { IncomingMessage } from 'node:http'
import { reject, type Rejection } from '../domain/rejection.js'

const EMPTY = Buffer.alloc(0)

/** A body that will not come: the client went away. */
export interface BodyAborted { readonly kind: 'aborted' }

/**
 * Reads a request body whole, within `limit` bytes, exactly as it was sent. Nothing goes to Okta before
 * it is here, so that an aborted or slow upload costs nothing.
 *
 * @returns the bytes; `body_too_large`; or that the client left
 */
export function readBody (request: IncomingMessage, limit: number): Promise<Buffer | Rejection | BodyAborted> | Buffer | Rejection {
  const { 'content-length': declared, 'transfer-encoding': coding } = request.headers
  if (coding === undefined && (declared === undefined || declared === '0')) return EMPTY
  if (Number(declared) > limit) return tooLarge(limit)
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > limit) { request.removeAllListeners('data').pause(); resolve(tooLarge(limit)) } else chunks.push(chunk)
    })
    request.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
    request.once('error', () => resolve({ kind: 'aborted' }))
    request.once('close', () => resolve({ kind: 'aborted' }))
  })
}

/** True when the headers of a request say that a body follows. */
export function declaresBody (request: IncomingMessage): boolean {
  const { 'content-length': declared, 'transfer-encoding': coding } = request.headers
  return coding !== undefined || (declared !== undefined && declared !== '0')
}

function tooLarge (limit: number): Rejection {
  return reject('body_too_large', { causes: [`the limit is ${limit} bytes`] })
}
