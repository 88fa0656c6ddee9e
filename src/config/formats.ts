import { isIP } from 'node:net'
import { isCidrProblem, parseCidr } from '../domain/cidr.js'

/** What is wrong with a text, in words that never repeat it whole. */
export interface Complaint { readonly message: string, readonly hint?: string }

type Check = (text: string) => Complaint | undefined

const DAY_MS = 86_400_000
const PERCENT = /^(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,4})?%$/
const DAY = /^[0-9]{4}-[0-9]{2}-[0-9]{2}$/
const METHOD = '(?:GET|POST|PUT|PATCH|DELETE)'
const BUCKET_KEY = new RegExp(`^(?:\\*|(?:${METHOD}(?:,${METHOD})* )?/[^\\s?#]*)$`)
const HOSTNAME = /^(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*$/
const STORE_PATH = /^(?!\.{1,2}(?:\/|$))[^/\s]+(?:\/(?!\.{1,2}(?:\/|$))[^/\s]+)*$/
/** systemd sets it for units with LoadCredential= */
export const CREDENTIALS = '$CREDENTIALS_DIRECTORY/'

/** The formats of the schema: each names a check of one text. */
export const formats: ReadonlyMap<string, Check> = new Map<string, Check>([
  ['percent', text => percentOf(text) === undefined ? { message: 'must be a percentage above 0% and up to 100%', hint: 'write e.g. 50%' } : undefined],
  ['day', text => endOfDay(text) === undefined ? { message: 'must be a date', hint: 'write e.g. 2027-01-31; the day ends at 24:00 UTC' } : undefined],
  ['cidr', text => {
    const cidr = parseCidr(text)
    return isCidrProblem(cidr) ? { message: cidr.problem, hint: cidr.hint } : undefined
  }],
  ['host', text => isIP(text) !== 0 || HOSTNAME.test(text) ? undefined : { message: 'must be an IP address or a host name', hint: 'write e.g. 127.0.0.1, without a scheme or port' }],
  ['bucket-key', text => BUCKET_KEY.test(text) ? undefined : { message: "a key of limits.org is '[METHOD[,METHOD] ]/path' or '*'", hint: "write e.g. /api/v1/users or 'GET /api/v1/users/{id}'" }],
  ['file-path', text => checkPath(text, 'no variable is expanded in a path')],
  ['secret-path', text => text.startsWith(CREDENTIALS) && text.length > CREDENTIALS.length ? undefined : checkPath(text, 'only $CREDENTIALS_DIRECTORY/name is expanded in a path')],
  ['org', text => checkOrigin(text, 'https://acme.okta.com') ?? checkAdminHost(text)],
  ['store-origin', text => checkOrigin(text, 'https://vault.example.com:8200')],
  ['store-path', text => STORE_PATH.test(text) ? undefined : { message: 'must be a path: names with / between them', hint: 'write e.g. narrowgate/okta, without a slash at either end' }],
  ['egress-proxy', text => checkProxy(text)],
  ['collector', text => checkCollector(text)],
  ['issuer', text => checkIssuer(text)],
  ['public-origin', text => checkOrigin(text, 'https://okta-gate.example.com')]
])

/** `50%` → 0.5; undefined when it is no percentage in (0, 100]. */
export function percentOf (text: string): number | undefined {
  if (!PERCENT.test(text)) return undefined
  const value = Number(text.slice(0, -1))
  return value > 0 && value <= 100 ? value / 100 : undefined
}

/** Epoch milliseconds of 24:00 UTC of an ISO date; undefined when there is no such day. */
export function endOfDay (text: string): number | undefined {
  if (!DAY.test(text)) return undefined
  const start = Date.parse(`${text}T00:00:00Z`)
  if (Number.isNaN(start) || !new Date(start).toISOString().startsWith(text)) return undefined
  return start + DAY_MS
}

/** True for addresses that no other host can reach. */
export function isLoopback (host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '').toLowerCase()
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

function checkOrigin (text: string, example: string): Complaint | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return { message: 'must be an https origin', hint: `write e.g. ${example}` }
  if (url.username !== '' || url.password !== '') return { message: 'must not hold a user name or password', hint: `write ${url.origin}` }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) return { message: 'must be https: http is only for loopback addresses', hint: `write e.g. ${example}` }
  if (text !== url.origin) return { message: 'must be an origin only: lower case, no path, query, default port or trailing slash', hint: `write ${url.origin}` }
  return undefined
}

/** The way to the proxy may be plain: what goes through it is TLS with Okta. */
function checkProxy (text: string): Complaint | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return { message: 'must be the origin of an HTTP proxy', hint: 'write e.g. http://proxy.example.com:3128' }
  if (url.username !== '' || url.password !== '') return { message: 'must not hold a user name or password', hint: 'name the Proxy-Authorization header as authorization: { file: path }' }
  return text === url.origin ? undefined : { message: 'must be an origin only: lower case, no path, query, default port or trailing slash', hint: `write ${url.origin}` }
}

/** Where audit events go: a path is part of it, credentials are not. */
function checkCollector (text: string): Complaint | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return { message: 'must be an https URL', hint: 'write e.g. https://collector.example.com/v1/logs' }
  if (url.username !== '' || url.password !== '' || url.hash !== '') return { message: 'must not hold a user name, password or fragment' }
  return url.protocol === 'http:' && !isLoopback(url.hostname) ? { message: 'must be https: http is only for loopback addresses' } : undefined
}

/** An issuer is compared letter by letter (RFC 8414 section 2), so a path and a trailing slash may be right. */
function checkIssuer (text: string): Complaint | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) return { message: 'must be an https URL', hint: 'write e.g. https://gitlab.example.com' }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') return { message: 'must not hold a user name, password, query or fragment' }
  return url.protocol === 'http:' && !isLoopback(url.hostname) ? { message: 'must be https: http is only for loopback addresses' } : undefined
}

/** Okta's admin console has a host of its own; the API is at the org's. */
function checkAdminHost (text: string): Complaint | undefined {
  const admin = /^(https:\/\/[^./]+)-admin(\.(?:okta|oktapreview|okta-emea)\.com)$/.exec(text)
  return admin === null ? undefined : { message: 'is the address of the admin console', hint: `write ${admin[1]}${admin[2]}` }
}

function checkPath (text: string, variable: string): Complaint | undefined {
  if (text.trim() === '' || text.includes('\0')) return { message: 'must be a path' }
  return text.startsWith('$') ? { message: variable } : undefined
}
