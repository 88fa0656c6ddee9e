import { enroll } from './factors.js'
import type { Factor, FactorType, Org, Transaction, TransactionStatus, User } from './state.js'
import { totp } from './totp.js'
import { begin } from './transaction.js'
import { addUser, type NewUser } from './users.js'

/** One call of the demo: everything that it needs stands ready in the org's state. */
export interface Step {
  /** the name that the operation list gives it */
  readonly name: string
  readonly method: string
  readonly target: string
  /** JSON; absent: no body */
  readonly body?: unknown
  /** what the org answers to a call that reaches it */
  readonly expected: number
  /** which credential the call has to reach the org with */
  readonly credential: 'upstream' | 'authnToken' | 'none'
}

const PASSWORD = 'Correct-horse-1'
const PHONE = '+15551230000'
const ANSWER = 'broccoli'
const QUESTION = { question: 'disliked_food', answer: ANSWER }

/** Puts people, factors and transactions into the org, a fresh set for every step, so that no step leans on another. */
class Stage {
  #count = 0
  readonly #prefix: string

  constructor (readonly org: Org, readonly now: number) {
    // A second scenario in the same org gets other logins.
    this.#prefix = org.identify('stage').slice(-6).toLowerCase()
  }

  user (status: User['status'] = 'ACTIVE', more: Partial<NewUser> = {}): User {
    const login = `${this.#prefix}-${++this.#count}@example.com`
    const profile = { firstName: 'Ada', lastName: 'Lovelace', login, email: login, mobilePhone: PHONE }
    return addUser(this.org, { profile, password: PASSWORD, recoveryQuestion: QUESTION, status, ...more }, this.now)
  }

  factor (user: User, type: FactorType, status: Factor['status'] = 'ACTIVE'): Factor {
    const body = { profile: type === 'question' ? QUESTION : { phoneNumber: PHONE } }
    const factor = enroll(this.org, user, type, body, { now: this.now, updatePhone: false })
    if (typeof factor === 'string') throw new Error(factor)
    factor.status = status
    return factor
  }

  transaction (status: TransactionStatus, user: User, more: Partial<Transaction> = {}): Transaction {
    return begin(this.org, this.now, status, { userId: user.id, ...more })
  }

  group (): string {
    for (const group of this.org.groups.values()) if (group.type === 'OKTA_GROUP') return group.id
    throw new Error('the org has no group')
  }

  fresh (): string {
    return `${this.#prefix}-new-${++this.#count}@example.com`
  }
}

/** A management call. */
function manage (name: string, method: string, path: string, body?: unknown, expected = 200): Step {
  return { name, method, target: `/api/v1/${path}`, body, expected, credential: 'upstream' }
}

/** A call to /authn. */
function sign (name: string, path: string, body: unknown): Step {
  return { name, method: 'POST', target: `/api/v1/authn${path}`, body, expected: 200, credential: 'none' }
}

/**
 * The 48 entries of the operation list, in its order and under its names, as calls that succeed. The three entries
 * that are no real operation (1 createUser, 10 resetPassword, 21 changePassword) are written as what they mean.
 * All of them must be made within five minutes of `now`, the org's clock: state tokens expire.
 */
export function scenario (org: Org, now: number): Step[] {
  const stage = new Stage(org, now)
  return [...userSteps(stage), ...factorSteps(stage), ...profileSteps(stage), ...signInSteps(stage), ...enrollSteps(stage), ...recoverySteps(stage), ...stateSteps(stage)]
}

function userSteps (stage: Stage): Step[] {
  const login = stage.fresh()
  const asked = stage.user()
  const question = stage.factor(asked, 'question')
  const renamed = stage.user()
  const newLogin = stage.fresh()
  const replaced = stage.user()
  return [
    manage('create user', 'POST', 'users?activate=false', { profile: { firstName: 'Grace', lastName: 'Hopper', email: login, login } }),
    manage('activate user', 'POST', `users/${stage.user('STAGED').id}/lifecycle/activate?sendEmail=false`),
    manage('get user', 'GET', `users/${stage.user().id}`),
    manage('suspend user', 'POST', `users/${stage.user().id}/lifecycle/suspend`),
    manage('unsuspend user', 'POST', `users/${stage.user('SUSPENDED').id}/lifecycle/unsuspend`),
    manage('unlock user', 'POST', `users/${stage.user('LOCKED_OUT').id}/lifecycle/unlock`),
    manage('verify answer', 'POST', `users/${asked.id}/factors/${question.id}/verify`, { answer: ANSWER }),
    manage('change user name', 'POST', `users/${renamed.id}`, { profile: { login: newLogin, email: newLogin } }),
    manage('set password', 'PUT', `users/${replaced.id}`, { credentials: { password: { value: 'Another-horse-2' } } }),
    manage('reset password', 'POST', `users/${stage.user().id}/lifecycle/reset_password?sendEmail=false`),
    manage('expire password', 'POST', `users/${stage.user().id}/lifecycle/expire_password?tempPassword=true`)
  ]
}

