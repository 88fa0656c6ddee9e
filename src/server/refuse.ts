import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Rejection } from '../domain/rejection.js'
import { writeRejection } from './answer.js'
import { partyOf } from './party.js'
import { recordEvent } from './record.js'
import type { Road } from './road.js'
import type { GateExchange } from './stages.js'

/** Ends a request with a refusal: its event is recorded, and the answer goes out behind it. */
export function refuse (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse, refusal: Rejection): void {
  exchange.rejection = refusal
  const { bytes, send } = writeRejection(request, response, refusal, exchange.id, road.now(), paceOf(road, exchange))
  exchange.bytesOut = bytes
  exchange.status = response.statusCode
  recordEvent(road, exchange)
  if (send !== undefined) road.outbox.push(send)
}

/** How fast the body of a request is read: each client has a pace of its own, a stranger that of its network. */
export function paceOf ({ pace }: Road, exchange: GateExchange): (bytes: number) => number {
  return bytes => pace.spend(partyOf(exchange), bytes, exchange.snapshot.bodyLimitBytes)
}
