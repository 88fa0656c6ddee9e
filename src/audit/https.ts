import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Agent } from 'undici'
import { originAndPath } from '../domain/origin-and-path.js'
import { SendFault, type Sender } from './deliver.js'
import type { MakePayload } from './payloads.js'

const compress = promisify(gzip)
const DEADLINE_MS = 15_000
/** Answers of collectors are small; of a longer one the start will do. */
const ANSWER_CHARACTERS = 65_536
/** What a collector answers to something that it will never take; 401 and 403 may be mended, so they are tried again. */
const PERMANENT: ReadonlySet<number> = new Set([400, 413, 414, 415, 422])

/**
 * Posts batches, gzipped, over a connection of its own. TLS is always verified.
 *
 * @param ca further trust anchors, PEM
 * @param refusesSome whether an answer of success says that some of the lines were not taken
 */
export function httpsSender (url: string, payload: MakePayload, ca?: string, refusesSome?: (answer: string) => boolean): Sender {
  const agent = new Agent({ connections: 1, pipelining: 1, connect: { ca, timeout: 5_000 }, headersTimeout: DEADLINE_MS, bodyTimeout: DEADLINE_MS })
  return {
    async send (lines) {
      const { body, headers } = payload(lines, Date.now())
      const { statusCode, body: answer } = await agent.request({
        ...originAndPath(url),
        method: 'POST',
        headers: { ...headers, 'content-encoding': 'gzip', 'user-agent': 'narrowgate' },
        body: await compress(body),
        signal: AbortSignal.timeout(DEADLINE_MS)
      })
      if (statusCode < 200 || statusCode >= 300) {
        await answer.dump()
        throw new SendFault(`HTTP ${statusCode}`, PERMANENT.has(statusCode))
      }
      // An answer that breaks off vouches for nothing: the lines are sent again.
      const said = await readStart(answer)
      if (refusesSome?.(said) === true) throw new SendFault(`HTTP ${statusCode}, a part was refused`, true)
    },
    close () { agent.destroy().catch(() => {}) }
  }
}

/** To its end, or as much as is of interest. Throws when it breaks off. */
async function readStart (answer: AsyncIterable<Buffer>): Promise<string> {
  let text = ''
  for await (const piece of answer) {
    text += piece.toString('latin1')
    if (text.length > ANSWER_CHARACTERS) break
  }
  return text
}
