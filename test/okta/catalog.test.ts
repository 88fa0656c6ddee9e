import fc from 'fast-check'
import t from 'tap'
import type { Operation } from '../../src/domain/operation.js'
import { parseTarget, type Target } from '../../src/domain/target.js'
import { createCatalog, type DeclaredOperation } from '../../src/okta/catalog.js'
import { declaredConflicts } from '../../src/okta/declared.js'
import { reservedReason } from '../../src/okta/operations.js'
import { entitlementsOf, permissions, scopesFor, scopesOf, specifiedEntitlement, standardRoles } from '../../src/okta/permissions.js'
import { bodyTouchesGate, signInPattern, touchesGate } from '../../src/okta/self.js'
import { matcherOf, shapeOf } from '../../src/okta/template.js'

const catalog = createCatalog()

function target (path: string): Target {
  const parsed = parseTarget(path, catalog.slashAliases)
  if ('kind' in parsed) throw new Error(`${path}: ${parsed.code}`)
  return parsed
}

/** `GET /path` → operation id, `unknown_path`, or `not <allowed methods>`. */
function resolved (request: string, from = catalog): string {
  const [method = '', path = ''] = request.split(' ')
  const resolution = from.resolve(method, target(path))
  if (resolution.kind === 'operation') return resolution.operation.id + resolution.parameters.map(value => ` ${value}`).join('') + (resolution.alias ? ' alias' : '')
  return resolution.kind === 'unknown_method' ? `not ${resolution.allowed.join(',')}` : resolution.kind
}

function sample (operation: Operation): { path: string, values: string[] } {
  let n = 0
  const values: string[] = []
  const segments = operation.segments.map(segment => {
    if (segment.kind === 'literal') return segment.name
    values.push(`00uSample${n++}abcdefghij`)
    return values[values.length - 1]!
  })
  return { path: `/${segments.join('/')}`, values }
}

t.test('the catalogue holds Okta\'s operations', async t => {
  t.equal(catalog.operations.length, 767)
  t.equal(new Set(catalog.operations.map(operation => operation.id)).size, 767)
  t.equal(new Set(catalog.operations.map(operation => `${operation.method} ${shapeOf(operation.template)}`)).size, 767)
  t.same(count(catalog.operations.map(operation => operation.source)), { okta: 732, authn: 27, oauth: 8 })
  for (const [index, operation] of catalog.operations.entries()) {
    if (operation.index !== index || operation.bucket === '') t.fail(`${operation.id} has index ${operation.index}, bucket ${operation.bucket}`)
  }
  t.match(catalog.byId('getUser'), {
    method: 'GET', template: '/api/v1/users/{id}', parameters: ['id'], scopes: ['okta.users.read'], apiToken: true, oauth: true, anonymous: false, bucket: 'GET /api/v1/users/{id}', source: 'okta'
  })
  t.match(catalog.byId('authnVerifyFactor'), { apiToken: true, oauth: false, anonymous: true, scopes: [], query: ['rememberDevice', 'autoPush'] })
})

function count (words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}

