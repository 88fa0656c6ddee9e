import { failure, json, type Answer } from './answers.js'
import { bodyOf, invalid, log, parameterOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { enroll, factorAnswers, readFactorType, sendCode } from './factors.js'
import type { Factor, Transaction, User } from './state.js'
import { begin, show, succeed, withTransaction } from './transaction.js'
import { setPassword, setStatus, touch } from './users.js'

/** Failed sign-ins that lock an account: Okta's default password policy. */
const MAX_FAILURES = 10

function authenticate (call: OrgCall): Answer {
  const body = bodyOf(call)
  if (body['stateToken'] !== undefined) return withTransaction(call, 'any', (transaction, user) => show(call, transaction, user))
  const username = textOf(body['username'])
  if (username === undefined) return textOf(body['token']) === undefined ? invalid('username', 'username: The field cannot be left blank') : signInWithToken(call)
  const user = call.org.users.get(call.org.logins.get(username.toLowerCase()) ?? '')
  if (user === undefined || user.password === undefined) return failure('E0000004')
  if (user.status === 'LOCKED_OUT') return lockedOut(call)
  if (textOf(body['password']) !== user.password) return countFailure(call, user)
  return proceed(call, user, textOf(body['relayState']))
}

/** `token`: the one-time token of activate?sendEmail=false. */
function signInWithToken (call: OrgCall): Answer {
  const token = textOf(bodyOf(call)['token']) ?? ''
  const found = call.org.recoveryTokens.get(token)
  const user = call.org.users.get(found?.userId ?? '')
  if (found === undefined || user === undefined || found.expiresAt <= call.now) return failure('E0000011')
  call.org.recoveryTokens.delete(token)
  return show(call, begin(call.org, call.now, 'PASSWORD_RESET', { userId: user.id }), user)
}

function lockedOut (call: OrgCall): Answer {
  const next = { name: 'unlock', href: `${call.org.origin}/api/v1/authn/recovery/unlock`, hints: { allow: ['POST'] } }
  return json({ status: 'LOCKED_OUT', _embedded: {}, _links: { next } })
}

function countFailure (call: OrgCall, user: User): Answer {
  user.failedAttempts++
  log(call, 'user.session.start', { id: user.id, type: 'User' }, 'FAILURE')
  if (user.failedAttempts >= MAX_FAILURES && user.status === 'ACTIVE') setStatus(user, 'LOCKED_OUT', call.now)
  return failure('E0000004')
}

/** The password was right: what else does this user owe? */
function proceed (call: OrgCall, user: User, relayState?: string): Answer {
  user.failedAttempts = 0
  const start = (status: Transaction['status']): Answer => show(call, begin(call.org, call.now, status, { userId: user.id, relayState }), user)
  if (user.status === 'PASSWORD_EXPIRED') return start('PASSWORD_EXPIRED')
  if (user.status !== 'ACTIVE') return failure('E0000004')
  if ([...user.factors.values()].some(factor => factor.status === 'ACTIVE')) return start('MFA_REQUIRED')
  return user.enrollment === 'none' ? succeed(call, user) : start('MFA_ENROLL')
}

/** `{factorIdOrFactorType}`: an id, or a type such as sms. */
function factorNamed (user: User | undefined, name: string): Factor | undefined {
  return user?.factors.get(name) ?? [...user?.factors.values() ?? []].find(factor => factor.factorType === name)
}

/** stateToken alone sends the challenge; with answer or passCode the factor is judged. */
function verify (call: OrgCall): Answer {
  return withTransaction(call, ['MFA_REQUIRED', 'MFA_CHALLENGE'], (transaction, user) => {
    const body = bodyOf(call)
    const factor = factorNamed(user, parameterOf(call, 0))
    if (user === undefined || factor?.status !== 'ACTIVE') return failure('E0000007')
    if (body['answer'] === undefined && body['passCode'] === undefined) {
      if (factor.passCode === undefined) return invalid('passCode', 'passCode: The field cannot be left blank')
      return challenge(call, transaction, user, factor)
    }
    return factorAnswers(factor, body, call.now) ? succeed(call, user, transaction) : failure('E0000068')
  })
}

function challenge (call: OrgCall, transaction: Transaction, user: User, factor: Factor): Answer {
  sendCode(call.org, factor)
  transaction.status = 'MFA_CHALLENGE'
  transaction.factorId = factor.id
  return show(call, transaction, user)
}

function resendChallenge (call: OrgCall): Answer {
  return withTransaction(call, ['MFA_CHALLENGE'], (transaction, user) => {
    const factor = factorNamed(user, parameterOf(call, 0))
    return user === undefined || factor === undefined ? failure('E0000007') : challenge(call, transaction, user, factor)
  })
}

function enrollInTransaction (call: OrgCall): Answer {
  return withTransaction(call, ['MFA_ENROLL', 'MFA_REQUIRED'], (transaction, user) => {
    const body = bodyOf(call)
    const type = readFactorType(body)
    if (user === undefined || type === undefined) return invalid('factorType', 'factorType: The field is not one that this org supports')
    const factor = enroll(call.org, user, type, body, { now: call.now, updatePhone: queryOf(call, 'updatePhone') === 'true' })
    if (typeof factor === 'string') return invalid('factorEnrollRequest', factor)
    if (factor.status === 'ACTIVE') return enrolled(call, transaction, user)
    transaction.status = 'MFA_ENROLL_ACTIVATE'
    transaction.factorId = factor.id
    return show(call, transaction, user)
  })
}

function enrolled (call: OrgCall, transaction: Transaction, user: User): Answer {
  user.enrollment = 'none'
  return succeed(call, user, transaction)
}

function withPending (call: OrgCall, act: (transaction: Transaction, user: User, factor: Factor) => Answer): Answer {
  return withTransaction(call, ['MFA_ENROLL_ACTIVATE'], (transaction, user) => {
    const factor = factorNamed(user, parameterOf(call, 0))
    return user === undefined || factor === undefined ? failure('E0000007') : act(transaction, user, factor)
  })
}

function activateInTransaction (call: OrgCall): Answer {
  return withPending(call, (transaction, user, factor) => {
    if (!factorAnswers(factor, bodyOf(call), call.now)) return failure('E0000068')
    factor.status = 'ACTIVE'
    return enrolled(call, transaction, user)
  })
}

function resendActivation (call: OrgCall): Answer {
  return withPending(call, (transaction, user, factor) => {
    if (factor.passCode !== undefined) sendCode(call.org, factor)
    return show(call, transaction, user)
  })
}

function changeExpiredPassword (call: OrgCall): Answer {
  return withTransaction(call, ['PASSWORD_EXPIRED', 'PASSWORD_WARN'], (transaction, user) => {
    const body = bodyOf(call)
    if (user === undefined || textOf(body['oldPassword']) !== user.password) return failure('E0000014', { causes: ['Old Password is not correct'] })
    return acceptPassword(call, transaction, user)
  })
}

function acceptPassword (call: OrgCall, transaction: Transaction, user: User): Answer {
  const refused = setPassword(user, textOf(bodyOf(call)['newPassword']) ?? '', call.now)
  if (refused !== undefined) return failure('E0000014', { causes: [refused] })
  if (user.status === 'STAGED' || user.status === 'PROVISIONED') setStatus(user, 'ACTIVE', call.now)
  call.org.transactions.delete(transaction.stateToken)
  return proceed(call, user, transaction.relayState)
}

function resetForgottenPassword (call: OrgCall): Answer {
  return withTransaction(call, ['PASSWORD_RESET'], (transaction, user) => user === undefined ? failure('E0000079') : acceptPassword(call, transaction, user))
}

function skip (call: OrgCall): Answer {
  return withTransaction(call, ['PASSWORD_WARN', 'MFA_ENROLL'], (transaction, user) => {
    if (user === undefined || (transaction.status === 'MFA_ENROLL' && user.enrollment !== 'optional')) return failure('E0000079')
    return succeed(call, user, transaction)
  })
}

function previous (call: OrgCall): Answer {
  return withTransaction(call, ['MFA_CHALLENGE', 'MFA_ENROLL_ACTIVATE'], (transaction, user) => {
    if (transaction.status === 'MFA_ENROLL_ACTIVATE' && user?.factors.delete(transaction.factorId ?? '') === true) touch(user, call.now)
    transaction.status = transaction.status === 'MFA_CHALLENGE' ? 'MFA_REQUIRED' : 'MFA_ENROLL'
    transaction.factorId = undefined
    return show(call, transaction, user)
  })
}

function cancel (call: OrgCall): Answer {
  return withTransaction(call, 'any', transaction => {
    call.org.transactions.delete(transaction.stateToken)
    return json(transaction.relayState === undefined ? {} : { relayState: transaction.relayState })
  })
}

/** Sign-in: the part of /authn that begins with a password. */
export const authnRoutes: Routes = {
  'POST /api/v1/authn': authenticate,
  'POST /api/v1/authn/factors/{factorId}/verify': verify,
  'POST /api/v1/authn/factors/{factorId}/verify/resend': resendChallenge,
  'POST /api/v1/authn/factors': enrollInTransaction,
  'POST /api/v1/authn/factors/{factorId}/lifecycle/activate': activateInTransaction,
  'POST /api/v1/authn/factors/{factorId}/lifecycle/resend': resendActivation,
  'POST /api/v1/authn/credentials/change_password': changeExpiredPassword,
  'POST /api/v1/authn/credentials/reset_password': resetForgottenPassword,
  'POST /api/v1/authn/skip': skip,
  'POST /api/v1/authn/previous': previous,
  'POST /api/v1/authn/cancel': cancel
}
