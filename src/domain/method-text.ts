/** Methods as literals, whose texts V8 keeps with one byte a character. */
const LITERALS: ReadonlyMap<string, string> = new Map(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT'].map(method => [method, method]))

/**
 * The same text in another form. node:http hands out one text for each method, which V8 turns into a reference to
 * another text as soon as it was somebody's key; what such a one is added to takes two bytes a character (V8 11), an
 * audit line of 2 kB as well.
 */
export function methodText (method: string | undefined): string {
  return method === undefined ? '' : LITERALS.get(method) ?? method
}
