import type { IncomingMessage, ServerResponse } from 'node:http'
import { answerTokenRequest, type TokenAnswer } from '../clients/token-endpoint.js'
import { TOKEN_PATH } from '../clients/token-url.js'
import { isRejection, reject, type Rejection } from '../domain/rejection.js'
import type { QueryParameter } from '../domain/target.js'
import { BodyMemory, declaresBody, NO_BODY, readBody } from './body.js'
import { recordEvent } from './record.js'
import { paceOf, refuse } from './refuse.js'
import type { Road } from './road.js'
import type { GateExchange } from './stages.js'

/** An assertion, a list of scopes and the rest of the form; nothing honest comes near. */
const MAX_FORM_BYTES = 65_536

/** True for the one path that the gate answers itself. Judged after the target was parsed: there is one spelling. */
export function isTokenCall ({ method, target, snapshot }: GateExchange): boolean {
  return method === 'POST' && target?.path === TOKEN_PATH && snapshot.tokens !== undefined
}

/** The token endpoint by another method. It asks nobody for a key, so this is said without one. */
export function refuseOtherMethod (exchange: GateExchange): Rejection | undefined {
  if (exchange.target?.path !== TOKEN_PATH || exchange.method === 'POST') return undefined
  exchange.stage = 'operation'
  return reject('method_not_allowed', { allow: ['POST'] })
}

/** `POST /oauth2/v1/token`: reads the form, lets the clients' room decide, answers and records. */
export async function answerToken (road: Road, exchange: GateExchange, request: IncomingMessage, response: ServerResponse): Promise<void> {
  exchange.stage = 'identify'
  const body = declaresBody(request) ? await readBody(request, response, MAX_FORM_BYTES, new BodyMemory(road.bodies, '', exchange.snapshot.bodyMemoryBytes), paceOf(road, exchange)) : NO_BODY
  if (isRejection(body)) { refuse(road, exchange, request, response, body); return }
  if ('kind' in body || response.destroyed) { exchange.aborted = true; recordEvent(road, exchange); return }
  exchange.bytesIn = body.length
  const { authorization, dpop, 'user-agent': userAgent } = request.headers
  const answer = await answerTokenRequest({
    form: readForm(body, request.headers['content-type']),
    query: exchange.target!.query,
    authorization,
    dpop: Array.isArray(dpop) ? dpop.join(', ') : dpop,
    userAgent
  }, exchange.snapshot.tokens!.desk(exchange.source, road.seen), exchange.time)
  exchange.client = answer.client
  exchange.policy = answer.client === undefined ? undefined : exchange.snapshot.policies.get(answer.client.id)
  const slowed = await slowGuessing(road, exchange, answer)
  if (slowed !== undefined) { refuse(road, exchange, request, response, slowed); return }
  exchange.rejection = answer.refusal
  exchange.detail = answer.refusal === undefined ? answer.step ?? 'token endpoint' : unprovedClaim(answer)
  write(exchange, response, answer, road.now())
  recordEvent(road, exchange)
}

/** Undefined when it is no form. Without a body the parameters are in the query, whatever the media type says. */
function readForm (body: Buffer, contentType: string | undefined): QueryParameter[] | undefined {
  if (body.length === 0) return []
  if (!/^application\/x-www-form-urlencoded(?:\s*;|$)/i.test(contentType ?? '')) return undefined
  return [...new URLSearchParams(body.toString('utf8'))].map(([name, value]) => ({ name, value, ambiguous: false }))
}

/** Only failures are shown to the two counters: who proves that it is the client is never held up by those who can't. */
async function slowGuessing (road: Road, exchange: GateExchange, { refusal, client, claimed }: TokenAnswer): Promise<Rejection | undefined> {
  if (refusal?.code !== 'bad_credential' || client !== undefined) return undefined
  const bySource = await road.failures.failed(exchange.source, exchange.time)
  const byClient = claimed === undefined ? undefined : await road.clientFailures.failed(`client ${claimed}`, exchange.time)
  if (bySource !== undefined) return bySource
  return byClient === undefined ? undefined : reject('too_many_failures', { causes: ['too many failed authentications under this client id'], wait: byClient.wait })
}

/** For operators: whom a refused assertion said that it was from. Not proved, so it is no `client` of the event. */
function unprovedClaim ({ refusal, client, claimed }: TokenAnswer): string | undefined {
  if (client !== undefined || claimed === undefined || !/^[A-Za-z0-9._-]+$/.test(claimed)) return undefined
  return `${refusal!.causes.join('; ')} (it claims to be from ${claimed})`
}

/** RFC 6749 section 5.1: nothing of this may be stored on the way. */
function write (exchange: GateExchange, response: ServerResponse, { status, body, headers }: TokenAnswer, now: number): void {
  if (response.destroyed) { exchange.aborted = true; return }
  const length = Buffer.byteLength(body)
  response.writeHead(status, [
    'Content-Type', 'application/json',
    'Content-Length', String(length),
    'Cache-Control', 'no-store',
    'Pragma', 'no-cache',
    'Date', new Date(now).toUTCString(),
    'X-Narrowgate-Request-Id', exchange.id,
    ...headers
  ])
  response.end(body)
  exchange.status = status
  exchange.bytesOut = length
}
