import type { IncomingMessage, ServerResponse } from 'node:http'
import { Pieces } from '../domain/pieces.js'
import { reject, type Rejection } from '../domain/rejection.js'
import { noteArrived } from './connection.js'
import { rest } from './pace.js'
import type { Shares } from './shares.js'

/** The body of a request that declares none. */
export const NO_BODY: Buffer = Buffer.alloc(0)

/** A body that will not come: the client went away. */
export interface BodyAborted { readonly kind: 'aborted' }

/**
 * Reads a request body whole, within `limit` bytes, exactly as it was sent. Nothing goes to Okta before
 * it is here, so that an aborted or slow upload costs nothing.
 *
 * @param response its `close` gives the memory back
 * @param spend notes bytes that were read; how long to rest then, milliseconds
 * @returns the bytes; `body_too_large`; `overloaded`, when bodies take up all the memory that they may; or that the client left
 */
export function readBody (request: IncomingMessage, response: ServerResponse, limit: number, memory: BodyMemory, spend: (bytes: number) => number): Promise<Buffer | Rejection | BodyAborted> | Rejection {
  const declared = Number(request.headers['content-length'])
  if (declared > limit) return tooLarge(limit)
  return new Promise(resolve => {
    const pieces = new Pieces()
    request.on('data', (chunk: Buffer) => {
      const refusal = pieces.size + chunk.length > limit ? tooLarge(limit) : memory.take(chunk.length) ? undefined : noMemory()
      const restMs = spend(chunk.length)
      if (refusal !== undefined) { request.removeAllListeners('data').pause(); resolve(refusal); return }
      pieces.add(chunk)
      // What is all there need not wait.
      if (restMs > 0 && pieces.size !== declared) rest(request, restMs)
    })
    // A body is kept until its answer has gone out.
    response.once('close', () => { memory.giveBack() })
    request.once('end', () => { noteArrived(request); resolve(pieces.whole()) })
    request.once('error', () => resolve({ kind: 'aborted' }))
    request.once('close', () => resolve({ kind: 'aborted' }))
  })
}

/** True when the headers of a request say that a body follows. */
export function declaresBody (request: IncomingMessage): boolean {
  const { 'content-length': declared, 'transfer-encoding': coding } = request.headers
  return coding !== undefined || (declared !== undefined && declared !== '0')
}

/** The memory that the bodies of all requests may take up together, and one client's share of it. */
export class BodyMemory {
  readonly #shares: Shares
  readonly #who: string
  readonly #mostBytes: number
  #held = 0
  #over = false

  /** @param who whose share the body counts in */
  constructor (shares: Shares, who: string, mostBytes: number) {
    this.#shares = shares
    this.#who = who
    this.#mostBytes = mostBytes
  }

  take (bytes: number): boolean {
    if (this.#over || !this.#shares.take(this.#who, bytes, this.#mostBytes, this.#mostBytes / 2)) return false
    this.#held += bytes
    return true
  }

  giveBack (): void {
    this.#over = true
    this.#shares.giveBack(this.#who, this.#held)
    this.#held = 0
  }
}

function noMemory (): Rejection {
  return reject('overloaded', { causes: ['too many request bodies are on their way at once'] })
}

function tooLarge (limit: number): Rejection {
  return reject('body_too_large', { causes: [`the limit is ${limit} bytes`] })
}
