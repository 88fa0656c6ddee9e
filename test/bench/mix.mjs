// The benchmark's requests: the paths of the 48 operations people ask for (test/cli/fixtures/operations.txt), with the
// bodies that such calls have, and a share of calls that a gate refuses.
import { readFileSync } from 'node:fs'

const LINE = /^- (.+?):? (GET|POST|PUT|DELETE): (\S+)/
const VALUES = { userId: n => `00u${String(n).padStart(17, '0')}`, loginId: () => 'ada@example.com', groupId: () => '00g00000000000000001', factorId: n => `uft${String(n).padStart(17, '0')}`, factorType: () => 'EMAIL' }
const profile = JSON.stringify({ profile: { firstName: 'Ada', lastName: 'Lovelace', mobilePhone: '555-0100', city: 'x'.repeat(400) } })
const answer = JSON.stringify({ stateToken: '007ucIX7PATyn94hsHfOLVaXAmOBkKHWnOOLG43bsb', passCode: '123456' })

const lines = readFileSync(new URL('../cli/fixtures/operations.txt', import.meta.url), 'utf8').trim().split('\n').map(line => LINE.exec(line))

/** One entry a request line, called in turn: `path` is called; `template` is what the policy allows, with the `values` of its parameters. */
export const targets = lines.map(([, , method, target], i) => {
  const [written, query] = target.replace('?tempPassword=true', '').split('?')
  // Five lines are not Okta's own operations, these are what it offers instead.
  const template = i === 0 ? '/api/v1/users' : i === 15 ? '/api/v1/users/{userId}/factors/{factorId}/resend' : written.replace('/users/credentials', '/users/{userId}/credentials')
  const known = method === 'PUT' && /\/(?:reset_password|resend)$/.test(template) ? 'POST' : method
  const path = template.replace(/\{(\w+)\}/g, (_, name) => VALUES[name](i)) + (query === undefined ? '' : `?${query}`)
  const body = known === 'GET' || known === 'DELETE' ? undefined : template.startsWith('/api/v1/authn') ? answer : template.includes('/lifecycle/') || template.startsWith('/api/v1/groups') ? '' : profile
  const values = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => [name === 'loginId' ? 'userId' : name, VALUES[name](i)])
  return { method: known, template: template.replace('{loginId}', '{userId}'), values, path, body, status: 200 }
})

/** Two of fifty calls that no rule allows; who enforces nothing sends them on. */
export const refused = [
  { method: 'DELETE', path: '/api/v1/users/00u00000000000000001', status: 403 },
  { method: 'GET', path: '/api/v1/apps?limit=200', status: 403 }
]
