import type { FuzzTarget } from './target.js'

interface Recorded {
  readonly request: { readonly method: string, readonly path: string, readonly query: string | null, readonly headers: readonly (readonly [string, string])[], readonly body: string | null, readonly enc: string }
  readonly response: { readonly headers: readonly (readonly [string, string])[], readonly body: string | null }
}

/** A recorded exchange as an input of a target; undefined: nothing of it is. */
const INPUTS: Readonly<Record<string, (row: Recorded) => readonly (string | null | undefined)[]>> = {
  target: ({ request }) => [request.path + (request.query === null ? '' : `?${request.query}`)],
  headers: ({ request }) => [[request.method, ...request.headers.map(([name, value]) => `${name}\x01${value}`)].join('\x02')],
  json: ({ request }) => [request.enc === 'utf8' && request.body !== null ? Buffer.from(request.body).toString('latin1') : undefined],
  answer: ({ response }) => [response.headers.map(([name, value]) => `${name}\x01${value}`).join('\x02')],
  link: ({ response }) => response.headers.filter(([name]) => name.toLowerCase() === 'link').map(([, value]) => value),
  hrefs: ({ response }) => [typeof response.body === 'string' && response.body.includes('_links') ? Buffer.from(response.body).toString('latin1') : undefined]
}

/** A mutator that copies ever larger inputs does little else. */
const LONGEST = 8192

/** The target with recorded requests and answers among the inputs that its mutator starts from. They are read, never kept. */
export function withRecorded (target: FuzzTarget, rows: readonly string[]): FuzzTarget {
  const read = INPUTS[target.name]
  if (read === undefined) return target
  const inputs = new Set<string>()
  for (const row of rows) for (const input of read(JSON.parse(row) as Recorded)) if (typeof input === 'string' && input.length <= LONGEST) inputs.add(input)
  return { ...target, corpus: [...target.corpus, ...inputs] }
}