function factorSteps (stage: Stage): Step[] {
  const asked = stage.user()
  const question = stage.factor(asked, 'question')
  const phoned = stage.user()
  const phone = stage.factor(phoned, 'sms')
  return [
    manage('get security Qs', 'GET', `users/${asked.id}/factors/questions`),
    manage('get factors', 'GET', `users/${asked.id}/factors`),
    manage('get factors to enroll', 'GET', `users/${asked.id}/factors/catalog`),
    manage('enroll security question', 'POST', `users/${stage.user().id}/factors`, { factorType: 'question', provider: 'OKTA', profile: QUESTION }),
    manage('set security question', 'PUT', `users/${asked.id}/factors/${question.id}`, { profile: { question: 'first_award', answer: 'chess' } }),
    manage('set recovery question', 'POST', `users/${stage.user().id}`, { credentials: { recovery_question: { question: 'Who are you?', answer: 'Nobody' } } }),
    manage('reset factors', 'POST', `users/${stage.user().id}/lifecycle/reset_factors`),
    manage('reset factor', 'DELETE', `users/${phoned.id}/factors/${phone.id}`, undefined, 204)
  ]
}

function profileSteps (stage: Stage): Step[] {
  const change = { oldPassword: { value: PASSWORD }, newPassword: { value: 'Another-horse-2' } }
  return [
    manage('update profile', 'POST', `users/${stage.user().id}`, { profile: { department: 'Analytical engines' } }),
    manage('change password', 'POST', `users/${stage.user().id}/credentials/change_password`, change),
    manage('get user by loginId', 'GET', `users/${String(stage.user().profile['login'])}`),
    manage('add user to group', 'PUT', `groups/${stage.group()}/users/${stage.user().id}`, undefined, 204)
  ]
}

function recoveryCode (stage: Stage, name: string, act: 'verify' | 'resend'): Step {
  const passCode = '314159'
  const { stateToken } = stage.transaction('RECOVERY_CHALLENGE', stage.user(), { recoveryType: 'PASSWORD', recoveryFactor: 'SMS', passCode })
  return sign(name, `/recovery/factors/sms/${act}`, act === 'verify' ? { stateToken, passCode } : { stateToken })
}

function signInSteps (stage: Stage): Step[] {
  const username = (): unknown => stage.user().profile['login']
  return [
    { ...sign('create internal recovery token', '/recovery/password', { username: username() }), credential: 'authnToken' },
    sign('check password', '', { username: username(), password: PASSWORD }),
    recoveryCode(stage, 'resend recovery code', 'resend'),
    sign('get current status', '/', { stateToken: stage.transaction('PASSWORD_EXPIRED', stage.user()).stateToken }),
    sign('check password', '/', { username: username(), password: PASSWORD, options: { multiOptionalFactorEnroll: false, warnBeforePasswordExpired: false }, context: { deviceToken: 'demo-device' } }),
    challengeStep(stage, 'check answer', 'MFA_REQUIRED', '/verify', 'question', () => ({ answer: ANSWER })),
    challengeStep(stage, 'send pass code', 'MFA_REQUIRED', '/verify', 'sms', () => ({})),
    challengeStep(stage, 'resend pass code', 'MFA_CHALLENGE', '/verify/resend', 'sms', () => ({})),
    challengeStep(stage, 'check pass code', 'MFA_CHALLENGE', '/verify', 'sms', factor => ({ passCode: factor.passCode })),
    sign('change pass code', '/credentials/change_password', {
      stateToken: stage.transaction('PASSWORD_EXPIRED', stage.user('PASSWORD_EXPIRED')).stateToken, oldPassword: PASSWORD, newPassword: 'Another-horse-2'
    }),
    sign('reset password', '/credentials/reset_password', {
      stateToken: stage.transaction('PASSWORD_RESET', stage.user('RECOVERY'), { recoveryType: 'PASSWORD' }).stateToken, newPassword: 'Another-horse-2', revokeSessions: true
    })
  ]
}