t.test('what the gate keeps for itself is reserved, with a reason', async t => {
  const reserved = catalog.operations.filter(operation => operation.reserved)
  t.same(reserved.map(operation => operation.id).sort(), ['getDRStatus', 'getDRStatusForDomain', 'revokeCurrentApiToken', 'startOrgFailback', 'startOrgFailover', 'token'])
  for (const operation of reserved) t.match(reservedReason(operation), /host|gate's own/)
  t.equal(reservedReason(catalog.byId('getUser')!), undefined)
})

t.test('every operation\'s own path resolves to it, with its parameters in order', async t => {
  for (const operation of catalog.operations) {
    const { path, values } = sample(operation)
    const resolution = catalog.resolve(operation.method, target(path))
    t.match(resolution, { kind: 'operation', operation: { id: operation.id }, parameters: values, alias: false }, operation.id)
    t.equal(catalog.byTemplate(operation.method, operation.template), operation)
  }
})

t.test('the trie and path-to-regexp agree on every path; where templates overlap, the literal one wins', async t => {
  const matchers = catalog.operations.map(operation => ({ operation, match: matcherOf(operation.template) }))
  const odd = (path: string): string[] => [path, path.toUpperCase(), `${path}/more`, path.slice(0, path.lastIndexOf('/')) || '/x']
  let checked = 0
  for (const { operation } of matchers.filter((_, i) => i % 3 === 0)) {
    for (const path of odd(sample(operation).path)) {
      const matching = matchers.filter(({ match }) => match(path) !== false).map(({ operation }) => operation).sort(literalsFirst)
      const best = matching.find(({ method, template }) => method === operation.method && shapeOf(template) === shapeOf(matching[0]!.template))?.id
      const resolution = catalog.resolve(operation.method, target(path))
      const found = resolution.kind === 'operation' ? resolution.operation.id : undefined
      if (found !== best) t.fail(`${operation.method} ${path}: trie ${found}, path-to-regexp ${best}`)
      checked++
    }
  }
  t.ok(checked > 1000, `${checked} paths`)
  t.equal(matcherOf('/api/v1/users/{id}')('/api/v1/users/a%2Fb') && true, true, 'path-to-regexp alone would let an encoded slash into a parameter')
})

/** By the first segment in which two templates of one path differ, whatever their methods. */
function literalsFirst (a: Operation, b: Operation): number {
  const at = a.segments.findIndex((segment, i) => segment.kind !== b.segments[i]?.kind)
  return at < 0 ? 0 : a.segments[at]?.kind === 'literal' ? -1 : 1
}

t.test('requests and what they are', async t => {
  const table: readonly [string, string][] = [
    // Literal before parameter, in any template of any method.
    ['GET /api/v1/groups/rules', 'listGroupRules'],
    ['GET /api/v1/groups/00g1', 'getGroup 00g1'],
    ['DELETE /api/v1/groups/rules', 'not GET,POST'],
    ['PUT /api/v1/groups/rules', 'not GET,POST'],
    ['GET /api/v1/groups/RULES', 'unknown_path'],
    ['GET /api/v1/groups/Rules', 'unknown_path'],
    ['GET /api/v1/groups/rules/users', 'getGroupRule users'],
    ['GET /api/v1/users/00u1/factors/questions', 'listSupportedSecurityQuestions 00u1'],
    ['GET /api/v1/users/00u1/factors/catalog', 'listSupportedFactors 00u1'],
    ['DELETE /api/v1/users/00u1/factors/questions', 'not GET'],
    ['DELETE /api/v1/users/00u1/factors/Questions', 'unknown_path'],
    ['DELETE /api/v1/api-tokens/current', 'revokeCurrentApiToken'],
    ['GET /api/v1/api-tokens/current', 'not DELETE'],
    // me and current never fill a parameter.
    ['GET /api/v1/users/me', 'unknown_path'],
    ['GET /api/v1/users/ME', 'unknown_path'],
    ['POST /api/v1/users/me/lifecycle/deactivate', 'unknown_path'],
    ['GET /api/v1/users/current/factors', 'unknown_path'],
    ['DELETE /api/v1/sessions/me', 'unknown_path'],
    ['GET /api/v1/users/meg', 'getUser meg'],
    ['GET /api/v1/users/currents', 'getUser currents'],
    // One spelling of literals, decoded parameters.
    ['GET /api/v1/Users', 'unknown_path'],
    ['GET /API/v1/users', 'unknown_path'],
    ['GET /api/v1/users/jane@example.com', 'getUser jane@example.com'],
    ['GET /api/v1/users/jane%40example.com', 'getUser jane@example.com'],
    ['GET /api/v1/users/jane%20doe', 'getUser jane doe'],
    // Methods.
    ['HEAD /api/v1/users', 'not GET,POST'],
    ['OPTIONS /api/v1/users', 'not GET,POST'],
    ['TRACE /api/v1/users/00u1', 'not GET,POST,PUT,DELETE'],
    ['get /api/v1/users', 'not GET,POST'],
    ['POST /api/v1/users/00u1/lifecycle/activate', 'activateUser 00u1'],
    ['PUT /api/v1/users/00u1/lifecycle/reset_password', 'not POST'],
    // Paths that are not whole, or not Okta's.
    ['GET /', 'unknown_path'],
    ['GET /api', 'unknown_path'],
    ['GET /api/v1', 'unknown_path'],
    ['GET /api/v1/users/00u1/lifecycle', 'unknown_path'],
    ['GET /api/v1/nothing', 'unknown_path'],
    ['GET /api/v1/constructor', 'unknown_path'],
    ['GET /__proto__', 'unknown_path'],
    ['GET /idp/myaccount/profile', 'unknown_path'],
    // The alias, as written.
    ['POST /api/v1/authn', 'authn'],
    ['POST /api/v1/authn/', 'authn alias'],
    ['GET /api/v1/authn/', 'not POST'],
    ['GET /api/v1/authn', 'not POST'],
    ['POST /api/v1/authn/recovery/factors/SMS/verify', 'authnVerifyRecoveryFactor SMS'],
    ['POST /oauth2/v1/token', 'token'],
    ['GET /oauth2/v1/clients', 'listClients'],
    ['GET /oauth2/v1/userinfo', 'unknown_path']
  ]
  for (const [request, expected] of table) t.equal(resolved(request), expected, request)
  t.same([...catalog.slashAliases], ['/api/v1/authn/'])
  t.same(catalog.resolve('GET', { path: '/api/v1/users/', rawSegments: ['api', 'v1', 'users', ''], segments: ['api', 'v1', 'users', ''] }), { kind: 'unknown_path' }, 'an empty segment fills no parameter')
  t.same(catalog.resolve('GET', { path: '/api/v1/groups/%72ules', rawSegments: ['api', 'v1', 'groups', '%72ules'], segments: ['api', 'v1', 'groups', 'rules'] }), { kind: 'unknown_path' }, 'nor does an escaped literal')
})

t.test('a parameter never takes the name of a sibling literal, me or current, in any letter case or spelling', async t => {
  const siblings = catalog.operations.flatMap(operation => operation.segments.flatMap((segment, at) => {
    if (segment.kind === 'literal') return []
    const before = shapeOf(operation.template).split('/').slice(0, at + 1).join('/')
    const names = catalog.operations.flatMap(other => {
      const parts = shapeOf(other.template).split('/')
      const name = other.segments[at]
      return name?.kind === 'literal' && parts.slice(0, at + 1).join('/') === before ? [name.name] : []
    })
    return [...new Set([...names, 'me', 'current'])].map(name => ({ operation, at, name }))
  }))
  t.ok(siblings.length > 700, `${siblings.length} places`)
  fc.assert(fc.property(fc.constantFrom(...siblings), fc.infiniteStream(fc.boolean()), fc.boolean(), ({ operation, at, name }, flips, escaped) => {
    const word = [...name].map(letter => flips.next().value === true ? letter.toUpperCase() : letter).join('')
    const decoded = sample(operation).path.slice(1).split('/').map((segment, i) => i === at ? word : segment)
    const raw = decoded.map((segment, i) => i === at && escaped ? [...segment].map(letter => `%${letter.charCodeAt(0).toString(16)}`).join('') : segment)
    const resolution = catalog.resolve(operation.method, { path: `/${raw.join('/')}`, rawSegments: raw, segments: decoded })
    return resolution.kind !== 'operation' || !resolution.parameters.includes(word)
  }), { numRuns: 2000 })
})

t.test('templates are found by shape, ids by name', async t => {
  t.equal(catalog.byTemplate('GET', '/api/v1/users/{anything}')?.id, 'getUser')
  t.equal(catalog.byTemplate('POST', '/api/v1/authn/')?.id, 'authn')
  t.equal(catalog.byTemplate('GET', '/api/v1/authn/'), undefined)
  t.equal(catalog.byTemplate('PUT', '/api/v1/users/{id}/lifecycle/reset_password'), undefined)
  t.equal(catalog.byId('constructor'), undefined)
})

t.test('what was probably meant', async t => {
  t.same(catalog.nearestIds('listUser')[0], 'listUsers')
  t.ok(catalog.nearestIds('getuser').includes('getUser'))
  t.same(catalog.nearestIds('somethingThatIsNothingLikeAnId'), [])
  const first = (method: string, template: string): string => catalog.nearestTemplates(method, template).map(operation => `${operation.method} ${operation.template}`)[0] ?? ''
  t.equal(first('PUT', '/api/v1/users/{userId}/lifecycle/reset_password'), 'POST /api/v1/users/{id}/lifecycle/reset_password')
  t.equal(first('POST', '/api/v1/users/credentials/change_password'), 'POST /api/v1/users/{userId}/credentials/change_password')
  t.equal(first('GET', '/api/v1/user/{id}'), 'GET /api/v1/users/{id}')
  t.equal(first('POST', '/api/v1/users/{id}/lifecycle/deactivat'), 'POST /api/v1/users/{id}/lifecycle/deactivate')
  t.equal(first('GET', '/wholly/other'), '')
})

function declare (request: string, more: Partial<DeclaredOperation> = {}): DeclaredOperation {
  const [method, template = ''] = request.split(' ')
  return { id: 'ours', method: method as DeclaredOperation['method'], template, query: [], ...more }
}

t.test('declared operations join the catalogue', async t => {
  const internal = declare('GET /api/v1/internal/apps/{appId}/settings/oauth/idToken', { id: 'getAppIdTokenSettings', bucket: '/api/v1/apps', query: ['limit'] })
  const me = declare('GET /api/v1/users/me', { id: 'getMe' })
  t.same(declaredConflicts([internal, me]), [])
  const wider = createCatalog([internal, me])
  t.equal(resolved('GET /api/v1/internal/apps/0oa1/settings/oauth/idToken', wider), 'getAppIdTokenSettings 0oa1')
  t.match(wider.byId('getAppIdTokenSettings'), { index: 767, source: 'declared', bucket: '/api/v1/apps', scopes: [], apiToken: true, oauth: true, query: ['limit'] })
  t.equal(resolved('GET /api/v1/users/me', wider), 'getMe')
  t.equal(wider.byId('getMe')?.bucket, '/api/v1/users/me')
  t.equal(resolved('POST /api/v1/users/me', wider), 'not GET')
  t.equal(resolved('GET /api/v1/users/ME', wider), 'unknown_path')
  t.equal(resolved('GET /api/v1/users/me/factors', wider), 'unknown_path')
  t.equal(resolved('GET /api/v1/users/me'), 'unknown_path', 'the other catalogue is as it was')
})

t.test('declared operations that cannot join', async t => {
  const table: readonly [DeclaredOperation, RegExp][] = [
    [declare('GET /api/v1/users/{login}'), /is the operation getUser already/],
    [declare('POST /api/v1/authn/'), /is the operation authn already/],
    [declare('POST /oauth2/v1/token'), /is the operation token already/],
    [declare('GET /api/v1/x', { id: 'getUser' }), /id getUser is taken by GET/],
    [declare('GET /api/v1/x', { id: '1 x' }), /id "1 x"/],
    [declare('HEAD /api/v1/x'), /HEAD is not one of/],
    [declare('GET api/v1/x'), /starts with/],
    [declare('GET /api/v1/x/'), /empty segment/],
    [declare('GET /api//x'), /empty segment/],
    [declare('GET /api/../x'), /dot segment/],
    [declare('GET /api/x%2fy'), /neither a literal/],
    [declare('GET /api/x{y}'), /neither a literal/],
    [declare('GET /api/x?y=z'), /neither a literal/],
    [declare('GET /api/:x'), /neither a literal/],
    [declare('GET /api/*'), /neither a literal/],
    [declare('GET /api/{x}/{x}'), /occurs twice/],
    [declare('POST /api/v1/users/me'), /gate's own account/],
    [declare('GET /api/v1/users/Me'), /gate's own account/],
    [declare('GET /api/v1/users/me/factors'), /gate's own account/],
    [declare('GET /api/v1/things/current'), /gate's own account/],
    [declare('GET /api/v1/Users/{id}/x'), /"Users" differs .* "users"/],
    [declare('GET /api/v1/groups/RULES'), /"RULES" differs .* "rules"/],
    [declare('GET /api/v1/x', { bucket: 'users' }), /not a bucket/]
  ]
  for (const [entry, message] of table) {
    const conflicts = declaredConflicts([entry])
    t.equal(conflicts.length, 1, `${entry.method} ${entry.template}`)
    t.match(conflicts[0]?.message, message)
    t.throws(() => createCatalog([entry]), message)
  }
  const twice = declaredConflicts([declare('GET /api/v1/x/{a}', { id: 'a' }), declare('GET /api/v1/x/{b}', { id: 'b' }), declare('GET /api/v1/y', { id: 'a' })])
  t.match(twice, [{ index: 1, field: 'request', message: /is the operation a already/ }, { index: 2, field: 'id' }])
})

t.test('what would touch the gate itself', async t => {
  const withMe = createCatalog([declare('GET /api/v1/users/me', { id: 'getMe' })])
  const self = { clientId: '0oaGATEgateGATEgate1', ids: new Set(['00ugateowner00000001', 'svc.gate@example.com']) }
  const reason = (request: string, as: Parameters<typeof touchesGate>[2] = self): string | undefined => {
    const [method = '', path = ''] = request.split(' ')
    const parsed = target(path)
    return touchesGate(parsed, withMe.resolve(method, parsed), as)
  }
  const refused: readonly [string, RegExp][] = [
    ['DELETE /api/v1/api-tokens/current', /"current"/],
    ['POST /api/v1/users/me', /"me"/],
    ['GET /api/v1/users/ME', /"me"/],
    ['GET /api/v1/users/me/factors', /"me"/],
    ['GET /api/v1/users/Current', /"current"/],
    ['GET /api/v1/apps/0oaGATEgateGATEgate1', /service app/],
    ['DELETE /oauth2/v1/clients/0OAGATEGATEGATEGATE1', /service app/],
    ['GET /api/v1/users/00uGateOwner00000001', /gate's own/],
    ['GET /api/v1/users/svc.gate%40example.com', /gate's own/]
  ]
  for (const [request, message] of refused) t.match(reason(request), message, request)
  for (const request of ['GET /api/v1/users/me', 'GET /api/v1/users/00u1', 'GET /api/v1/users/meg', 'GET /api/v1/users']) t.equal(reason(request), undefined, request)
  t.match(reason('DELETE /api/v1/api-tokens/current', {}), /"current"/)
  t.equal(reason('GET /api/v1/apps/0oaGATEgateGATEgate1', {}), undefined)
})

t.test('bodies that name the gate itself, however they are written', async t => {
  const self = { clientId: '0oaGATEgateGATEgate1', ids: new Set(['0oagategategategate1', '00ugateowner00000001', 'svc.gate@example.com']), names: new Map([['users/svc.gate', false], ['roles/gate role', true]]), groups: new Set(['00ggategroup00000001']), signIn: signInPattern(['svc.gate@example.com', 'svc.gate']) }
  const bindings = { template: '/api/v1/iam/resource-sets/{resourceSetIdOrLabel}/bindings', method: 'POST' } as const
  const limits = { template: '/api/v1/principal-rate-limits', method: 'POST' } as const
  const authn = { template: '/api/v1/authn', method: 'POST' } as const
  const profile = { template: '/api/v1/users/{id}', method: 'POST' } as const
  const json = { 'content-type': 'application/json' }
  const own = '{"members":["0oaGATEgateGATEgate1"]}'
  const utf32 = Buffer.concat([...own].map(letter => Buffer.from([0, 0, 0, letter.charCodeAt(0)])))
  const touching: ReadonlyArray<readonly [string, Parameters<typeof bodyTouchesGate>[0], Buffer | string, Parameters<typeof bodyTouchesGate>[2]]> = [
    ['UTF-16', bindings, Buffer.from(own, 'utf16le'), json],
    ['UTF-16, big end first, with its mark', profile, Buffer.from(`\ufeff${own}`, 'utf16le').swap16(), json],
    ['UTF-32', bindings, utf32, json],
    ['UTF-16 with an escape', limits, Buffer.from('{"principalId":"\\u0030oaGATEgateGATEgate1"}', 'utf16le'), json],
    ['an escape of a URL', bindings, '{"members":["https://x/clients/%30oaGATEgateGATEgate1"]}', json],
    ['an escape of a URL, its sign escaped', bindings, '{"members":["https://x/clients/\\u002530oaGATEgateGATEgate1"]}', json],
    ['a charset that hides letters', bindings, '\xa3', { 'content-type': 'application/json; charset="IBM037"' }],
    ['two charsets', limits, '{}', { 'content-type': 'application/json; charset=utf-8; charset=utf-7' }],
    ['a compressed list of owners', { template: '/api/v1/groups/{groupId}/owners', method: 'POST' }, 'x', { ...json, 'content-encoding': 'gzip' }],
    ['a group of the gate\'s user', bindings, '{"members":["https://x/api/v1/groups/00gGATEgroup00000001"]}', json],
    ['its short login', bindings, '{"members":["https://x/api/v1/users/SVC.gate"]}', json],
    ['me', bindings, '{"members":["https://x/api/v1/users/me"]}', json],
    ['a sign-in', authn, Buffer.from('{"username":"svc.gate"}', 'utf16le'), json]
  ]
  for (const [name, operation, body, headers] of touching) t.ok(bodyTouchesGate(operation, Buffer.from(body as string), headers, self), name)
  const harmless: typeof touching = [
    ['another app', bindings, '{"members":["https://x/clients/0oaother000000000001"]}', { 'content-type': 'application/json; charset=UTF-8' }],
    ['the group as a resource', { template: '/api/v1/iam/resource-sets/{resourceSetIdOrLabel}/resources', method: 'PATCH' }, '{"additions":["https://x/api/v1/groups/00gGATEgroup00000001"]}', json],
    ['a longer login', profile, '{"profile":{"login":"dr.svc.gate@example.com"}}', json],
    ['an image', { template: '/api/v1/brands/{brandId}/themes/{themeId}/logo', method: 'POST' }, '\0\x01%', { 'content-type': 'multipart/form-data; boundary=x' }],
    ['a percent sign', profile, '{"profile":{"nickName":"100% me"}}', json]
  ]
  for (const [name, operation, body, headers] of harmless) t.equal(bodyTouchesGate(operation, Buffer.from(body as string), headers, self), undefined, name)
  t.equal(bodyTouchesGate(bindings, Buffer.from(own), json, {}), undefined, 'nothing is known yet')
})

t.test('scopes and entitlements', async t => {
  const of = (...ids: string[]): Operation[] => ids.map(id => catalog.byId(id)!)
  t.same(scopesOf(catalog.byId('getUser')!), ['okta.users.read'])
  t.same(scopesOf(catalog.byId('authn')!), [])
  t.same(scopesOf(catalog.byId('listSupportedSecurityQuestions')!), [])
  t.same(scopesOf(catalog.byId('createGroupPushMapping')!), ['okta.apps.manage', 'okta.groups.manage'], 'Okta asks for both')
  t.same(scopesFor(of('getUser', 'listGroups', 'createUser', 'authn')), ['okta.groups.read', 'okta.users.manage'], 'manage includes read')
  t.same(scopesFor([]), [])
  t.match(entitlementsOf('activateUser'), [{ use: 'activate user', permissions: { value: ['okta.users.lifecycle.activate'], certainty: 'certain' } }])
  t.ok(entitlementsOf('updateUser').length > 1, 'one operation, several uses')
  t.equal(entitlementsOf('PUT /api/v1/users/{userId}/factors/{factorId}').length, 1, 'undocumented by Okta')
  t.same(entitlementsOf('listUsers'), [])
  t.match(specifiedEntitlement('getApplicationUserSchema'), { permissions: ['okta.apps.read', 'okta.apps.manage'] })
  t.equal(permissions.length, 80)
  t.ok(standardRoles.has('HELP_DESK_ADMIN'))
})
