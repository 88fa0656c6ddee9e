import type { Target } from '../domain/target.js'
import type { Resolution } from './catalog.js'

/** What the gate must not be made to touch. Ids are compared without regard to letter case. */
export interface GateSelf {
  /** client id of the gate's own service app */
  readonly clientId?: string
  /** further ids of the gate's own, lower case: its app, user, login, token */
  readonly ids?: ReadonlySet<string>
}

/**
 * Says why a call would touch the gate itself, whatever the policies say: `me` and `current` are the owner of the
 * gate's credential (`DELETE /api/v1/api-tokens/current` revokes it), and its own ids stand for itself.
 * `GET /api/v1/users/me` passes where operations.yaml declares it.
 *
 * @returns a reason for the audit log; undefined when the call is no concern of the gate's own
 */
export function touchesGate (target: Pick<Target, 'segments'>, resolution: Resolution, self: GateSelf): string | undefined {
  const clientId = self.clientId?.toLowerCase()
  for (const segment of target.segments) {
    const length = segment.length
    if (length !== 2 && length !== 7 && clientId === undefined && self.ids === undefined) continue
    const word = segment.toLowerCase()
    if (word === 'me' || word === 'current') {
      if (!isDeclaredMe(resolution, segment)) return `"${word}" in the path stands for the owner of the gate's own credential`
    } else if (word === clientId) {
      return 'the path names the gate\'s own service app'
    } else if (self.ids?.has(word) === true) {
      return 'the path names something of the gate\'s own'
    }
  }
  return undefined
}

function isDeclaredMe (resolution: Resolution, segment: string): boolean {
  if (resolution.kind !== 'operation') return false
  const { source, method, template } = resolution.operation
  return segment === 'me' && source === 'declared' && method === 'GET' && template === '/api/v1/users/me'
}
