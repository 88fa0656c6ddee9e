/** Where a client with a key pair of its own gets its access token: Okta's own path, so that SDKs find it. */
export const TOKEN_PATH = '/oauth2/v1/token'

/**
 * True when a text names the token endpoint: `publicUrl` decides, never the Host header. Tolerated are what SDKs make
 * of a base URL: an explicit default port, and a double slash after a base URL that ends in one. Dot segments are not.
 *
 * @param publicUrl origin without a trailing slash
 */
export function isTokenUrl (text: unknown, publicUrl: string): boolean {
  if (typeof text !== 'string') return false
  if (text === publicUrl + TOKEN_PATH) return true
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url !== undefined && url.username === '' && url.password === '' && !/[\\\s%?#]|\/\./.test(text) &&
    url.origin === publicUrl && (url.pathname === TOKEN_PATH || url.pathname === `/${TOKEN_PATH}`)
}

/**
 * True when `htu` of a proof names this request, query and fragment ignored (RFC 9449 section 4.3, step 9). Escapes
 * are compared decoded: Okta's Java SDK writes the decoded path (DPoPInterceptor.getUriWithoutQueryString), a `+` as
 * a space. The target's parser has refused every escape that could hide a separator.
 *
 * @param path of the request as received, without the query
 */
export function isRequestUrl (htu: unknown, publicUrl: string, path: string): boolean {
  if (typeof htu !== 'string' || htu.length > 8192) return false
  if (htu.length === publicUrl.length + path.length && htu.startsWith(publicUrl) && htu.endsWith(path)) return true
  const url = URL.canParse(htu) ? new URL(htu) : undefined
  if (url === undefined || url.origin !== publicUrl || url.username !== '' || url.password !== '') return false
  // The path as it was written: URL would resolve dot segments, which no request that got here has.
  const start = htu.indexOf('/', htu.indexOf('//') + 2)
  const written = start < 0 ? '/' : htu.slice(start).split(/[?#]/, 1)[0]!
  const plain = decoded(written)
  return plain !== undefined && plain === decoded(path)
}

function decoded (path: string): string | undefined {
  try {
    return decodeURIComponent(path.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
