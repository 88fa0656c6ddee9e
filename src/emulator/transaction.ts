import { failure, json, type Answer } from './answers.js'
import { bodyOf, log, textOf, type OrgCall } from './call.js'
import { activationOf } from './factors.js'
import { isoTime, type Factor, type Org, type Transaction, type TransactionStatus, type User } from './state.js'

/** How long a state token and a session token live (Okta's authentication page: 5 minutes). */
export const TRANSACTION_LIFETIME = 300_000

/** A link of an answer: absolute URL, POST. */
function link (org: Org, path: string, name?: string): Record<string, unknown> {
  return { ...(name === undefined ? {} : { name }), href: `${org.origin}/api/v1/authn${path}`, hints: { allow: ['POST'] } }
}

/** Begins a transaction; its state token is the key to everything that follows. */
export function begin (org: Org, now: number, status: TransactionStatus, more: Partial<Omit<Transaction, 'stateToken' | 'status' | 'expiresAt'>>): Transaction {
  const transaction: Transaction = { stateToken: org.secret('00'), status, expiresAt: now + TRANSACTION_LIFETIME, ...more }
  org.transactions.set(transaction.stateToken, transaction)
  return transaction
}

/** The transaction that a body's `stateToken` names; 401 E0000011 when there is none or it has expired. */
export function withTransaction (call: OrgCall, allowed: readonly TransactionStatus[] | 'any', act: (transaction: Transaction, user: User | undefined) => Answer): Answer {
  const stateToken = textOf(bodyOf(call)['stateToken'])
  const transaction = stateToken === undefined ? undefined : call.org.transactions.get(stateToken)
  if (transaction === undefined || transaction.expiresAt <= call.now) {
    if (transaction !== undefined) call.org.transactions.delete(transaction.stateToken)
    return failure('E0000011')
  }
  if (allowed !== 'any' && !allowed.includes(transaction.status)) return failure('E0000079')
  return act(transaction, call.org.users.get(transaction.userId ?? ''))
}

/** Ends a transaction well: a session token, as recorded. */
export function succeed (call: OrgCall, user: User, transaction?: Transaction): Answer {
  const { org, now } = call
  if (transaction !== undefined) org.transactions.delete(transaction.stateToken)
  const sessionToken = org.secret('201')
  org.sessionTokens.set(sessionToken, user.id)
  user.lastLogin = isoTime(now)
  user.json = undefined
  log(call, 'user.session.start', { id: user.id, type: 'User' })
  return json({
    expiresAt: isoTime(now + TRANSACTION_LIFETIME),
    status: 'SUCCESS',
    ...(transaction?.relayState === undefined ? {} : { relayState: transaction.relayState }),
    sessionToken,
    _embedded: { user: userView(user) },
    _links: { cancel: link(org, '/cancel') }
  })
}

/** What /authn shows of a user. */
export function userView (user: User): Record<string, unknown> {
  const { login, firstName, lastName } = user.profile
  return {
    id: user.id,
    passwordChanged: user.passwordChanged,
    profile: { login, firstName, lastName, locale: 'en_US', timeZone: 'America/Los_Angeles' },
    ...(user.recoveryQuestion === undefined ? {} : { recovery_question: { question: user.recoveryQuestion.question } })
  }
}

function factorSummary (org: Org, factor: Factor): Record<string, unknown> {
  const { id, factorType, provider, profile } = factor
  const { phoneNumber } = profile
  // Okta masks all but the last four digits in /authn answers.
  const shown = typeof phoneNumber === 'string' ? { ...profile, phoneNumber: `+1 XXX-XXX-${phoneNumber.slice(-4)}` } : profile
  return { id, factorType, provider, vendorName: provider, profile: shown, _links: { verify: link(org, `/factors/${id}/verify`) } }
}

function embeddedOf (org: Org, transaction: Transaction, user: User | undefined): Record<string, unknown> {
  const embedded: Record<string, unknown> = user === undefined ? {} : { user: userView(user) }
  const factor = user?.factors.get(transaction.factorId ?? '')
  if (transaction.status === 'MFA_REQUIRED' && user !== undefined) {
    embedded['factors'] = [...user.factors.values()].filter(each => each.status === 'ACTIVE').map(each => factorSummary(org, each))
  } else if (transaction.status === 'MFA_ENROLL') {
    embedded['factors'] = ['question', 'sms', 'call', 'token:software:totp'].map(factorType => ({ factorType, provider: 'OKTA', enrollment: 'OPTIONAL', status: 'NOT_SETUP', _links: { enroll: link(org, '/factors') } }))
  } else if (factor !== undefined) {
    const activation = transaction.status === 'MFA_ENROLL_ACTIVATE' && factor.sharedSecret !== undefined ? { _embedded: { activation: activationOf(factor) } } : {}
    embedded['factor'] = { ...factorSummary(org, factor), ...activation }
  }
  return embedded
}

function linksOf (org: Org, transaction: Transaction, user: User | undefined): Record<string, unknown> {
  const { status, factorId, recoveryFactor } = transaction
  const links: Record<string, unknown> = { cancel: link(org, '/cancel') }
  switch (status) {
    case 'MFA_REQUIRED':
      return links
    case 'MFA_CHALLENGE':
      return { next: link(org, `/factors/${factorId}/verify`, 'verify'), prev: link(org, '/previous'), resend: [link(org, `/factors/${factorId}/verify/resend`)], ...links }
    case 'MFA_ENROLL':
      return user?.enrollment === 'optional' ? { skip: link(org, '/skip', 'skip'), ...links } : links
    case 'MFA_ENROLL_ACTIVATE':
      return { next: link(org, `/factors/${factorId}/lifecycle/activate`, 'activate'), prev: link(org, '/previous'), resend: [link(org, `/factors/${factorId}/lifecycle/resend`)], ...links }
    case 'PASSWORD_WARN':
      return { next: link(org, '/credentials/change_password', 'changePassword'), skip: link(org, '/skip', 'skip'), ...links }
    case 'PASSWORD_EXPIRED':
      return { next: link(org, '/credentials/change_password', 'changePassword'), ...links }
    case 'PASSWORD_RESET':
      return { next: link(org, '/credentials/reset_password', 'resetPassword'), ...links }
    case 'RECOVERY':
      return { next: link(org, '/recovery/answer', 'answer'), ...links }
    case 'RECOVERY_CHALLENGE':
      return { next: link(org, `/recovery/factors/${recoveryFactor}/verify`, 'verify'), resend: link(org, `/recovery/factors/${recoveryFactor}/resend`), ...links }
  }
}

/** The state of a transaction as /authn shows it; every answer gives it five more minutes. */
export function show (call: OrgCall, transaction: Transaction, user: User | undefined): Answer {
  const { org, now } = call
  transaction.expiresAt = now + TRANSACTION_LIFETIME
  const { stateToken, status, recoveryType, recoveryFactor, relayState } = transaction
  return json({
    stateToken,
    expiresAt: isoTime(transaction.expiresAt),
    status,
    ...(relayState === undefined ? {} : { relayState }),
    ...(recoveryType === undefined ? {} : { recoveryType }),
    ...(recoveryFactor === undefined ? {} : { factorType: recoveryFactor }),
    _embedded: embeddedOf(org, transaction, user),
    _links: linksOf(org, transaction, user)
  })
}
