import type { FuzzTarget } from '../target.js'
import { answer } from './answer.js'
import { auditLine, chainFile } from './audit.js'
import { authorization, certificate } from './authorization.js'
import { bodyConditions } from './body-conditions.js'
import { config, policy } from './files.js'
import { headers } from './headers.js'
import { json, mediaType } from './json.js'
import { hrefs, link, location } from './links.js'
import { requestTarget } from './request-target.js'
import { tokenTargets } from './tokens.js'

/** Every pure parser that reads what others wrote. */
export async function allTargets (): Promise<readonly FuzzTarget[]> {
  return [requestTarget, headers, json, mediaType, bodyConditions, link, location, hrefs, answer, authorization, certificate, ...await tokenTargets(), policy, config, auditLine, chainFile]
}
