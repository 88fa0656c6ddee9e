import { invalid, queryOf, type OrgCall } from './call.js'
import { failure, text, type Answer } from './answers.js'

/** How many items a page has. */
export interface PageSize {
  readonly standard: number
  readonly max: number
}

/**
 * A page of a list, with its `Link` header lines: one line per relation, absolute URLs of the org,
 * `next` only while more is left (facts.md, "Response headers").
 *
 * @param items all items that match, in their order
 * @param serialise an item as JSON text
 */
export function answerPage<T extends { readonly id: string }> (
  call: OrgCall, items: Iterable<T>, size: PageSize, serialise: (item: T) => string
): Answer {
  const limit = limitOf(call, size)
  if (limit === undefined) return invalid('limit', 'limit must be a positive integer')
  const after = queryOf(call, 'after')
  const page: string[] = []
  let last = ''
  let started = after === undefined
  let more = false
  for (const item of items) {
    if (!started) { started = item.id === after; continue }
    if (page.length === limit) { more = true; break }
    page.push(serialise(item))
    last = item.id
  }
  if (!started) return failure('E0000029', { causes: ['Invalid cursor.'] })
  return text(`[${page.join(',')}]`, 200, linkLines(call, more ? last : undefined, limit))
}

function limitOf (call: OrgCall, size: PageSize): number | undefined {
  const written = queryOf(call, 'limit')
  if (written === undefined) return size.standard
  return /^[1-9][0-9]{0,8}$/.test(written) ? Math.min(Number(written), size.max) : undefined
}

function linkLines (call: OrgCall, next: string | undefined, limit: number): string[] {
  const { org, target } = call
  const lines = ['Link', `<${org.origin}${target.raw}>; rel="self"`]
  if (next === undefined) return lines
  const query = new URLSearchParams()
  query.append('after', next)
  query.append('limit', String(limit))
  for (const { name, value } of target.query) if (name !== 'after' && name !== 'limit') query.append(name, value)
  lines.push('Link', `<${org.origin}${target.path}?${query.toString()}>; rel="next"`)
  return lines
}
