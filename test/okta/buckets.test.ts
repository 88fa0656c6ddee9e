import t from 'tap'
import { bucketTable } from '../../src/okta/bucket-table.js'
import { bucketOf, defaultLimit, orgLimitFor, publishedLimit, UNLIMITED_PER_MINUTE } from '../../src/okta/buckets.js'
import { createCatalog } from '../../src/okta/catalog.js'
import { render } from '../../src/okta/generate.js'

const { operations } = createCatalog()
const users = '/api/v1/users'
const authn = '/api/v1/authn'

t.test('requests and the bucket that they count in', async t => {
  const table: readonly [string, string][] = [
    // The 48 calls of the account self-service list: 37 requests.
    [`POST ${users}`, users],
    [`POST ${users}/{id}/lifecycle/activate`, users],
    [`GET ${users}/{id}`, `GET ${users}/{id}`],
    [`POST ${users}/{id}`, `POST,PUT,DELETE ${users}/{id}`],
    [`DELETE ${users}/{id}`, `POST,PUT,DELETE ${users}/{id}`],
    [`POST ${users}/{id}/lifecycle/deactivate`, users],
    [`POST ${users}/{id}/lifecycle/suspend`, users],
    [`POST ${users}/{id}/lifecycle/unsuspend`, users],
    [`POST ${users}/{id}/lifecycle/unlock`, users],
    [`POST ${users}/{id}/lifecycle/expire_password`, users],
    [`POST ${users}/{id}/lifecycle/reset_password`, users],
    [`POST ${users}/{id}/lifecycle/reset_factors`, users],
    [`POST ${users}/{userId}/credentials/change_password`, users],
    [`POST ${users}/{userId}/credentials/change_recovery_question`, users],
    [`GET ${users}/{userId}/factors`, users],
    [`POST ${users}/{userId}/factors`, users],
    [`DELETE ${users}/{userId}/factors/{factorId}`, users],
    [`PUT ${users}/{userId}/factors/{factorId}`, users],
    [`GET ${users}/{userId}/factors/questions`, users],
    [`POST ${users}/{userId}/factors/{factorId}/verify`, `${users}/{userId}/factors/{userFactorIdOrFactorType}/verify`],
    ['PUT /api/v1/groups/{groupId}/users/{userId}', '/api/v1/groups'],
    [`POST ${authn}`, authn],
    [`POST ${authn}/credentials/change_password`, authn],
    [`POST ${authn}/credentials/reset_password`, authn],
    [`POST ${authn}/factors`, authn],
    [`POST ${authn}/factors/{factorId}/verify`, `${authn}/factors/{factorIdOrFactorType}/verify`],
    [`POST ${authn}/factors/{factorId}/verify/resend`, authn],
    [`POST ${authn}/factors/{factorId}/lifecycle/resend`, authn],
    [`POST ${authn}/factors/{factorId}/lifecycle/activate`, authn],
    [`POST ${authn}/recovery/password`, authn],
    [`POST ${authn}/recovery/token`, authn],
    [`POST ${authn}/recovery/answer`, authn],
    [`POST ${authn}/recovery/factors/{factorType}/verify`, authn],
    [`POST ${authn}/recovery/factors/{factorType}/resend`, authn],
    [`POST ${authn}/skip`, authn],
    [`POST ${authn}/previous`, authn],
    [`POST ${authn}/cancel`, authn],
    // Splits, exact paths, prefixes.
    [`PUT ${users}/{id}`, `POST,PUT,DELETE ${users}/{id}`],
    [`GET ${users}/me`, `${users}/me`],
    [`GET ${users}/{id}/groups`, users],
    ['GET /api/v1/apps', '/api/v1/apps'],
    ['GET /api/v1/apps/{appId}', 'GET /api/v1/apps/{id}'],
    ['PUT /api/v1/apps/{appId}', 'PUT,DELETE /api/v1/apps/{id}'],
    ['GET /api/v1/apps/{appId}/users', '/api/v1/apps'],
    ['GET /api/v1/apps/{appId}/skinny_users', '/api/v1/apps/{id}/skinny_users'],
    ['GET /api/v1/groups/{groupId}', '/api/v1/groups/{id}'],
    ['GET /api/v1/groups/rules', '/api/v1/groups'],
    ['GET /api/v1/logs', '/api/v1/logs'],
    ['POST /api/v1/logs', '/api/v1'],
    ['GET /api/v1/zones', '/api/v1'],
    ['GET /api/v1/usersish', '/api/v1'],
    ['GET /api/v1/identity-sources/{id}/sessions/{sessionId}', '/api/v1/identity-sources/{id}/sessions'],
    ['GET /oauth2/v1/clients/{clientId}/roles', '/oauth2/v1/clients'],
    ['POST /oauth2/v1/token', '/oauth2/v1/token'],
    ['POST /oauth2/{authorizationServerId}/v1/revoke', '/oauth2/{authorizationServerId}/v1'],
    ['GET /oauth2/v1/keys', '/oauth2/v1/keys'],
    ['GET /privileged-access/api/v1/resources', '/'],
    ['GET /', '/']
  ]
  for (const [request, bucket] of table) {
    const [method = '', template = ''] = request.split(' ')
    t.equal(bucketOf(method, template), bucket, request)
  }
})

