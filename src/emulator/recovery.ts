import { failure, json, type Answer } from './answers.js'
import { bodyOf, invalid, parameterOf, textOf, type OrgCall, type Routes } from './call.js'
import { newPassCode } from './factors.js'
import { isoTime, type Transaction, type User } from './state.js'
import { TRANSACTION_LIFETIME, begin, show, succeed, userView, withTransaction } from './transaction.js'
import { setStatus } from './users.js'

type RecoveryType = 'PASSWORD' | 'UNLOCK'

const HOUR = 3_600_000

/**
 * Starts a recovery. With `factorType` it is public and neutral: an unknown user gets the same 200.
 * Without, it is trusted: an API token is needed, the recovery token comes back in the body, and an
 * unknown user is 403 E0000095 (operation-list.json, entry 40).
 */
function start (call: OrgCall, recoveryType: RecoveryType): Answer {
  const body = bodyOf(call)
  const username = textOf(body['username'])
  if (username === undefined) return invalid('username', 'username: The field cannot be left blank')
  const user = call.org.users.get(call.org.logins.get(username.toLowerCase()) ?? '')
  const factorType = textOf(body['factorType'])
  if (factorType === undefined) return startTrusted(call, user, recoveryType)
  const relayState = textOf(body['relayState'])
  switch (factorType.toUpperCase()) {
    case 'EMAIL':
      return json({ status: 'RECOVERY_CHALLENGE', factorResult: 'WAITING', ...(relayState === undefined ? {} : { relayState }), factorType: 'EMAIL', recoveryType })
    case 'SMS': return startWithCode(call, user, recoveryType, 'SMS', relayState)
    case 'CALL': return startWithCode(call, user, recoveryType, 'CALL', relayState)
    default: return invalid('factorType', 'factorType: The field must be one of EMAIL, SMS, CALL')
  }
}

function startWithCode (call: OrgCall, user: User | undefined, recoveryType: RecoveryType, recoveryFactor: 'SMS' | 'CALL', relayState: string | undefined): Answer {
  const transaction = begin(call.org, call.now, 'RECOVERY_CHALLENGE', { userId: user?.id, recoveryType, recoveryFactor, relayState, passCode: newPassCode(call.org) })
  return show(call, transaction, undefined)
}

function startTrusted (call: OrgCall, user: User | undefined, recoveryType: RecoveryType): Answer {
  if (call.principal?.kind !== 'apiToken') return failure('E0000006')
  if (user === undefined) return failure('E0000095')
  const recoveryToken = call.org.secret('')
  call.org.recoveryTokens.set(recoveryToken, { userId: user.id, expiresAt: call.now + HOUR, recoveryType })
  const href = `${call.org.origin}/api/v1/authn`
  return json({
    expiresAt: isoTime(call.now + HOUR),
    status: 'RECOVERY',
    recoveryToken,
    recoveryType,
    _embedded: { user: userView(user) },
    _links: {
      next: { name: 'recovery', href: `${href}/recovery/token`, hints: { allow: ['POST'] } },
      cancel: { href: `${href}/cancel`, hints: { allow: ['POST'] } }
    }
  })
}

function exchangeToken (call: OrgCall): Answer {
  const token = textOf(bodyOf(call)['recoveryToken']) ?? ''
  const found = call.org.recoveryTokens.get(token)
  const user = call.org.users.get(found?.userId ?? '')
  if (found === undefined || user === undefined || found.expiresAt <= call.now) return failure('E0000011')
  call.org.recoveryTokens.delete(token)
  const status = user.recoveryQuestion === undefined ? 'PASSWORD_RESET' : 'RECOVERY'
  return show(call, begin(call.org, call.now, status, { userId: user.id, recoveryType: found.recoveryType }), user)
}

function answerQuestion (call: OrgCall): Answer {
  return withTransaction(call, ['RECOVERY'], (transaction, user) => {
    const answer = textOf(bodyOf(call)['answer'])?.toLowerCase()
    if (user === undefined || answer === undefined || answer !== user.recoveryQuestion?.answer.toLowerCase()) return failure('E0000087')
    return recovered(call, transaction, user)
  })
}

function recovered (call: OrgCall, transaction: Transaction, user: User): Answer {
  if (transaction.recoveryType === 'UNLOCK') {
    user.failedAttempts = 0
    if (user.status === 'LOCKED_OUT') setStatus(user, 'ACTIVE', call.now)
    return succeed(call, user, transaction)
  }
  transaction.status = 'PASSWORD_RESET'
  return show(call, transaction, user)
}

/** The segment is sms or call; its letter case varies between Okta's page and its own links. */
function withCode (call: OrgCall, act: (transaction: Transaction, user: User | undefined) => Answer): Answer {
  return withTransaction(call, ['RECOVERY_CHALLENGE'], (transaction, user) => {
    return parameterOf(call, 0).toUpperCase() === transaction.recoveryFactor ? act(transaction, user) : failure('E0000079')
  })
}

function verifyCode (call: OrgCall): Answer {
  return withCode(call, (transaction, user) => {
    if (user === undefined || textOf(bodyOf(call)['passCode']) !== transaction.passCode) return failure('E0000068')
    if (user.recoveryQuestion === undefined) return recovered(call, transaction, user)
    transaction.status = 'RECOVERY'
    return show(call, transaction, user)
  })
}

function resendCode (call: OrgCall): Answer {
  return withCode(call, transaction => {
    transaction.passCode = newPassCode(call.org)
    transaction.expiresAt = call.now + TRANSACTION_LIFETIME
    return show(call, transaction, undefined)
  })
}

/** Recovery: the part of /authn for those who have no password. */
export const recoveryRoutes: Routes = {
  'POST /api/v1/authn/recovery/password': call => start(call, 'PASSWORD'),
  'POST /api/v1/authn/recovery/unlock': call => start(call, 'UNLOCK'),
  'POST /api/v1/authn/recovery/token': exchangeToken,
  'POST /api/v1/authn/recovery/answer': answerQuestion,
  'POST /api/v1/authn/recovery/factors/{factorType}/verify': verifyCode,
  'POST /api/v1/authn/recovery/factors/{factorType}/resend': resendCode
}
