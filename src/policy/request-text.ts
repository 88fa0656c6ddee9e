import type { QueryParameter } from '../domain/target.js'

/** `METHOD /path?query`, with the query encoded as a client would send it. */
export function requestText (method: string, path: string, query: readonly QueryParameter[]): string {
  const text = query.map(({ name, value, ambiguous }) => `${encodeURIComponent(name)}=${ambiguous ? value : encodeURIComponent(value)}`).join('&')
  return `${method} ${path}${text === '' ? '' : `?${text}`}`
}
