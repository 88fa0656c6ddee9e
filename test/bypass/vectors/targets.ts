import { ambiguousTargets } from '../targets.js'
import { http, target, USER, type Vector } from './vector.js'

const USERS = '/api/v1/users'

/** Dot segments, slashes, other forms of a target, letter case, words that name the caller, children of what is allowed. */
export const targets: readonly Vector[] = [
  { name: 'an allowed list', bytes: http(`GET ${USERS}`), arrives: [`GET ${USERS}`], answers: [200] },
  { name: 'an allowed user', bytes: http(`GET ${USER}`), arrives: [`GET ${USER}`], answers: [200] },
  { name: 'an allowed child', bytes: http(`GET ${USER}/groups`), arrives: [`GET ${USER}/groups`], answers: [200] },
  ...ambiguousTargets.filter(({ raw }) => !raw.includes('%') && !raw.includes('?x=')).map(({ raw }) => target(raw)),
  ...[
    // a child of what is allowed
    `${USER}/lifecycle/deactivate`, `${USER}/factors`, `${USER}/roles`, `${USER}/credentials/change_password`, `${USER}/sessions`, `${USER}/clients`, `${USER}/groups/x`, '/api/v1/groups', '/api/v1/apps', '/api/v1/logs', '/api/v1/users-extra', '/api/v1/usersx/1',
    // dots that some server trims
    `${USER}/groups/..`, `${USER}/groups/../factors`, `${USER}/groups/./`, '/api/v1/users/..;/groups', '/api/v1/./users', '/api/../api/v1/users', '/api/v1/users/.../', '/api../v1/users', '/api/v1../users', `${USER}/..\\groups`, '/..', '/.',
    // slashes
    '///api/v1/users', `${USER}//groups`, `${USER}/groups/`, `${USER}/groups//`, '/\\api/v1/users', '/api/v1\\users', '/api\\v1/users', '\\api\\v1\\users', '//evil.example/api/v1/users', '/\\evil.example/', '//evil.example:80/..//',
    // other forms
    'http://gate/api/v1/users', 'http:/api/v1/users', 'http:api/v1/users', 'https://gate@evil.example/api/v1/users', 'file:///api/v1/users', 'HTTP://gate/api/v1/users', 'gate:80', '.', '..', './api/v1/users', '../api/v1/users',
    // fragments
    `${USER}#`, `${USER}#/lifecycle/deactivate`, `${USERS}#?search=x`, '/#/api/v1/users',
    // letter case and spellings of one path
    `${USER}/Groups`, `${USER}/GROUPS`, '/Api/v1/users', '/api/v01/users', '/api/v1.0/users', '/api/v1/user', `${USERS}/me/groups`, `${USERS}/Me/groups`, `${USERS}/ME/groups`,
    // over 4 kB
    `${USERS}/${'a'.repeat(4100)}`
  ].map(target)
]
