import { failure, json, noContent, text, type Answer } from './answers.js'
import { bodyOf, invalid, notFound, objectOf, parameterOf, queryOf, textOf, type OrgCall, type Routes } from './call.js'
import { answerPage } from './pages.js'
import { isoTime, type Document, type Group, type Org } from './state.js'
import { findUser, userJson } from './users.js'

// Spec: listGroups up to 10,000 a page, listGroupUsers 1,000, listGroupRules 50 by default.
const GROUPS = { standard: 10_000, max: 10_000 }
const MEMBERS = { standard: 1000, max: 1000 }
const RULES = { standard: 50, max: 200 }

/** Puts a group into the org. */
export function addGroup (org: Org, name: string, now: number, type: Group['type'] = 'OKTA_GROUP', description: string | null = null): Group {
  const time = isoTime(now)
  const group: Group = {
    id: org.identify('00g'), created: time, lastUpdated: time, lastMembershipUpdated: time, type, profile: { name, description }, members: new Set()
  }
  org.groups.set(group.id, group)
  return group
}

/** A group as JSON text. */
export function groupJson (org: Org, id: string): string {
  const group = org.groups.get(id)
  if (group === undefined) return 'null'
  const self = `${org.origin}/api/v1/groups/${id}`
  return JSON.stringify({
    id,
    created: group.created,
    lastUpdated: group.lastUpdated,
    lastMembershipUpdated: group.lastMembershipUpdated,
    objectClass: ['okta:user_group'],
    type: group.type,
    profile: group.profile,
    _links: { users: { href: `${self}/users` }, apps: { href: `${self}/apps` } }
  })
}

function withGroup (call: OrgCall, act: (group: Group) => Answer): Answer {
  const id = parameterOf(call, 0)
  const group = call.org.groups.get(id)
  return group === undefined ? notFound(id, 'UserGroup') : act(group)
}

function listGroups (call: OrgCall): Answer {
  const start = queryOf(call, 'q')?.toLowerCase() ?? ''
  const found = [...call.org.groups.values()].filter(group => group.profile.name.toLowerCase().startsWith(start))
  return answerPage(call, found, GROUPS, group => groupJson(call.org, group.id))
}

function readProfile (call: OrgCall): Group['profile'] | undefined {
  const profile = objectOf(bodyOf(call)['profile'])
  const name = textOf(profile['name'])
  return name === undefined ? undefined : { name, description: textOf(profile['description']) ?? null }
}

function createGroup (call: OrgCall): Answer {
  const profile = readProfile(call)
  if (profile === undefined) return invalid('name', 'name: The field cannot be left blank')
  const { id } = addGroup(call.org, profile.name, call.now, 'OKTA_GROUP', profile.description)
  return text(groupJson(call.org, id))
}

function replaceGroup (call: OrgCall): Answer {
  return withGroup(call, group => {
    const profile = readProfile(call)
    if (profile === undefined) return invalid('name', 'name: The field cannot be left blank')
    group.profile = profile
    group.lastUpdated = isoTime(call.now)
    return text(groupJson(call.org, group.id))
  })
}

function deleteGroup (call: OrgCall): Answer {
  return withGroup(call, group => {
    if (group.type === 'BUILT_IN') return failure('E0000006')
    call.org.groups.delete(group.id)
    return noContent()
  })
}

function listMembers (call: OrgCall): Answer {
  return withGroup(call, group => {
    const members = [...group.members].map(id => call.org.users.get(id)).filter(user => user !== undefined)
    return answerPage(call, members, MEMBERS, user => userJson(call.org, user))
  })
}

function changeMembership (call: OrgCall, add: boolean): Answer {
  return withGroup(call, group => {
    const name = parameterOf(call, 1)
    const user = findUser(call, name)
    if (user === undefined) return notFound(name, 'User')
    if (add) group.members.add(user.id)
    else group.members.delete(user.id)
    group.lastMembershipUpdated = isoTime(call.now)
    return noContent()
  })
}

function withRule (call: OrgCall, act: (rule: Document) => Answer): Answer {
  const id = parameterOf(call, 0)
  const rule = call.org.rules.get(id)
  return rule === undefined ? notFound(id, 'GroupRule') : act(rule)
}

function createRule (call: OrgCall): Answer {
  const body = bodyOf(call)
  if (textOf(body['name']) === undefined) return invalid('name', 'name: The field cannot be left blank')
  const time = isoTime(call.now)
  const rule = {
    type: 'group_rule', id: call.org.identify('0pr'), status: 'INACTIVE', name: body['name'], created: time, lastUpdated: time, conditions: body['conditions'], actions: body['actions']
  }
  call.org.rules.set(rule.id, rule)
  return json(rule)
}

function setRuleStatus (call: OrgCall, status: string): Answer {
  return withRule(call, rule => {
    rule['status'] = status
    return noContent()
  })
}

/** Recorded: 202 with an empty object. */
function deleteRule (call: OrgCall): Answer {
  return withRule(call, rule => {
    call.org.rules.delete(rule.id)
    return json({}, 202)
  })
}

/** Groups, their members and their rules. */
export const groupRoutes: Routes = {
  'GET /api/v1/groups': listGroups,
  'POST /api/v1/groups': createGroup,
  'GET /api/v1/groups/{groupId}': call => withGroup(call, group => text(groupJson(call.org, group.id))),
  'PUT /api/v1/groups/{groupId}': replaceGroup,
  'DELETE /api/v1/groups/{groupId}': deleteGroup,
  'GET /api/v1/groups/{groupId}/users': listMembers,
  'PUT /api/v1/groups/{groupId}/users/{userId}': call => changeMembership(call, true),
  'DELETE /api/v1/groups/{groupId}/users/{userId}': call => changeMembership(call, false),
  'GET /api/v1/groups/rules': call => answerPage(call, call.org.rules.values(), RULES, rule => JSON.stringify(rule)),
  'POST /api/v1/groups/rules': createRule,
  'GET /api/v1/groups/rules/{groupRuleId}': call => withRule(call, rule => json(rule)),
  'DELETE /api/v1/groups/rules/{groupRuleId}': deleteRule,
  'POST /api/v1/groups/rules/{groupRuleId}/lifecycle/activate': call => setRuleStatus(call, 'ACTIVE'),
  'POST /api/v1/groups/rules/{groupRuleId}/lifecycle/deactivate': call => setRuleStatus(call, 'INACTIVE')
}
