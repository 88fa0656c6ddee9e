import { ambiguousTargets } from '../targets.js'
import { http, target, USER, type Vector } from './vector.js'

const USERS = '/api/v1/users'
/** One character in several escapes, put where a separator would split a segment. */
const between = (escape: string): readonly Vector[] => [target(`${USER}${escape}groups`), target(`${USER}${escape}lifecycle${escape}deactivate`)]

/** Escapes: separators, dots, controls, second spellings, double and broken ones, overlong and broken UTF-8, raw bytes. */
export const encoding: readonly Vector[] = [
  { name: 'a needed escape', bytes: http(`GET ${USERS}/a%20b`), arrives: [`GET ${USERS}/a%20b`], answers: [200] },
  { name: 'an @ as it is', bytes: http(`GET ${USERS}/a@b.example`), arrives: [`GET ${USERS}/a@b.example`], answers: [200] },
  ...ambiguousTargets.filter(({ raw }) => raw.includes('%') && !raw.includes('?x=')).map(({ raw }) => target(raw)),
  ...['%2f', '%2F', '%5c', '%5C', '%3b', '%3B', '%3f', '%3F', '%23', '%00', '%0a', '%0d%0a', '%252f', '%255c', '%c0%af', '%c1%9c', '%e0%80%af', '%ef%bc%8f', '%u2215', '%25252f'].flatMap(between),
  ...[
    `${USERS}/%2e%2e/groups`, `${USER}/%2e%2e%2f%2e%2e%2fgroups`, `${USER}/.%2e/00u2`, `${USERS}/%252e%252e/groups`, `${USERS}/%c0%ae%c0%ae/groups`, `${USER}/%2e`, `${USERS}/%e2%80%a4%e2%80%a4/groups`,
    '/api/v1/%55sers', '/api/v1/users/%6De', '/api/v1/users/m%65', '/%2561pi/v1/users', '/api%2fv1%2fusers', '%2fapi%2fv1%2fusers', '/api/v1/users%20', '/api/v1/users%09', '/api/v1/users%0a', `${USER}%20/groups`, `${USER}/groups%00`, `${USER}/groups%00.json`,
    `${USERS}/%f5%80%80%80`, `${USERS}/%c3`, `${USERS}/%c3%28`, `${USERS}/%80`, `${USERS}/%fe%ff`, `${USERS}/%g0`, `${USERS}/%0`, `${USERS}/100%`, `${USERS}/%%32%65`
  ].map(target),
  ...['\x00', '\x01', '\x09', '\x0b', '\x0c', '\x1b', '\x7f', '\x80', '\xa0', '\xe9', '\xff', '\xc0\xaf', '\xef\xbc\x8f'].map(raw => ({ name: `raw ${Buffer.from(raw, 'latin1').toString('hex')} in a segment`, bytes: http(`GET ${USER}${raw}groups`) })),
  ...['<', '>', '"', '`', '{', '}', '|', '^'].map(raw => target(`${USER}${raw}`))
]
