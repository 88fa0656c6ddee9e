import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Agent, request } from 'undici'
import { SendFault, type Sender } from './deliver.js'
import type { MakePayload } from './payloads.js'

const compress = promisify(gzip)
const DEADLINE_MS = 15_000
/** What a collector answers to something that it will never take; 401 and 403 may be mended, so they are tried again. */
const PERMANENT: ReadonlySet<number> = new Set([400, 413, 414, 415, 422])

/**
 * Posts batches, gzipped, over a connection of its own. TLS is always verified.
 *
 * @param ca further trust anchors, PEM
 */
export function httpsSender (url: string, payload: MakePayload, ca?: string): Sender {
  const agent = new Agent({ connections: 1, pipelining: 1, connect: { ca, timeout: 5_000 }, headersTimeout: DEADLINE_MS, bodyTimeout: DEADLINE_MS })
  return {
    async send (lines) {
      const { body, headers } = payload(lines, Date.now())
      const { statusCode, body: answer } = await request(url, {
        dispatcher: agent,
        method: 'POST',
        headers: { ...headers, 'content-encoding': 'gzip', 'user-agent': 'narrowgate' },
        body: await compress(body),
        signal: AbortSignal.timeout(DEADLINE_MS)
      })
      await answer.dump()
      if (statusCode >= 200 && statusCode < 300) return
      throw new SendFault(`HTTP ${statusCode}`, PERMANENT.has(statusCode))
    },
    close () { agent.destroy().catch(() => {}) }
  }
}
