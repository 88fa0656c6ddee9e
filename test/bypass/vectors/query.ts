import { ambiguousTargets } from '../targets.js'
import { http, target, USER, type Vector } from './vector.js'

const USERS = '/api/v1/users'
const passes = (raw: string): Vector => ({ name: `GET ${raw}`, bytes: http(`GET ${raw}`), arrives: [`GET ${raw}`], answers: [200] })

/** Only `limit` and `q` are allowed, on the list alone: repeated, hidden, differently split and differently spelled names. */
export const query: readonly Vector[] = [
  passes(`${USERS}?limit=5`), passes(`${USERS}?q=a%20b&limit=5`), passes(`${USERS}?q=a+b`), passes(`${USERS}?q=`), passes(`${USERS}?limit=5&q=%26search%3Dx`),
  ...ambiguousTargets.filter(({ raw }) => raw.includes('?x=')).map(({ raw }) => target(raw)),
  ...[
    `${USERS}?search=x`, `${USERS}?limit=5&search=x`, `${USERS}?limit=5;search=x`, `${USERS}?limit=5%3Bsearch=x;`, `${USERS}?q=1&q=2`, `${USERS}?limit=1&limit=200`, `${USERS}?%6cimit=1&limit=2`, `${USERS}?limit[]=1`, `${USERS}?limit[0]=1`, `${USERS}?q[a]=1`, `${USERS}?LIMIT=5`, `${USERS}?Search=x`,
    `${USERS}?sear%63h=x`, `${USERS}?%73earch=x`, `${USERS}?+search=x`, `${USERS}?search+=x`, `${USERS}?search%00=x`, `${USERS}?limit=5&&search=x`, `${USERS}?&search=x`, `${USERS}?=x`, `${USERS}?search`, `${USERS}?limit=5&search`, `${USERS}?q=1&search=%`, `${USERS}?q=%c0%af`, `${USERS}?q=%0d%0aX:1`, `${USERS}?q=%00`,
    `${USERS}?q=a?search=x&filter=y`, `${USERS}?limit=5#&search=x`, `${USERS}%3Fsearch=x`, `${USERS}?limit=5&amp;search=x`, `${USERS}?__proto__=x`, `${USERS}?constructor=x`, `${USERS}?after=x`, `${USERS}?q=\\`, `${USERS}?q=a|b`,
    // the client's own key, where it would go on to Okta
    `${USERS}?q={key}`, `${USERS}?q=a%20{key}`, `${USERS}/{key}`, `${USERS}/{key}/groups`,
    `${USER}?activate=true`, `${USER}?x=1`, `${USER}/groups?limit=1`, `${USER}?_method=DELETE`
  ].map(target)
]