function challengeStep (stage: Stage, name: string, status: TransactionStatus, path: string, type: FactorType, answer: (factor: Factor) => object): Step {
  const user = stage.user()
  const factor = stage.factor(user, type)
  const { stateToken } = stage.transaction(status, user, { factorId: factor.id })
  return sign(name, `/factors/${factor.id}${path}`, { stateToken, ...answer(factor) })
}

function enrollStep (stage: Stage, name: string, query: string, factorType: FactorType, profile?: object): Step {
  const { stateToken } = stage.transaction('MFA_ENROLL', stage.user())
  return sign(name, `/factors${query}`, { stateToken, factorType, provider: 'OKTA', profile })
}

function enrollSteps (stage: Stage): Step[] {
  const resent = stage.user()
  const sms = stage.factor(resent, 'sms', 'PENDING_ACTIVATION')
  const activated = stage.user()
  const otp = stage.factor(activated, 'token:software:totp', 'PENDING_ACTIVATION')
  const otpToken = stage.transaction('MFA_ENROLL_ACTIVATE', activated, { factorId: otp.id }).stateToken
  const resendBody = { stateToken: stage.transaction('MFA_ENROLL_ACTIVATE', resent, { factorId: sms.id }).stateToken, factorType: 'sms', provider: 'OKTA', profile: { phoneNumber: PHONE } }
  return [
    enrollStep(stage, 'enroll security Q', '', 'question', QUESTION),
    enrollStep(stage, 'enroll Oob', '?updatePhone=true', 'sms', { phoneNumber: PHONE }),
    sign('resend activation code', `/factors/${sms.id}/lifecycle/resend`, resendBody),
    enrollStep(stage, 'enroll Otp', '', 'token:software:totp'),
    sign('activate Otp', `/factors/${otp.id}/lifecycle/activate`, { stateToken: otpToken, passCode: totp(otp.sharedSecret ?? '', stage.now) })
  ]
}

function recoverySteps (stage: Stage): Step[] {
  const recoveryToken = stage.org.secret('')
  stage.org.recoveryTokens.set(recoveryToken, { userId: stage.user().id, expiresAt: stage.now + 3_600_000, recoveryType: 'PASSWORD' })
  const { stateToken } = stage.transaction('RECOVERY', stage.user(), { recoveryType: 'PASSWORD' })
  return [
    { ...sign('create recovery token', '/recovery/password', { username: stage.user().profile['login'] }), credential: 'authnToken' },
    sign('check recovery token', '/recovery/token', { recoveryToken }),
    sign('send recovery token', '/recovery/password', { username: stage.user().profile['login'], factorType: 'EMAIL' }),
    recoveryCode(stage, 'resend recovery code', 'resend'),
    recoveryCode(stage, 'check recovery code', 'verify'),
    sign('check recovery answer', '/recovery/answer', { stateToken, answer: ANSWER })
  ]
}

function stateSteps (stage: Stage): Step[] {
  const challenged = stage.user()
  const factor = stage.factor(challenged, 'sms')
  return [
    sign('skip', '/skip', { stateToken: stage.transaction('PASSWORD_WARN', stage.user()).stateToken }),
    sign('previous', '/previous', { stateToken: stage.transaction('MFA_CHALLENGE', challenged, { factorId: factor.id }).stateToken }),
    sign('cancel', '/cancel', { stateToken: stage.transaction('MFA_REQUIRED', challenged).stateToken })
  ]
}

/**
 * Forty calls that the list does not hold, each of which the org would answer well: what a gate has to refuse.
 * None of them takes away what a later one needs.
 */
export function outsideCalls (org: Org, now: number): Step[] {
  const stage = new Stage(org, now)
  return [...outsideUsers(stage), ...outsideGroups(stage), ...outsideAdministration(stage)]
}

