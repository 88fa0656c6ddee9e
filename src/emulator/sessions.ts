import { failure, json, noContent, type Answer } from './answers.js'
import { bodyOf, notFound, parameterOf, textOf, type OrgCall, type Routes } from './call.js'
import { isoTime, type Document } from './state.js'

const LIFETIME = 2 * 3_600_000

/** A session token buys one session; a second try is 401 E0000004, as recorded. */
function createSession (call: OrgCall): Answer {
  const token = textOf(bodyOf(call)['sessionToken']) ?? ''
  const user = call.org.users.get(call.org.sessionTokens.get(token) ?? '')
  if (user === undefined) return failure('E0000004')
  call.org.sessionTokens.delete(token)
  const session = {
    id: call.org.identify('102'), userId: user.id, login: user.profile['login'], createdAt: isoTime(call.now), expiresAt: isoTime(call.now + LIFETIME), status: 'ACTIVE', amr: ['pwd']
  }
  call.org.sessions.set(session.id, session)
  return json(session)
}

function withSession (call: OrgCall, act: (session: Document) => Answer): Answer {
  const id = parameterOf(call, 0)
  const session = call.org.sessions.get(id)
  return session === undefined ? notFound(id, 'Session') : act(session)
}

function refresh (call: OrgCall): Answer {
  return withSession(call, session => {
    session['expiresAt'] = isoTime(call.now + LIFETIME)
    // Recorded: a refresh comes back with a live sid.
    return json(session, 200, ['Set-Cookie', `sid=${session.id}; Path=/; Secure; HttpOnly`])
  })
}

/** Sessions of users. */
export const sessionRoutes: Routes = {
  'POST /api/v1/sessions': createSession,
  'GET /api/v1/sessions/{sessionId}': call => withSession(call, session => json(session)),
  'DELETE /api/v1/sessions/{sessionId}': call => withSession(call, session => {
    call.org.sessions.delete(session.id)
    return noContent()
  }),
  'POST /api/v1/sessions/{sessionId}/lifecycle/refresh': refresh
}
