import { failure, json, noContent, type Answer } from './answers.js'
import { bodyOf, invalid, notFound, objectOf, parameterOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { isoTime, type Factor, type FactorType, type Org, type User } from './state.js'
import { sharedSecretFrom, totpMatches } from './totp.js'
import { touch, withUser } from './users.js'

const PREFIXES: Readonly<Record<FactorType, string>> = { question: 'ufs', sms: 'mbl', call: 'clf', 'token:software:totp': 'uft' }
const TYPES = Object.keys(PREFIXES) as FactorType[]

/** Security questions, as Okta's reference lists them (the first of 21). */
export const questions = [
  { question: 'disliked_food', questionText: 'What is the food you least liked as a child?' },
  { question: 'name_of_first_plush_toy', questionText: 'What is the name of your first stuffed animal?' },
  { question: 'first_award', questionText: 'What did you earn your first medal or award for?' },
  { question: 'favorite_security_question', questionText: 'What is your favorite security question?' }
] as const

/** Reads an enrolment: `factorType`, `provider`, `profile`. Undefined: a type that this org does not have. */
export function readFactorType (body: Record<string, unknown>): FactorType | undefined {
  return TYPES.find(type => type === body['factorType'])
}

/** A six-digit code for sms and call. */
export function newPassCode (org: Org): string {
  return String(Buffer.from(org.secret('')).readUInt32BE(0) % 1_000_000).padStart(6, '0')
}

/** Enrols a factor; a Factor, or why it is refused. A question is active at once, the others wait for their code. */
export function enroll (org: Org, user: User, type: FactorType, body: Record<string, unknown>, options: { now: number, updatePhone: boolean }): Factor | string {
  const profile = objectOf(body['profile'])
  const former = [...user.factors.values()].find(factor => factor.factorType === type)
  const replaces = former !== undefined && (former.status === 'PENDING_ACTIVATION' || (options.updatePhone && type !== 'question'))
  if (former !== undefined && !replaces) return 'A factor of this type is already set up.'
  if (type === 'question' && (textOf(profile['question']) === undefined || textOf(profile['answer']) === undefined)) return 'question and answer are required'
  if ((type === 'sms' || type === 'call') && !/^\+?[0-9() -]{6,20}$/.test(textOf(profile['phoneNumber']) ?? '')) return 'phoneNumber is not valid'
  if (former !== undefined) user.factors.delete(former.id)
  const factor = makeFactor(org, user, type, profile, textOf(body['provider']), options.now)
  user.factors.set(factor.id, factor)
  touch(user, options.now)
  return factor
}

function makeFactor (org: Org, user: User, type: FactorType, profile: Record<string, unknown>, provider: string | undefined, now: number): Factor {
  const time = isoTime(now)
  const factor: Factor = {
    id: org.identify(PREFIXES[type]), factorType: type, provider: provider ?? 'OKTA', status: 'PENDING_ACTIVATION', created: time, lastUpdated: time, profile: {}
  }
  switch (type) {
    case 'question':
      setQuestion(factor, profile)
      factor.status = 'ACTIVE'
      return factor
    case 'sms':
    case 'call':
      factor.profile = { phoneNumber: profile['phoneNumber'] }
      factor.passCode = newPassCode(org)
      return factor
    case 'token:software:totp':
      factor.profile = { credentialId: user.profile['login'] }
      factor.sharedSecret = sharedSecretFrom(Buffer.from(org.secret('')))
      return factor
  }
}

function setQuestion (factor: Factor, profile: Record<string, unknown>): void {
  const question = String(profile['question'])
  const known = questions.find(entry => entry.question === question)
  factor.profile = { question, questionText: known?.questionText ?? question }
  factor.answer = String(profile['answer'])
}

/** True when the answer or pass code of a body is the factor's. Letter case of an answer does not count. */
export function factorAnswers (factor: Factor, body: Record<string, unknown>, now: number): boolean {
  if (factor.factorType === 'question') return textOf(body['answer'])?.toLowerCase() === factor.answer?.toLowerCase()
  const passCode = textOf(body['passCode']) ?? ''
  if (factor.sharedSecret !== undefined) return totpMatches(factor.sharedSecret, passCode, now)
  return factor.passCode !== undefined && passCode === factor.passCode
}

/** Sends a new code: an emulated phone, which tests read in `passCode`. */
export function sendCode (org: Org, factor: Factor): void {
  factor.passCode = newPassCode(org)
}

/** A factor as the Factors API shows it. */
export function factorView (org: Org, user: User, factor: Factor): Record<string, unknown> {
  const self = `${org.origin}/api/v1/users/${user.id}/factors/${factor.id}`
  const pending = factor.status === 'PENDING_ACTIVATION'
  const links: Record<string, unknown> = { self: { href: self, hints: { allow: ['GET', 'DELETE'] } }, user: { href: `${org.origin}/api/v1/users/${user.id}`, hints: { allow: ['GET'] } } }
  if (pending) links['activate'] = { href: `${self}/lifecycle/activate`, hints: { allow: ['POST'] } }
  else links['verify'] = { href: `${self}/verify`, hints: { allow: ['POST'] } }
  return {
    id: factor.id,
    factorType: factor.factorType,
    provider: factor.provider,
    vendorName: factor.provider,
    status: factor.status,
    created: factor.created,
    lastUpdated: factor.lastUpdated,
    profile: factor.profile,
    _links: links,
    ...(pending && factor.sharedSecret !== undefined ? { _embedded: { activation: activationOf(factor) } } : {})
  }
}

/** What an authenticator app needs, once. */
export function activationOf (factor: Factor): Record<string, unknown> {
  return { timeStep: 30, sharedSecret: factor.sharedSecret, encoding: 'base32', keyLength: 6 }
}

function withFactor (call: OrgCall, act: (user: User, factor: Factor) => Answer): Answer {
  return withUser(call, user => {
    const id = parameterOf(call, 1)
    const factor = user.factors.get(id)
    return factor === undefined ? notFound(id, 'UserFactor') : act(user, factor)
  })
}

function enrollFactor (call: OrgCall): Answer {
  return withUser(call, user => {
    const body = bodyOf(call)
    const type = readFactorType(body)
    if (type === undefined) return invalid('factorType', 'factorType: The field is not one that this org supports')
    const factor = enroll(call.org, user, type, body, { now: call.now, updatePhone: queryOf(call, 'updatePhone') === 'true' })
    if (typeof factor === 'string') return invalid('factorEnrollRequest', factor)
    if (queryOf(call, 'activate') === 'true') factor.status = 'ACTIVE'
    return json(factorView(call.org, user, factor))
  })
}

/** Undocumented (operation-list.json, entry 16): sets another question and answer. */
function replaceFactor (call: OrgCall): Answer {
  return withFactor(call, (user, factor) => {
    const profile = objectOf(bodyOf(call)['profile'])
    if (factor.factorType !== 'question') return failure('E0000006')
    if (textOf(profile['question']) === undefined || textOf(profile['answer']) === undefined) return invalid('profile')
    setQuestion(factor, profile)
    factor.lastUpdated = isoTime(call.now)
    return json(factorView(call.org, user, factor))
  })
}

function activateFactor (call: OrgCall): Answer {
  return withFactor(call, (user, factor) => {
    if (factor.status !== 'PENDING_ACTIVATION') return invalid('factor', 'The factor is already active.')
    if (!factorAnswers(factor, bodyOf(call), call.now)) return failure('E0000068')
    factor.status = 'ACTIVE'
    return json(factorView(call.org, user, factor))
  })
}

/** An empty body asks for a challenge where the factor has one; else the answer is judged. */
function verifyFactor (call: OrgCall): Answer {
  return withFactor(call, (_user, factor) => {
    const body = bodyOf(call)
    if (factor.status !== 'ACTIVE') return failure('E0000006')
    if (factor.passCode !== undefined && body['passCode'] === undefined) {
      sendCode(call.org, factor)
      return json({ factorResult: 'CHALLENGE', _links: { verify: { href: `${call.org.origin}${call.target.path}`, hints: { allow: ['POST'] } } } })
    }
    return factorAnswers(factor, body, call.now) ? json({ factorResult: 'SUCCESS' }) : failure('E0000068')
  })
}

function resendFactor (call: OrgCall): Answer {
  return withFactor(call, (user, factor) => {
    sendCode(call.org, factor)
    return json(factorView(call.org, user, factor))
  })
}

function deleteFactor (call: OrgCall): Answer {
  return withFactor(call, (user, factor) => {
    user.factors.delete(factor.id)
    touch(user, call.now)
    return noContent()
  })
}

function catalogOf (org: Org, user: User): unknown[] {
  return TYPES.map(factorType => {
    const enrolled = [...user.factors.values()].find(factor => factor.factorType === factorType)
    return {
      factorType,
      provider: 'OKTA',
      vendorName: 'OKTA',
      status: enrolled?.status ?? 'NOT_SETUP',
      enrollment: 'OPTIONAL',
      _links: { enroll: { href: `${org.origin}/api/v1/users/${user.id}/factors`, hints: { allow: ['POST'] } } }
    }
  })
}

/** Factors of a user, as administrators handle them. */
export const factorRoutes: Routes = {
  'GET /api/v1/users/{userId}/factors': call => withUser(call, user => json([...user.factors.values()].map(factor => factorView(call.org, user, factor)))),
  'POST /api/v1/users/{userId}/factors': enrollFactor,
  'GET /api/v1/users/{userId}/factors/catalog': call => withUser(call, user => json(catalogOf(call.org, user))),
  'GET /api/v1/users/{userId}/factors/questions': call => withUser(call, () => json(questions)),
  'GET /api/v1/users/{userId}/factors/{factorId}': call => withFactor(call, (user, factor) => json(factorView(call.org, user, factor))),
  'PUT /api/v1/users/{userId}/factors/{factorId}': replaceFactor,
  'DELETE /api/v1/users/{userId}/factors/{factorId}': deleteFactor,
  'POST /api/v1/users/{userId}/factors/{factorId}/lifecycle/activate': activateFactor,
  'POST /api/v1/users/{userId}/factors/{factorId}/verify': verifyFactor,
  'POST /api/v1/users/{userId}/factors/{factorId}/resend': resendFactor
}
