// A realistic mix over paths of the operation list: reads, bodyless posts and posts with a body.
const id = n => `00u${String(n).padStart(17, '0')}`

const profile = JSON.stringify({ profile: { firstName: 'Ada', lastName: 'Lovelace', mobilePhone: '555-0100', city: 'x'.repeat(400) } })

/** One entry a request line, called in turn: `path` is called, `template` is what the policy allows. */
export const targets = [
  { method: 'GET', template: '/api/v1/users/{userId}', path: `/api/v1/users/${id(1)}` },
  { method: 'GET', template: '/api/v1/users/{userId}/factors', path: `/api/v1/users/${id(2)}/factors` },
  { method: 'GET', template: '/api/v1/users/{userId}/factors/questions', path: `/api/v1/users/${id(3)}/factors/questions` },
  { method: 'GET', template: '/api/v1/users', path: '/api/v1/users?limit=25&after=000u1abcdefghijklmnop' },
  { method: 'GET', template: '/api/v1/groups/{groupId}/users', path: '/api/v1/groups/00g00000000000000001/users?limit=200' },
  { method: 'GET', template: '/api/v1/groups', path: '/api/v1/groups?q=eng' },
  { method: 'POST', template: '/api/v1/users/{userId}', path: `/api/v1/users/${id(4)}`, body: profile },
  { method: 'POST', template: '/api/v1/users/{userId}/lifecycle/suspend', path: `/api/v1/users/${id(5)}/lifecycle/suspend`, body: '' },
  { method: 'PUT', template: '/api/v1/groups/{groupId}/users/{userId}', path: `/api/v1/groups/00g00000000000000001/users/${id(6)}`, body: '' },
  { method: 'GET', template: '/api/v1/users/{userId}/groups', path: `/api/v1/users/${id(7)}/groups` }
]
