/** A URL as a connection pool is asked for it. */
export function originAndPath (url: string): { origin: string, path: string } {
  const { origin, pathname, search } = new URL(url)
  return { origin, path: pathname + search }
}
