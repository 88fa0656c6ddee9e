/** A target that could be read in two ways, and the stage that refuses it. */
export interface AmbiguousTarget {
  readonly raw: string
  readonly refusedBy: 'target' | 'catalogue'
}

const base = '/api/v1/users'
const wrong = [
  // empty and dot segments
  '//api/v1/users', '/api//v1/users', '/api/v1//users', `${base}//`, `${base}/`, `${base}//00u1`, `${base}/00u1/`,
  `${base}/.`, `${base}/..`, `${base}/../groups`, `${base}/./00u1`, `${base}/00u1/..`, `${base}/00u1/../00u2`, '/./api/v1/users', '/../api/v1/users',
  `${base}/%2e`, `${base}/%2E`, `${base}/%2e%2e`, `${base}/%2E%2e/groups`, `${base}/.%2e`, `${base}/%2e.`, `${base}/%2e%2e%2fgroups`,
  // encoded separators
  `${base}/%2f`, `${base}/%2F`, `${base}/00u1%2flifecycle%2fdeactivate`, `${base}%2f00u1`, `${base}/a%2Fb`, `${base}/%5c`, `${base}/a%5Cb`, `${base}/..%5c..`,
  `${base}/00u1\\lifecycle\\deactivate`, `${base}\\00u1`, `${base}/..\\..\\groups`, `${base}/a%5c..%5cb`,
  // matrix parameters
  `${base};x=1`, `${base}/00u1;x=1`, `${base}/;`, `${base}/00u1%3bx`, `${base}/00u1%3Bx=1/lifecycle/deactivate`, '/api;/v1/users',
  // question mark and fragment
  `${base}/00u1%3Fx`, `${base}/00u1%3factivate=true`, `${base}/00u1#x`, `${base}/00u1%23x`, `${base}#`,
  // double encoding and bad encoding
  `${base}/%252e%252e`, `${base}/%252f`, `${base}/%25`, `${base}/%`, `${base}/%2`, `${base}/%zz`, `${base}/%u002f`, `${base}/a%`, `${base}?x=%`, `${base}?x=%zz`,
  // control characters, NUL, non-ASCII, overlong UTF-8
  `${base}/%00`, `${base}/a%00b`, `${base}/a%0ab`, `${base}/a%0d%0aX:y`, `${base}/%7f`, `${base}/%c0%ae%c0%ae`, `${base}/%c0%af`, `${base}/%e0%80%af`, `${base}/%f0%80%80%af`,
  `${base}/%ff`, `${base}/%ed%a0%80`, `${base}/%ef%bc%8f`, `${base}/%e2%80%ae`, `${base}?x=%00`, `${base}?x=%c0%af`, `${base}?x=%0d%0a`,
  // needless escapes: a second spelling of the same path
  '/%61pi/v1/users', '/api/v1/%75sers', `${base}/%6d%65`, `${base}/%30%30u1`, '/api/%76%31/users', `${base}/00u1%2dx`, `${base}/00u1%5F`,
  // characters that URL parsers re-encode
  `${base}/<x>`, `${base}/"x"`, `${base}/{id}`, `${base}/a|b`, `${base}/a^b`, `${base}/a\`b`, `${base}/%7b`, `${base}/%3cx%3e`, `${base}?x=a|b`, `${base}?x="`,
  // not in origin form
  'http://acme.okta.com/api/v1/users', 'https://127.0.0.1/api/v1/users', 'HTTP://evil.example/', '*', 'api/v1/users', '?x=1', '@evil.example/api/v1/users'
]

const unknown = [
  // words that name the caller, and literals that stand beside a parameter
  `${base}/me`, `${base}/ME`, `${base}/Me`, `${base}/me/factors`, `${base}/current`, `${base}/me/lifecycle/deactivate`, '/api/v1/api-tokens/current', '/api/v1/api-tokens/CURRENT',
  '/api/v1/groups/rules/me', `${base}/00u1/factors/questions/verify`, `${base}/00u1/factors/catalog/verify`, `${base}/00u1/factors/CATALOG`,
  // letter case and file-like endings
  '/API/v1/users', '/api/V1/users', '/api/v1/Users', '/api/v1/USERS/00u1', '/api/v1/users.json', '/api/v1/users;', '/api/v2/users', '/api', '/api/v1', '/', '/api/v1/usersx', '/api/v1/users/00u1/lifecycle/DEACTIVATE'
]

/**
 * Targets after security.md's classes (dot segments, encoded slashes, matrix parameters, double encoding, NUL,
 * overlong UTF-8, letter case, absolute form, swallowed literals). None may reach the upstream, whatever the policy.
 */
export const ambiguousTargets: readonly AmbiguousTarget[] = [
  ...wrong.map(raw => ({ raw, refusedBy: 'target' as const })),
  ...unknown.filter(raw => !raw.includes(';')).map(raw => ({ raw, refusedBy: 'catalogue' as const }))
]
