import type { IncomingMessage } from 'node:http'
import type { Operation } from '../domain/operation.js'
import { isRejection } from '../domain/rejection.js'
import { parseTarget, type Target } from '../domain/target.js'
import { failure, type Answer } from './answers.js'
import { acceptsJson, lacksLength, readBody } from './bodies.js'
import type { Principal } from './call.js'
import { authenticate, authorize, isAnswer, type Authenticated } from './credentials.js'
import { SeenOnce } from './dpop.js'
import type { Admission, RateLimits } from './rate.js'
import type { Router } from './routes.js'
import type { Org } from './state.js'
import { OWNER } from './users.js'
import { TOKEN_PATH, claimedClient, issueToken, type TokenIssuer } from './token-endpoint.js'

/** What became of a request: the answer and the rate limit headers that go with it. */
export interface Settled {
  readonly answer: Answer
  readonly admission?: Admission
}

/** What the desk works with. */
export interface DeskParts {
  readonly org: Org
  readonly router: Router
  readonly rate: RateLimits
  readonly issuer: TokenIssuer
  /** requests in flight at once, of the whole org */
  readonly concurrency: number
}

/** Decides a request that has arrived whole. */
export interface Desk {
  /** @param inFlight requests in flight, this one included; @param now epoch milliseconds */
  handle (request: IncomingMessage, body: Buffer, inFlight: number, now: number): Settled | Promise<Settled>
}

/** One request on its way. */
interface Matter {
  readonly request: IncomingMessage
  readonly body: Buffer
  readonly inFlight: number
  readonly now: number
  readonly operation: Operation
  readonly parameters: readonly string[]
  readonly target: Target
}

// What Okta says of an overlong or malformed target is not recorded.
const BAD_TARGET: Settled = { answer: failure('E0000001', { summary: 'The request target is malformed.', early: true }) }
const NO_LENGTH: Settled = { answer: { status: 411, headers: [], early: true } }

/** Makes the desk: route, authenticate, admit, authorise, read, handle; in that order. */
export function createDesk (parts: DeskParts): Desk {
  const { org, router } = parts
  const proofs = new SeenOnce()
  return {
    handle (request, body, inFlight, now) {
      const method = request.method ?? ''
      if (lacksLength(method, request.headers)) return NO_LENGTH
      const target = tolerantTarget(request.url ?? '')
      if (isRejection(target)) return BAD_TARGET
      const resolution = router.catalog.resolve(method, withOwner(target))
      if (resolution.kind === 'unknown_method') return { answer: failure('E0000022', { early: true }) }
      if (resolution.kind === 'unknown_path') return { answer: failure('E0000007', { summary: `Not found: Resource not found: ${target.path}` }) }
      const matter: Matter = { request, body, inFlight, now, operation: resolution.operation, parameters: resolution.parameters, target }
      if (resolution.operation.template === TOKEN_PATH) return tokenCall(parts, matter)
      const { authorization, dpop } = request.headers
      const presented = { authorization, dpop: typeof dpop === 'string' ? dpop : undefined, method, path: target.path }
      const known = authenticate(org, resolution.operation, presented, proofs, now)
      return known instanceof Promise ? known.then(done => proceed(parts, matter, done)) : proceed(parts, matter, known)
    }
  }
}

/** Okta ignores a trailing slash and a doubled one (facts.md, Paths); links keep what was asked for. */
function tolerantTarget (raw: string): ReturnType<typeof parseTarget> {
  const mark = raw.indexOf('?')
  const path = mark < 0 ? raw : raw.slice(0, mark)
  if (!path.includes('//') && !path.endsWith('/')) return parseTarget(raw)
  const plain = path.replace(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
  return parseTarget(mark < 0 ? plain : plain + raw.slice(mark))
}

/** `/api/v1/users/me`, at any depth, is the owner of the token (facts.md, Credentials). */
function withOwner (target: Target): Target {
  if (target.rawSegments[3] !== 'me' || target.rawSegments[2] !== 'users') return target
  const replace = (segment: string, index: number): string => index === 3 ? OWNER : segment
  return { ...target, rawSegments: target.rawSegments.map(replace), segments: target.segments.map(replace) }
}

/** Concurrency: Limit and Remaining are 0, Reset only an estimate (rate-limits.json, tooMany). */
function tooMany (matter: Matter): Settled {
  return { answer: failure('E0000047'), admission: { admitted: false, limit: 0, remaining: 0, reset: Math.floor(matter.now / 1000) + 1 } }
}

function proceed (parts: DeskParts, matter: Matter, known: Authenticated): Settled {
  if (isAnswer(known)) return { answer: known }
  if (matter.inFlight > parts.concurrency) return tooMany(matter)
  const admission = parts.rate.admit(matter.operation.bucket, known?.id, matter.now)
  return { answer: admission.admitted ? judge(parts, matter, known) : failure('E0000047'), admission }
}

function judge (parts: DeskParts, matter: Matter, principal: Principal | undefined): Answer {
  const { request, operation, target } = matter
  const { headers } = request
  const dpop = headers.authorization?.toLowerCase().startsWith('dpop ') === true
  const refused = authorize(parts.org, operation, principal, dpop, target.path)
  if (refused !== undefined) return refused
  if (!acceptsJson(headers.accept)) return failure('E0000019')
  const read = readBody(operation, headers, matter.body)
  if ('answer' in read) return read.answer
  const handler = parts.router.handlers[operation.index]!
  return handler({
    org: parts.org, now: matter.now, method: operation.method, target, parameters: matter.parameters, headers, body: read.value, principal
  })
}

/** The token endpoint speaks forms, and OAuth's errors; its bucket counts by client. */
async function tokenCall (parts: DeskParts, matter: Matter): Promise<Settled> {
  const { request, now } = matter
  if (matter.inFlight > parts.concurrency) return tooMany(matter)
  const type = (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
  if (type !== 'application/x-www-form-urlencoded') return { answer: failure('E0000021') }
  const form = new URLSearchParams(matter.body.toString('utf8'))
  const claimed = claimedClient(form)
  const principal = claimed !== undefined && parts.org.apps.has(claimed) ? claimed : undefined
  const admission = parts.rate.admit(matter.operation.bucket, principal, now)
  if (!admission.admitted) return { answer: failure('E0000047'), admission }
  const { dpop } = request.headers
  return { answer: await issueToken(parts.issuer, form, typeof dpop === 'string' ? dpop : undefined, now), admission }
}
