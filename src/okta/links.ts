import { orgOriginLength, type Origins } from './origins.js'

export { rewriteHrefs } from './hrefs.js'
export { adminTwin, originsOf, type Origins } from './origins.js'

/** Scheme and authority of a target that is not relative. */
const ABSOLUTE = /^(?:https?:)?\/\/[^/?#]*/i

/**
 * Rewrites the targets of one Link header line (RFC 8288) to the gate's origin: the org's, its -admin twin's and any
 * other host's. Clients follow Link with their key at hand (Node takes the URL as it stands), so none may lead
 * elsewhere. Okta sends a line for each link and Go and Terraform parse by line, so lines stay apart: this takes and
 * gives one. Relative targets, quoted parameters and everything that is not well-formed stay as they are.
 */
export function rewriteLinkHeader (value: string, origins: Origins): string {
  let out = ''
  let copied = 0
  for (let i = 0; i < value.length; i++) {
    const character = value[i]
    if (character === '"') { i = endOfQuoted(value, i); continue }
    if (character !== '<') continue
    const end = value.indexOf('>', i)
    if (end < 0) break
    const url = value.slice(i + 1, end)
    const length = ABSOLUTE.exec(url)?.[0].length
    if (length !== undefined) {
      out += value.slice(copied, i + 1) + origins.publicOrigin
      copied = i + 1 + length
    }
    i = end
  }
  return out + value.slice(copied)
}

function endOfQuoted (value: string, start: number): number {
  for (let i = start + 1; i < value.length; i++) {
    if (value[i] === '\\') i++
    else if (value[i] === '"') return i
  }
  return value.length
}

// Browsers drop tabs and newlines from URLs and read \ as /: `/\evil.example` is another host.
const ODD = /[^\x21-\x7e]|\\/
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/

/**
 * Rewrites a Location header.
 *
 * @returns the org's URLs on the gate's origin; relative references as they are; undefined for every other host
 * (`*.oktacdn.com` after an upload, `//host`): those are dropped, so that no client leaves the gate by a redirect
 */
export function rewriteLocation (value: string, origins: Origins): string | undefined {
  const length = orgOriginLength(value, origins)
  if (length !== undefined) return origins.publicOrigin + value.slice(length)
  if (value === '' || ODD.test(value) || value.startsWith('//') || SCHEME.test(value)) return undefined
  return value
}
