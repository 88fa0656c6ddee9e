import { failure, json, text, type Answer } from './answers.js'
import { bodyOf, invalid, log, objectOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { isoTime, type User } from './state.js'
import { credentialsOf, setPassword, setStatus, touch, userJson, withUser } from './users.js'

const DAY = 86_400_000

function done (): Answer {
  return json({})
}

function change (call: OrgCall, user: User, status: User['status'], event: string): Answer {
  setStatus(user, status, call.now)
  log(call, `user.lifecycle.${event}`, { id: user.id, type: 'User' })
  return done()
}

/** sendEmail=false returns the one-time token in the body (operation-list.json, entry 2). */
function activate (call: OrgCall, user: User, again: boolean): Answer {
  const allowed = again ? user.status === 'PROVISIONED' : user.status === 'STAGED' || user.status === 'DEPROVISIONED' || user.status === 'PROVISIONED'
  if (!allowed) return again ? failure('E0000038') : failure('E0000016')
  user.activated = isoTime(call.now)
  change(call, user, user.password === undefined ? 'PROVISIONED' : 'ACTIVE', 'activate')
  if (queryOf(call, 'sendEmail') !== 'false') return done()
  const token = issueToken(call, user)
  return json({ activationUrl: `${call.org.origin}/welcome/${token}`, activationToken: token })
}

function issueToken (call: OrgCall, user: User): string {
  const token = call.org.secret('')
  user.recoveryToken = token
  call.org.recoveryTokens.set(token, { userId: user.id, expiresAt: call.now + 7 * DAY, recoveryType: 'PASSWORD' })
  return token
}

function suspend (call: OrgCall, user: User): Answer {
  if (user.status !== 'ACTIVE') return failure('E0000001', { summary: 'Cannot suspend a user that is not active' })
  return change(call, user, 'SUSPENDED', 'suspend')
}

function unsuspend (call: OrgCall, user: User): Answer {
  if (user.status !== 'SUSPENDED') return failure('E0000001', { summary: 'Cannot unsuspend a user that is not suspended' })
  return change(call, user, 'ACTIVE', 'unsuspend')
}

function unlock (call: OrgCall, user: User): Answer {
  if (user.status !== 'LOCKED_OUT') return failure('E0000032', { causes: ['The user is not locked out.'] })
  user.failedAttempts = 0
  return change(call, user, 'ACTIVE', 'unlock')
}

/** sendEmail is required (spec, resetPassword). */
function resetPassword (call: OrgCall, user: User): Answer {
  const sendEmail = queryOf(call, 'sendEmail')
  if (sendEmail === undefined) return invalid('sendEmail', 'sendEmail: The field cannot be left blank')
  if (user.status === 'STAGED' || user.status === 'DEPROVISIONED' || user.status === 'SUSPENDED') return failure('E0000038')
  setStatus(user, 'RECOVERY', call.now)
  const token = issueToken(call, user)
  return sendEmail === 'false' ? json({ resetPasswordUrl: `${call.org.origin}/reset_password/${token}` }) : done()
}

/**
 * `tempPassword=true` was documented until 2024-09; whether Okta still honours it is not established
 * (operation-list.json, entry 11). Here it works as it was documented.
 */
function expirePassword (call: OrgCall, user: User, temporary: boolean): Answer {
  if (user.status !== 'ACTIVE' && user.status !== 'PASSWORD_EXPIRED') return failure('E0000038')
  const tempPassword = call.org.secret('').slice(0, 12)
  if (temporary) user.password = tempPassword
  setStatus(user, 'PASSWORD_EXPIRED', call.now)
  return temporary ? json({ tempPassword }) : text(userJson(call.org, user))
}

function resetFactors (call: OrgCall, user: User): Answer {
  user.factors.clear()
  touch(user, call.now)
  return done()
}

function credentialsAnswer (user: User): Answer {
  const { emails, ...credentials } = credentialsOf(user)
  return json(credentials)
}

function changePassword (call: OrgCall, user: User): Answer {
  const body = bodyOf(call)
  const next = textOf(objectOf(body['newPassword'])['value'])
  if (user.password === undefined || textOf(objectOf(body['oldPassword'])['value']) !== user.password) {
    return failure('E0000014', { causes: ['Old Password is not correct'] })
  }
  if (next === undefined) return invalid('newPassword')
  const refused = setPassword(user, next, call.now)
  return refused === undefined ? credentialsAnswer(user) : failure('E0000014', { causes: [refused] })
}

function changeRecoveryQuestion (call: OrgCall, user: User): Answer {
  const body = bodyOf(call)
  const recovery = objectOf(body['recovery_question'])
  const question = textOf(recovery['question'])
  const answer = textOf(recovery['answer'])
  if (question === undefined || answer === undefined) return invalid('recovery_question')
  if (textOf(objectOf(body['password'])['value']) !== user.password) return failure('E0000014', { causes: ['Password is not correct'] })
  user.recoveryQuestion = { question, answer }
  touch(user, call.now)
  return credentialsAnswer(user)
}

function forgotPassword (call: OrgCall, user: User): Answer {
  const token = issueToken(call, user)
  return queryOf(call, 'sendEmail') === 'false' ? json({ resetPasswordUrl: `${call.org.origin}/reset_password/${token}` }) : done()
}

/** DELETE …/sessions: the emulator's sessions of a user are gone. */
function revokeSessions (call: OrgCall, user: User): Answer {
  for (const [id, session] of call.org.sessions) if (session['userId'] === user.id) call.org.sessions.delete(id)
  return { status: 204, headers: [] }
}

type Act = (call: OrgCall, user: User) => Answer

const on = (act: Act) => (call: OrgCall): Answer => withUser(call, user => act(call, user))

/** Lifecycle and credentials of a user. */
export const lifecycleRoutes: Routes = {
  'POST /api/v1/users/{id}/lifecycle/activate': on((call, user) => activate(call, user, false)),
  'POST /api/v1/users/{id}/lifecycle/reactivate': on((call, user) => activate(call, user, true)),
  'POST /api/v1/users/{id}/lifecycle/deactivate': on((call, user) => change(call, user, 'DEPROVISIONED', 'deactivate')),
  'POST /api/v1/users/{id}/lifecycle/suspend': on(suspend),
  'POST /api/v1/users/{id}/lifecycle/unsuspend': on(unsuspend),
  'POST /api/v1/users/{id}/lifecycle/unlock': on(unlock),
  'POST /api/v1/users/{id}/lifecycle/reset_password': on(resetPassword),
  'POST /api/v1/users/{id}/lifecycle/expire_password': on((call, user) => expirePassword(call, user, queryOf(call, 'tempPassword') === 'true')),
  'POST /api/v1/users/{id}/lifecycle/expire_password_with_temp_password': on((call, user) => expirePassword(call, user, true)),
  'POST /api/v1/users/{id}/lifecycle/reset_factors': on(resetFactors),
  'POST /api/v1/users/{id}/credentials/change_password': on(changePassword),
  'POST /api/v1/users/{id}/credentials/change_recovery_question': on(changeRecoveryQuestion),
  'POST /api/v1/users/{id}/credentials/forgot_password': on(forgotPassword),
  'DELETE /api/v1/users/{id}/sessions': on(revokeSessions)
}
