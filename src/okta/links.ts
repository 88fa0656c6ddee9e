import { orgOriginLength, type Origins } from './origins.js'

export { rewriteHrefs } from './hrefs.js'
export { adminTwin, originsOf, type Origins } from './origins.js'

/** Scheme and authority of a target that is not relative. */
const ABSOLUTE = /^(?:https?:)?\/\/[^/?#]*/i
// RFC 8288 section 3, a link at a time: `<target>` and its parameters. No quoted text may hold a `<`: Python's requests
// splits a line at `, <` without looking at quotes.
const LINK = /[ \t]*<([^>]*)>((?:[ \t]*;[ \t]*[\w!#$%&'*+.^`|~-]+(?:[ \t]*=[ \t]*(?:"(?:[^"\\<]|\\[^<])*"|[^\s",;<>]*))?)*)[ \t]*(?:,|$)/y

/**
 * Rewrites the targets of one Link header line (RFC 8288) to the gate's origin: the org's, its -admin twin's and any
 * other host's. Clients follow Link with their key at hand (Node takes the URL as it stands), so none may lead
 * elsewhere, whatever parser a client has. Okta sends a line for each link and Go and Terraform parse by line, so lines
 * stay apart: this takes and gives one.
 *
 * @returns undefined for a line that is not well-formed or has a target that is no http URL and no plain relative one:
 *   it is dropped
 */
export function rewriteLinkHeader (value: string, origins: Origins): string | undefined {
  let out = ''
  for (let at = 0; at < value.length || at === 0;) {
    LINK.lastIndex = at
    const link = LINK.exec(value)
    if (link === null) return undefined
    const [whole, target = '', parameters] = link
    const url = rewriteTarget(target, origins)
    if (url === undefined) return undefined
    out += `${out === '' ? '' : ', '}<${url}>${parameters}`
    at += whole.length
  }
  return value.trimEnd().endsWith(',') ? undefined : out
}

function rewriteTarget (target: string, origins: Origins): string | undefined {
  const length = ABSOLUTE.exec(target)?.[0].length
  if (length === undefined) return isPlainRelative(target) ? target.replaceAll('<', '%3C') : undefined
  return origins.publicOrigin + target.slice(length).replaceAll('<', '%3C')
}

// Browsers drop tabs and newlines from URLs and read \ as /: `/\evil.example` is another host.
// What begins with a quote or bracket loses it in some parsers (requests), and begins with what stands behind it.
const ODD = /[^\x21-\x7e]|\\|^[^\w./?#~%-]/
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/

function isPlainRelative (url: string): boolean {
  return !ODD.test(url) && !url.startsWith('//') && !SCHEME.test(url)
}

/**
 * Rewrites a Location header.
 *
 * @returns the org's URLs on the gate's origin; relative references as they are; undefined for every other host
 * (`*.oktacdn.com` after an upload, `//host`): those are dropped, so that no client leaves the gate by a redirect
 */
export function rewriteLocation (value: string, origins: Origins): string | undefined {
  const length = orgOriginLength(value, origins)
  if (length !== undefined) return origins.publicOrigin + value.slice(length)
  return value !== '' && isPlainRelative(value) ? value : undefined
}
