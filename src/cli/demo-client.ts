import { Agent, request } from 'node:http'

/** What the gate answered. */
export interface Answer {
  /** 0: no answer */
  readonly status: number
  readonly retryAfter?: string
  /** why it was refused, in the refusal's own words */
  readonly cause?: string
}

/** One request as it goes on the wire. */
export interface DemoRequest {
  readonly method: string
  /** sent as it stands */
  readonly target: string
  /** JSON; absent: no body */
  readonly body?: unknown
  /** of the client; absent: no Authorization header */
  readonly key?: string
}

/** A plain HTTP client: fetch() would tidy up the targets that the demo wants to send. */
export class DemoClient {
  readonly #agent = new Agent({ keepAlive: true })
  readonly #gate: URL

  constructor (gateUrl: string) {
    this.#gate = new URL(gateUrl)
  }

  send ({ method, target, body, key }: DemoRequest): Promise<Answer> {
    const text = body === undefined ? undefined : JSON.stringify(body)
    const headers: Record<string, string> = { accept: 'application/json', 'user-agent': 'narrowgate-demo' }
    if (key !== undefined) headers['authorization'] = `SSWS ${key}`
    if (text !== undefined) headers['content-type'] = 'application/json'
    return new Promise(resolve => {
      const outgoing = request({ agent: this.#agent, host: this.#gate.hostname, port: this.#gate.port, method, path: target, headers }, response => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => { chunks.push(chunk) })
        response.once('end', () => { resolve({ status: response.statusCode ?? 0, retryAfter: response.headers['retry-after'], cause: causeOf(Buffer.concat(chunks)) }) })
        response.once('error', () => { resolve({ status: 0, cause: 'the answer was cut off' }) })
      })
      outgoing.once('error', error => { resolve({ status: 0, cause: error.message }) })
      outgoing.end(text)
    })
  }

  close (): void {
    this.#agent.destroy()
  }
}

/** Okta's error JSON: the last cause is the most precise; without causes, the summary. */
function causeOf (body: Buffer): string | undefined {
  try {
    const { errorSummary, errorCauses } = JSON.parse(body.toString('utf8')) as { errorSummary?: string, errorCauses?: ReadonlyArray<{ errorSummary: string }> }
    const cause = errorCauses?.at(-1)?.errorSummary ?? errorSummary
    return cause?.replace(/^client "[^"]*", operation .*?\): /, '')
  } catch {
    return undefined
  }
}
