/** Which origins are the org's, and what clients know it by. All as `URL.origin` writes them: lower case, no default port. */
export interface Origins {
  /** the org and its -admin twin */
  readonly orgOrigins: readonly string[]
  /** origin of publicUrl */
  readonly publicOrigin: string
}

/**
 * Domains under which Okta gives an org a second, `-admin` host. From Okta's own SDKs, which refuse such hosts as an
 * org URL (okta-commons-java, ConfigurationValidator).
 */
const OKTA_DOMAINS: ReadonlySet<string> = new Set([
  'okta.com', 'oktapreview.com', 'okta-emea.com', 'okta-gov.com', 'okta.mil', 'okta-miltest.com', 'trex-gov.com'
])

// Up to the authority's end. A backslash, user info or anything else odd stays in the host, which then equals no origin.
const ORIGIN = /^(https?):\/\/([^/?#]*)/i

/**
 * The origins of an org.
 *
 * @param extra further origins that are the org's, for upstreams that are no Okta domain
 * @throws TypeError when a URL is not one
 */
export function originsOf (orgUrl: string, publicUrl: string, extra: readonly string[] = []): Origins {
  const twin = adminTwin(orgUrl)
  const all = [orgUrl, ...twin === undefined ? [] : [twin], ...extra].map(url => new URL(url).origin)
  return { orgOrigins: [...new Set(all)], publicOrigin: new URL(publicUrl).origin }
}

/** The origin of an org's -admin host: `https://acme.okta.com` → `https://acme-admin.okta.com`; undefined for custom domains. */
export function adminTwin (orgUrl: string): string | undefined {
  const url = new URL(orgUrl)
  const dot = url.hostname.indexOf('.')
  const name = url.hostname.slice(0, dot)
  if (dot < 1 || name.endsWith('-admin') || !OKTA_DOMAINS.has(url.hostname.slice(dot + 1))) return undefined
  url.hostname = `${name}-admin${url.hostname.slice(dot)}`
  return url.origin
}

/** Length of the leading origin of a URL when it is one of the org's; undefined when it is not. */
export function orgOriginLength (url: string, origins: Origins): number | undefined {
  const parts = ORIGIN.exec(url)
  if (parts === null) return undefined
  const scheme = parts[1]!.toLowerCase()
  const defaultPort = scheme === 'https' ? ':443' : ':80'
  let host = parts[2]!.toLowerCase()
  if (host.endsWith(defaultPort)) host = host.slice(0, -defaultPort.length)
  return origins.orgOrigins.includes(`${scheme}://${host}`) ? parts[0].length : undefined
}

/**
 * Where a URL that is the org's only for a forgiving parser leads, on the gate's origin: `https:\\\\acme.okta.com/a`,
 * a tab in the scheme, user info, a dot after the host, another scheme or port. Read as browsers do (WHATWG URL);
 * undefined when it does not lead to the org's host.
 */
export function oddlyOrgs (url: string, origins: Origins): string | undefined {
  // What is relative for every parser needs no second look.
  if (!/[\\/:]/.test(url)) return undefined
  // `https:/host` is a path to who resolves it against a base, and a host to who does not.
  for (const base of [undefined, origins.publicOrigin]) {
    if (!URL.canParse(url, base)) continue
    const { hostname, origin, pathname, search, hash } = new URL(url, base)
    const host = hostname.endsWith('.') ? hostname.slice(0, -1) : hostname
    if (origin !== origins.publicOrigin && origins.orgOrigins.some(org => new URL(org).hostname === host)) return origins.publicOrigin + pathname + search + hash
  }
  return undefined
}
