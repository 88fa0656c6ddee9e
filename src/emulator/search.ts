import type { User } from './state.js'

const TERM = /^([\w.]+) (eq|sw) "([^"]*)"$/

/**
 * Compiles the part of Okta's `filter` and `search` that administrators use most: `name eq "value"` and
 * `name sw "value"`, joined by `and` or by `or`.
 *
 * @returns the test, or undefined when the criteria cannot be read
 */
export function compileSearch (criteria: string): ((user: User) => boolean) | undefined {
  const every = criteria.includes(' and ')
  const terms = criteria.trim().split(every ? ' and ' : ' or ').map(compileTerm)
  const tests = terms.filter(term => term !== undefined)
  if (tests.length !== terms.length) return undefined
  return user => every ? tests.every(test => test(user)) : tests.some(test => test(user))
}

function compileTerm (term: string): ((user: User) => boolean) | undefined {
  const [, path, operator, value] = TERM.exec(term.trim()) ?? []
  if (path === undefined || value === undefined) return undefined
  const wanted = value.toLowerCase()
  return user => {
    const found = valueAt(user, path)?.toLowerCase()
    return operator === 'eq' ? found === wanted : found?.startsWith(wanted) === true
  }
}

function valueAt (user: User, path: string): string | undefined {
  if (path === 'id') return user.id
  if (path === 'status') return user.status
  if (!path.startsWith('profile.')) return undefined
  const name = path.slice('profile.'.length)
  const value = Object.hasOwn(user.profile, name) ? user.profile[name] : undefined
  return typeof value === 'string' ? value : undefined
}