function outsideUsers (stage: Stage): Step[] {
  const user = stage.user()
  const sms = stage.factor(user, 'sms')
  const login = stage.fresh()
  const gone = { ...manage('delete user', 'DELETE', `users/${stage.user().id}`), expected: 204 }
  return [
    gone,
    manage('list users', 'GET', 'users?limit=5'),
    manage('search users', 'GET', `users?search=${encodeURIComponent('status eq "ACTIVE"')}&limit=5`),
    manage('create and activate user', 'POST', 'users?activate=true', { profile: { firstName: 'Eve', lastName: 'Outside', email: login, login } }),
    manage('deactivate user', 'POST', `users/${stage.user().id}/lifecycle/deactivate`),
    manage('reactivate user', 'POST', `users/${stage.user('PROVISIONED').id}/lifecycle/reactivate`),
    manage('get client privileges setting', 'GET', 'org/settings/clientPrivilegesSetting'),
    manage('forgot password', 'POST', `users/${stage.user().id}/credentials/forgot_password?sendEmail=false`),
    manage('list a user\'s groups', 'GET', `users/${user.id}/groups`),
    manage('list a user\'s roles', 'GET', `users/${user.id}/roles`),
    manage('make a user super admin', 'POST', `users/${user.id}/roles`, { type: 'SUPER_ADMIN' }, 201),
    manage('end a user\'s sessions', 'DELETE', `users/${user.id}/sessions`, undefined, 204),
    manage('get factor', 'GET', `users/${user.id}/factors/${sms.id}`),
    sign('unlock by e-mail', '/recovery/unlock', { username: user.profile['login'], factorType: 'EMAIL' })
  ]
}

function outsideGroups (stage: Stage): Step[] {
  const group = stage.group()
  const rule = { type: 'group_rule', name: 'Everyone an engineer', conditions: { expression: { value: 'true', type: 'urn:okta:expression:1.0' } }, actions: { assignUserToGroups: { groupIds: [group] } } }
  return [
    manage('list groups', 'GET', 'groups'),
    manage('create group', 'POST', 'groups', { profile: { name: stage.fresh(), description: 'made by nobody' } }),
    manage('get group', 'GET', `groups/${group}`),
    manage('replace group', 'PUT', `groups/${group}`, { profile: { name: 'Engineers' } }),
    manage('list group members', 'GET', `groups/${group}/users?limit=5`),
    manage('remove user from group', 'DELETE', `groups/${group}/users/${stage.user().id}`, undefined, 204),
    manage('list group rules', 'GET', 'groups/rules'),
    manage('create group rule', 'POST', 'groups/rules', rule)
  ]
}

function outsideAdministration (stage: Stage): Step[] {
  const { org } = stage
  const first = (items: Map<string, unknown>): string => items.keys().next().value ?? 'none'
  const app = org.apps.size > 0 ? 200 : 404
  const zone = { type: 'IP', name: 'Anywhere', gateways: [{ type: 'CIDR', value: '0.0.0.0/0' }] }
  const token = org.apiTokens.size > 0 ? 200 : 404
  return [
    manage('list apps', 'GET', 'apps'),
    manage('create app', 'POST', 'apps', { name: 'bookmark', label: 'Bookmark', signOnMode: 'BOOKMARK', settings: { app: { requestIntegration: false, url: 'https://example.com' } } }),
    manage('get app', 'GET', `apps/${first(org.apps)}`, undefined, app),
    manage('list grants', 'GET', `apps/${first(org.apps)}/grants`, undefined, app),
    manage('grant a scope', 'POST', `apps/${first(org.apps)}/grants`, { issuer: org.origin, scopeId: 'okta.groups.read' }, app),
    manage('list API tokens', 'GET', 'api-tokens'),
    manage('get API token', 'GET', `api-tokens/${first(org.apiTokens)}`, undefined, token),
    manage('list zones', 'GET', 'zones'),
    manage('create zone', 'POST', 'zones', zone),
    manage('get zone', 'GET', `zones/${first(org.zones)}`),
    manage('list custom roles', 'GET', 'iam/roles'),
    manage('create custom role', 'POST', 'iam/roles', { label: stage.fresh(), description: 'all of it', permissions: ['okta.users.manage'] }),
    manage('list resource sets', 'GET', 'iam/resource-sets'),
    manage('list principal rate limits', 'GET', `principal-rate-limits?filter=${encodeURIComponent('principalType eq "SSWS_TOKEN"')}`),
    manage('read the System Log', 'GET', 'logs?limit=10'),
    manage('list identity providers', 'GET', 'idps'),
    manage('list event hooks', 'GET', 'eventHooks'),
    { ...manage('list roles of a client', 'GET', '', undefined, app), target: `/oauth2/v1/clients/${first(org.apps)}/roles` }
  ]
}