t.test('the data\'s buckets are those that the table gives', async t => {
  for (const operation of operations) {
    if (operation.bucket !== bucketOf(operation.method, operation.template)) t.fail(operation.id)
    if (!(defaultLimit(operation.bucket).perMinute >= 10)) t.fail(`${operation.bucket} starts from ${defaultLimit(operation.bucket).perMinute}`)
  }
  t.equal(new Set(operations.map(operation => operation.bucket)).size, 37)
})

t.test('a limit to start from', async t => {
  const table: readonly [string, number, boolean][] = [
    ['/api/v1', 100, true],
    ['/api/v1/apps', 20, true],
    ['GET /api/v1/apps/{id}', 100, true],
    ['GET /api/v1/users/{id}', 100, true],
    ['GET /api/v1/users/{anyName}', 100, true],
    ['/api/v1/logs', 20, true],
    ['/oauth2/v1/token', 300, true],
    ['/oauth2/v1/clients', 25, true],
    ['/oauth2/v1/keys', UNLIMITED_PER_MINUTE, true],
    // Never published: what surrounds it, or less where less was seen.
    ['/api/v1/users/me', 100, false],
    ['/api/v1/apps/{id}/skinny_users', 20, false],
    ['/api/v1/iam', 100, false],
    ['/api/v1/agentPools', 20, false],
    ['/api/v1/orgs', 10, false],
    ['/api/v1/domains', 30, false],
    ['/', 100, false],
    ['/something/else', 100, false]
  ]
  for (const [bucket, perMinute, known] of table) t.same(defaultLimit(bucket), { bucket, perMinute, known })
})

t.test('the published figures by kind of org', async t => {
  t.equal(publishedLimit('GET /api/v1/users/{id}', 'workforce'), 2000)
  t.equal(publishedLimit('POST,PUT,DELETE /api/v1/users/{id}', 'workforce'), 600)
  t.equal(publishedLimit('/api/v1/groups/{id}', 'workforce'), 1000)
  t.equal(publishedLimit('/api/v1/apps', 'integratorFree'), 20)
  t.equal(publishedLimit('/api/v1/iam', 'enterprise'), 600, 'never published: that of /api/v1')
  t.equal(publishedLimit('/', 'enterprise'), 100)
  t.equal(publishedLimit('/oauth2/v1/keys', 'oneApp'), UNLIMITED_PER_MINUTE)
})

t.test('limits.org: the most specific key that covers a bucket', async t => {
  const get = 'GET /api/v1/users/{id}'
  const rest = 'POST,PUT,DELETE /api/v1/users/{id}'
  const table: readonly [string, Record<string, number>, number | undefined][] = [
    ['/api/v1/users', { '/api/v1/users': 600, '*': 300 }, 600],
    ['/api/v1/users', { '/api/v1/users*': 600 }, 600],
    ['/api/v1/groups', { '/api/v1/users': 600, '*': 300 }, 300],
    ['/api/v1/groups', { '/api/v1/users': 600 }, undefined],
    ['/api/v1/iam', { '/api/v1': 600 }, undefined],
    [get, { 'GET /api/v1/users/{id}': 1000, '/api/v1/users/{id}': 500 }, 1000],
    [get, { '/api/v1/users/{id}': 500, 'GET /api/v1/users/{id:.+}': 1000 }, 1000],
    [get, { 'GET /api/v1/users/{userId}': 1000 }, 1000],
    [get, { '/api/v1/users/{id}': 500, '*': 1 }, 500],
    [get, { 'PUT /api/v1/users/{id}': 500 }, undefined],
    [rest, { 'DELETE,POST,PUT /api/v1/users/{id}': 400 }, 400],
    [rest, { 'PUT /api/v1/users/{id}': 300, 'DELETE /api/v1/users/{id}': 200, '/api/v1/users/{id}': 900 }, 200],
    [rest, { 'GET /api/v1/users/{id}': 1000, '/api/v1/users/{id}': 600 }, 600],
    ['/api/v1/users', { 'GET /api/v1/users': 500 }, 500],
    ['/', { '*': 7 }, 7],
    ['/api/v1/users', {}, undefined],
    ['/api/v1/users', Object.create({ '*': 7 }) as Record<string, number>, undefined]
  ]
  for (const [bucket, org, limit] of table) t.equal(orgLimitFor(bucket, org), limit, `${bucket} in ${JSON.stringify(org)}`)
})

t.test('literal beats parameter, long beats short, among prefixes of a table', async t => {
  const prefix = (bucket: string): { bucket: string, match: 'prefix', methods: string[] } => ({ bucket, match: 'prefix', methods: ['*'] })
  const table = bucketTable({ buckets: [prefix('/a'), prefix('/a/{x}'), prefix('/a/b')], endpoints: [['GET', '/a/c', '/']] })
  t.equal(table.find('GET', '/a/b/c'), '/a/b')
  t.equal(table.find('GET', '/a/{y}/c'), '/a/{x}')
  t.equal(table.find('GET', '/a'), '/a')
  t.equal(table.find('GET', '/a/c'), '/')
  t.equal(table.find('GET', '/b'), '/')
})

t.test('generated files have an entry a line', async t => {
  t.equal(render({ source: 'x', rows: [{ a: 1 }, { a: undefined, b: [2] }] }), '{\n"source": "x",\n"rows": [\n{"a":1},\n{"b":[2]}\n]\n}\n')
})
