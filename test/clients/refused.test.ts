import { X509Certificate, createHash, createHmac, randomBytes, type KeyObject } from 'node:crypto'
import { CompactEncrypt } from 'jose'
import t from 'tap'
import { newKey } from '../../src/clients/api-key.js'
import type { Presented } from '../../src/clients/callers.js'
import { createFailures } from '../../src/clients/failures.js'
import { Certificates } from '../../src/clients/mtls.js'
import { readKeySet } from '../../src/clients/public-key.js'
import { isRejection, rejections } from '../../src/domain/rejection.js'
import { makeCertificate } from '../upstream/certificates.js'
import { ASSERTION_TYPE, NOW, PUBLIC_URL, SECONDS, TOKEN_URL, assertionClaims, athOf, forge, makePair, makeWorld, proof, sign } from './tokens.js'

const own = { ...makePair('ES256'), kid: 'k1' }
const rsa = makePair('RS256')
const other = makePair('ES256')
const stranger = makePair('ES256')
const p384 = makePair('ES384')
const curve384 = makePair('ES384')
const curve521 = makePair('ES512')
const dpop = makePair('ES256')
const dpopRsa = makePair('RS256')
const gitlab = makePair('RS256')
const apiKey = newKey(randomBytes)
const GITLAB = 'https://gitlab.example.com'
const is = (wanted: unknown) => (value: unknown): boolean => value === wanted
const authority = makeCertificate({ commonName: 'ca', authority: true })
const certificate = (names: readonly string[], notAfter?: Date) => new Certificates().fromDer(new X509Certificate(makeCertificate({ commonName: 'x', names, issuer: authority, notAfter }).cert).raw)!

const world = await makeWorld({
  keyPairs: [
    { client: 'portal', keys: [{ ...own.jwk, kid: 'k1' }, rsa.jwk] },
    { client: 'careful', keys: [own.jwk], requireJti: true },
    { client: 'bound', keys: [own.jwk], dpop: 'required' },
    { client: 'either', keys: [own.jwk], dpop: 'optional' },
    { client: 'hidden', keys: [other.jwk] },
    { client: 'over', keys: [own.jwk], policyExpiresAt: NOW },
    { client: 'many', keys: [own.jwk, rsa.jwk, curve384.jwk, curve521.jwk] },
    { client: 'fixed', keys: [{ ...rsa.jwk, alg: 'RS512' }] }
  ],
  issuers: [{ issuer: GITLAB, keys: [{ ...gitlab.jwk, kid: 'g1' }] }],
  workloads: [
    { client: 'ci', issuer: GITLAB, audience: 'narrowgate', claims: new Map([['project_path', is('acme/app')]]) },
    { client: 'ci-too', issuer: GITLAB, audience: 'narrowgate', claims: new Map([['ref', is('main')]]) }
  ],
  certificates: [{ client: 'mesh', uri: 'spiffe://acme/mesh' }, { client: 'host', dns: 'host.acme.example' }],
  keys: [{ client: 'portal', keys: [{ sha256: apiKey.sha256 }] }, ...['careful', 'bound', 'either', 'hidden', 'over', 'ci', 'ci-too', 'mesh', 'host'].map(client => ({ client, keys: [] }))]
})
const good = await sign(own, assertionClaims('portal'))
const hs256 = (claims: unknown, secret: string | Buffer): string => {
  const unsigned = forge({ alg: 'HS256', kid: 'k1' }, claims, '').slice(0, -1)
  return `${unsigned}.${createHmac('sha256', secret).update(unsigned).digest('base64url')}`
}
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string
const A = (more: Record<string, unknown>, header: Record<string, unknown> = {}, pair = own) => sign(pair, assertionClaims('portal', more), header)

t.test('every bad assertion is refused with the right code, in OAuth\'s form', async t => {
  t.match(await world.token({ parameters: { client_assertion: good } }), { status: 200, client: { id: 'portal', method: 'privateKeyJwt' } }, 'the good one is good')
  const encrypted = await new CompactEncrypt(Buffer.from('{}')).setProtectedHeader({ alg: 'dir', enc: 'A256GCM' }).encrypt(randomBytes(32))
  const bytes = good.split('.')
  const table: [string, string | undefined, RegExp][] = [
    ['none', undefined, /client_assertion is missing/],
    ['no JWT', 'abc', /no compact signed JWT/],
    ['two parts', bytes.slice(0, 2).join('.'), /no compact signed JWT/],
    ['padding', `${good}=`, /no compact signed JWT/],
    ['blank in it', ` ${good}`, /no compact signed JWT/],
    ['huge', `${'eyJ'.padEnd(9000, 'a')}.e30.AAAA`, /longer than 8192/],
    ['encrypted', encrypted, /is encrypted/],
    ['header no JSON', `eyJ.${bytes[1]}.${bytes[2]}`, /not JSON objects/],
    ['claims no object', forge({ alg: 'ES256' }, '[1]'), /not JSON objects/],
    ['alg none', forge({ alg: 'none' }, assertionClaims('portal'), ''), /not signed/],
    ['alg NoNe', forge({ alg: 'NoNe' }, assertionClaims('portal'), ''), /not signed/],
    ['no alg', forge({ typ: 'JWT' }, assertionClaims('portal')), /names no algorithm|not JSON objects/],
    ['HS256 with the public JWK', hs256(assertionClaims('portal'), JSON.stringify(own.jwk)), /algorithm .* is not accepted/],
    ['HS256 with a PEM', hs256(assertionClaims('portal'), pem(own.secret)), /algorithm .* is not accepted/],
    ['EdDSA', forge({ alg: 'EdDSA' }, assertionClaims('portal')), /algorithm .* is not accepted/],
    ['PS512', forge({ alg: 'PS512' }, assertionClaims('portal')), /algorithm .* is not accepted/],
    ['RS1', forge({ alg: 'RS1' }, assertionClaims('portal')), /algorithm .* is not accepted/],
    ['critical extension', forge({ alg: 'ES256', crit: ['x'], x: 1 }, assertionClaims('portal')), /critical header/],
    ['b64 false', forge({ alg: 'ES256', b64: false, crit: ['b64'] }, assertionClaims('portal')), /critical header/],
    ['nested', await A({}, { cty: 'JWT' }), /unnested/],
    ['an access token', await A({}, { typ: 'at+jwt' }), /another kind of token/],
    ['a proof', await A({}, { typ: 'dpop+jwt' }), /another kind of token/],
    ['typ no text', forge({ alg: 'ES256', typ: { toString: 1 } }, assertionClaims('portal')), /another kind of token/],
    ['kid no text', await A({}, { kid: 7 }), /kid .* is no text/],
    ['another signature', `${bytes[0]}.${bytes[1]}.${(await A({ x: 1 })).split('.')[2]}`, /has registered a key/],
    ['claims of another', `${bytes[0]}.${(await A({ exp: SECONDS + 3000 })).split('.')[1]}.${bytes[2]}`, /has registered a key/],
    ['empty signature', `${bytes[0]}.${bytes[1]}.`, /has registered a key/],
    ['a stranger\'s key', await A({}, {}, { ...stranger, kid: 'k1' }), /has registered a key/],
    ['a stranger\'s key with the right kid', await A({}, { kid: 'k1' }, { ...stranger, kid: 'k1' }), /has registered a key/],
    ['unknown kid', await A({}, { kid: 'k9' }), /has registered a key/],
    ['unregistered curve', await sign(p384, assertionClaims('portal')), /has registered a key/],
    ['embedded jwk', await A({}, { jwk: stranger.jwk }, { ...stranger, kid: '' }), /has registered a key/],
    ['key of another client', await sign(other, assertionClaims('portal')), /has registered a key/],
    ['own key, another client', await sign(own, assertionClaims('hidden')), /has registered a key/],
    ['unknown client', await sign(own, assertionClaims('nobody')), /has registered a key/],
    ['inherited name', await sign(own, assertionClaims('__proto__')), /has registered a key/],
    ['other alg than the key\'s', await sign(rsa, assertionClaims('fixed')), /has registered a key/],
    ['iss only', await A({ sub: undefined }), /needs iss and sub/],
    ['sub only', await A({ iss: undefined }), /needs iss and sub/],
    ['iss differs', await A({ iss: 'careful' }), /iss and sub .* differ/],
    ['sub no text', await A({ iss: 1, sub: 1 }), /needs iss and sub/],
    ['long id', await A({ iss: 'x'.repeat(65), sub: 'x'.repeat(65) }), /at most 64/],
    ['no aud', await A({ aud: undefined }), /not the token URL/],
    ['aud is the origin', await A({ aud: PUBLIC_URL }), /not the token URL/],
    ['aud is Okta', await A({ aud: 'https://acme.okta.com/oauth2/v1/token' }), /not the token URL/],
    ['aud by http', await A({ aud: TOKEN_URL.replace('https', 'http') }), /not the token URL/],
    ['aud of another port', await A({ aud: 'https://gate.example.com:8443/oauth2/v1/token' }), /not the token URL/],
    ['aud with a query', await A({ aud: `${TOKEN_URL}?a=b` }), /not the token URL/],
    ['aud with a user', await A({ aud: 'https://x@gate.example.com/oauth2/v1/token' }), /not the token URL/],
    ['aud with a slash', await A({ aud: `${TOKEN_URL}/` }), /not the token URL/],
    ['aud of a host that begins alike', await A({ aud: 'https://gate.example.com.evil.example/oauth2/v1/token' }), /not the token URL/],
    ['several auds', await A({ aud: [TOKEN_URL, 'https://evil.example'] }), /not the token URL/],
    ['no exp', await A({ exp: undefined }), /no expiration/],
    ['exp as text', await A({ exp: String(SECONDS + 300) }), /no expiration/],
    ['exp in milliseconds', await A({ exp: NOW + 300_000 }), /no expiration/],
    ['expired', await A({ iat: SECONDS - 400, exp: SECONDS - 61 }), /has expired/],
    ['exp beyond an hour', await A({ iat: undefined, exp: SECONDS + 3661 }), /longer than one hour/],
    ['a life of more than an hour', await A({ iat: SECONDS - 3000, exp: SECONDS + 700 }), /longer than one hour/],
    ['iat in the future', await A({ iat: SECONDS + 61 }), /issued in the future/],
    ['iat no number', await A({ iat: 'now' }), /iat .* no number/],
    ['not yet valid', await A({ nbf: SECONDS + 61 }), /not valid yet/],
    ['jti no text', await A({ jti: 5 }), /jti .* no text/],
    ['jti empty', await A({ jti: '' }), /jti .* no text/],
    ['jti missing where required', await sign(own, assertionClaims('careful')), /requires a jti/]
  ]
  for (const [name, assertion, why] of table) {
    const answer = await world.token({ parameters: { client_assertion: assertion } })
    const body = JSON.parse(answer.body) as Record<string, string>
    t.equal(answer.status, 401, name)
    t.equal(body['error'], 'invalid_client', name)
    t.match(body['error_description'], why, name)
    t.equal(answer.refusal?.code, 'bad_credential', name)
    t.notMatch(answer.body, /hidden|careful|"over/, `${name}: names no other client`)
    t.equal(answer.client, undefined, `${name}: nobody is proved`)
  }
  const once = await A({ jti: 'a' })
  t.equal((await world.token({ parameters: { client_assertion: once } })).status, 200)
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: once } })).body), { error: 'invalid_client', error_description: /used before/ }, 'jti again')
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: await A({ jti: 'a', exp: SECONDS + 200 }) } })).body), { error: 'invalid_client', error_description: /used before/ }, 'the same jti in another assertion')
  t.equal((await world.token({ parameters: { client_assertion: await sign(own, assertionClaims('careful', { jti: 'a' })) } })).status, 200, 'of another client it is another jti')
  t.equal((await world.token({ parameters: { client_assertion: good } })).status, 200, 'without a jti it may be sent again')
})

t.test('what the SDKs send is accepted', async t => {
  const table: [string, Promise<string>][] = [
    ['default port', A({ aud: 'https://gate.example.com:443/oauth2/v1/token' })],
    ['double slash', A({ aud: 'https://gate.example.com//oauth2/v1/token' })],
    ['one aud in a list', A({ aud: [TOKEN_URL] })],
    ['exactly an hour', A({ exp: SECONDS + 3600 })],
    ['a clock that is a minute ahead', A({ iat: SECONDS + 60, exp: SECONDS + 3660 })],
    ['kid', A({}, { kid: 'k1' })],
    ['RS256 without a kid', sign(rsa, assertionClaims('portal'))],
    ['RS512', sign({ ...rsa, alg: 'RS512' }, assertionClaims('portal'))],
    ['PS256', sign({ ...rsa, alg: 'PS256' }, assertionClaims('portal'))],
    ['typ JWT', A({}, { typ: 'JWT' })]
  ]
  for (const [name, assertion] of table) t.equal((await world.token({ parameters: { client_assertion: await assertion } })).status, 200, name)
  for (const alg of ['RS256', 'RS384', 'RS512', 'PS256', 'ES256', 'ES384', 'ES512']) {
    const pair = { ES256: own, ES384: curve384, ES512: curve521 }[alg] ?? { ...rsa, alg }
    t.match(await world.token({ parameters: { client_assertion: await sign(pair, assertionClaims('many')) } }), { status: 200, client: { id: 'many' } }, `${alg}, several keys, no kid`)
  }
  const inQuery = await world.token({ form: [], query: Object.entries({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: good }).map(([name, value]) => ({ name, value, ambiguous: false })) })
  const { token_type: type, expires_in: life, scope } = JSON.parse(inQuery.body) as { token_type: string, expires_in: number, scope: string }
  t.same([inQuery.status, type, life > 300, scope], [200, 'Bearer', true, 'okta.users.manage okta.groups.read'], 'in the query, as Go and Java do')
  const asked = await world.token({ parameters: { client_assertion: good, scope: 'okta.users.read okta.apps.manage okta.groups.manage' } })
  t.equal((JSON.parse(asked.body) as { scope: string }).scope, 'okta.users.read', 'scopes are narrowed')
})

t.test('every bad form is refused with the right code', async t => {
  const two = [{ name: 'client_assertion', value: good, ambiguous: false }]
  const table: [string, Parameters<typeof world.token>[0], number, string][] = [
    ['no form', { form: undefined }, 400, 'invalid_request'],
    ['no grant', { parameters: { grant_type: undefined, client_assertion: good } }, 400, 'invalid_request'],
    ['another grant', { parameters: { grant_type: 'authorization_code', client_assertion: good } }, 400, 'unsupported_grant_type'],
    ['twice', { parameters: { client_assertion: good }, query: two }, 400, 'invalid_request'],
    ['another type', { parameters: { client_assertion: good, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer' } }, 401, 'invalid_client'],
    ['a secret', { parameters: { client_assertion: good, client_secret: 'x' } }, 401, 'invalid_client'],
    ['Basic', { parameters: { client_assertion: good }, authorization: 'Basic eA==' }, 401, 'invalid_client'],
    ['Basic alone', { parameters: {}, authorization: 'Basic eA==' }, 401, 'invalid_client'],
    ['no assertion', { parameters: { client_id: 'portal' } }, 401, 'invalid_client'],
    ['a password', { parameters: { grant_type: 'password', client_assertion: good } }, 400, 'unsupported_grant_type'],
    ['scope twice', { parameters: { client_assertion: good }, query: [{ name: 'scope', value: 'okta.users.read', ambiguous: false }] }, 400, 'invalid_request'],
    ['another client_id', { parameters: { client_assertion: good, client_id: 'careful' } }, 401, 'invalid_client'],
    ['expired policy', { parameters: { client_assertion: await sign(own, assertionClaims('over')) } }, 401, 'invalid_client']
  ]
  for (const [name, request, status, error] of table) {
    const answer = await world.token(request)
    t.same([answer.status, (JSON.parse(answer.body) as { error: string }).error], [status, error], name)
  }
  const elsewhere = await makeWorld({ keyPairs: [{ client: 'portal', keys: [own.jwk] }], allows: false })
  t.match(await elsewhere.token({ parameters: { client_assertion: good } }), { status: 403, refusal: { code: 'network' }, client: { id: 'portal' } })
})

const assertion = (client: string): Promise<string> => sign(own, assertionClaims(client))

t.test('the handshake of DPoP, and every bad proof at the token endpoint', async t => {
  const first = await world.token({ parameters: { client_assertion: await assertion('bound') } })
  t.match(JSON.parse(first.body), { error: 'invalid_dpop_proof' }, 'without a proof')
  const second = await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: await proof(dpop, {}) })
  t.match([second.status, JSON.parse(second.body)], [400, { error: 'use_dpop_nonce' }], 'without a nonce')
  t.equal(second.headers[0], 'DPoP-Nonce')
  const nonce = second.headers[1]!
  const third = await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: await proof(dpop, { nonce }) })
  t.match([third.status, JSON.parse(third.body)], [200, { token_type: 'DPoP' }])
  t.equal((await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: await proof(dpopRsa, { nonce }) })).status, 200, 'a nonce is bound to no key')
  const later = NOW + 25 * 3_600_000
  const rotated = await world.desk.nonces.current(later)
  t.not(rotated, nonce, 'it rotates')
  t.equal(await world.desk.nonces.accepts(nonce, later), true, 'and the one before is accepted')
  t.equal(await world.desk.nonces.accepts(nonce, NOW + 73 * 3_600_000), false, 'but not for ever')
  const replica = await makeWorld({ keyPairs: [], tokenKeys: world.tokenKeys })
  t.equal(await replica.desk.nonces.accepts(nonce, NOW), true, 'a replica with the same key accepts it')
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: await assertion('either') } })).body), { token_type: 'Bearer' }, 'optional')
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: await assertion('either') }, dpop: await proof(dpop, { nonce }) })).body), { token_type: 'DPoP' })
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: good }, dpop: 'nonsense' })).body), { token_type: 'Bearer' }, 'not asked for: ignored, as Okta does')
  const likeNode = { parameters: { client_assertion: await assertion('bound') }, dpop: await proof(own, {}), userAgent: 'node-fetch/1.0' }
  t.match(await world.token(likeNode), { status: 200, body: /use_dpop_nonce/ }, 'Okta\'s Node SDK gets its nonce with a status that it can read')
  t.match(JSON.parse((await world.token(likeNode)).body), { error: 'use_dpop_nonce', access_token: undefined }, 'and no token')
  t.equal((await world.token({ ...likeNode, dpop: await proof(dpop, {}) })).status, 400, 'nobody else does: with a key of its own for proofs')
  t.equal((await world.token({ ...likeNode, userAgent: 'python-requests/2' })).status, 400, 'by another library')
  t.equal((await world.token({ ...likeNode, dpop: await proof(own, { nonce: 'old' }) })).status, 400, 'nor it, when it has sent a nonce')

  const table: [string, string | Promise<string>, string][] = [
    ['no JWT', 'x', 'invalid_dpop_proof'],
    ['two proofs', `${await proof(dpop, { nonce })}, ${await proof(dpop, { nonce })}`, 'invalid_dpop_proof'],
    ['typ JWT', proof(dpop, { nonce }, { typ: 'JWT' }), 'invalid_dpop_proof'],
    ['no typ', proof(dpop, { nonce }, { typ: undefined }), 'invalid_dpop_proof'],
    ['alg none', forge({ alg: 'none', typ: 'dpop+jwt', jwk: dpop.jwk }, { htm: 'POST', htu: TOKEN_URL, iat: SECONDS, jti: 'n', nonce }, ''), 'invalid_dpop_proof'],
    ['HS256', forge({ alg: 'HS256', typ: 'dpop+jwt', jwk: { kty: 'oct', k: 'AAAA' } }, { htm: 'POST', htu: TOKEN_URL, iat: SECONDS, jti: 'n', nonce }), 'invalid_dpop_proof'],
    ['ES384', proof(p384, { nonce }), 'invalid_dpop_proof'],
    ['no jwk', proof(dpop, { nonce }, { jwk: undefined }), 'invalid_dpop_proof'],
    ['jwk of another', proof(dpop, { nonce }, { jwk: other.jwk }), 'invalid_dpop_proof'],
    ['private jwk', proof(dpop, { nonce }, { jwk: dpop.secret.export({ format: 'jwk' }) }), 'invalid_dpop_proof'],
    ['jwk of another kind', proof(dpop, { nonce }, { jwk: dpopRsa.jwk }), 'invalid_dpop_proof'],
    ['jwk a text', proof(dpop, { nonce }, { jwk: 'x' }), 'invalid_dpop_proof'],
    ['method', proof(dpop, { nonce, htm: 'GET' }), 'invalid_dpop_proof'],
    ['no method', proof(dpop, { nonce, htm: undefined }), 'invalid_dpop_proof'],
    ['URL', proof(dpop, { nonce, htu: 'https://acme.okta.com/oauth2/v1/token' }), 'invalid_dpop_proof'],
    ['path', proof(dpop, { nonce, htu: `${PUBLIC_URL}/api/v1/users` }), 'invalid_dpop_proof'],
    ['no URL', proof(dpop, { nonce, htu: undefined }), 'invalid_dpop_proof'],
    ['old', proof(dpop, { nonce, iat: SECONDS - 361 }), 'invalid_dpop_proof'],
    ['of tomorrow', proof(dpop, { nonce, iat: SECONDS + 61 }), 'invalid_dpop_proof'],
    ['no iat', proof(dpop, { nonce, iat: undefined }), 'invalid_dpop_proof'],
    ['no jti', proof(dpop, { nonce, jti: undefined }), 'invalid_dpop_proof'],
    ['long jti', proof(dpop, { nonce, jti: 'j'.repeat(257) }), 'invalid_dpop_proof'],
    ['nonce of nobody', proof(dpop, { nonce: 'x' }), 'use_dpop_nonce'],
    ['nonce no text', proof(dpop, { nonce: { a: 1 } }), 'use_dpop_nonce'],
    ['nonce of another gate', proof(dpop, { nonce: await (await makeWorld({ keyPairs: [] })).desk.nonces.current(NOW) }), 'use_dpop_nonce']
  ]
  for (const [name, text, error] of table) {
    const answer = await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: await text })
    t.same([answer.status, (JSON.parse(answer.body) as { error: string }).error], [400, error], name)
  }
  const again = await proof(dpop, { nonce })
  t.equal((await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: again })).status, 200)
  t.match(JSON.parse((await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: again })).body), { error: 'invalid_dpop_proof', error_description: /used before/ })
})

const call = (more: Partial<Presented>): Presented => ({ authorization: undefined, dpop: undefined, method: 'GET', path: '/api/v1/users/a%40b.c', certificate: () => undefined, ...more })
const bearer = (token: string): Presented => call({ authorization: `Bearer ${token}` })
const tokenOf = async (client: string, more: { dpop?: string, now?: number } = {}): Promise<string> => {
  const now = more.now ?? NOW
  const answer = await world.token({ parameters: { client_assertion: await sign(own, assertionClaims(client, { iat: now / 1000, exp: now / 1000 + 300 })) }, ...more })
  return (JSON.parse(answer.body) as { access_token: string }).access_token
}

t.test('every bad token and proof of a call is refused with 401, and says what to fix', async t => {
  const plain = await tokenOf('portal')
  t.match(await world.callers.identify(bearer(plain), NOW), { client: { id: 'portal', method: 'privateKeyJwt', keyId: /^[0-9a-f]{8}$/ } })
  t.match(world.callers.identify(bearer(plain), NOW), { id: 'portal' }, 'the second time at once, without a signature check')
  const nonce = await world.desk.nonces.current(NOW)
  const bound = await tokenOf('bound', { dpop: await proof(dpop, { nonce }) })
  const here = { htm: 'GET', htu: `${PUBLIC_URL}/api/v1/users/a%40b.c`, ath: athOf(bound) }
  const dpopCall = async (claims: Record<string, unknown>, header = {}, pair = dpop): Promise<Presented> => call({ authorization: `DPoP ${bound}`, dpop: await proof(pair, { ...here, ...claims }, header) })
  for (const htu of [here.htu, `${PUBLIC_URL}/api/v1/users/a@b.c`, `${here.htu}?limit=1`, 'https://gate.example.com:443/api/v1/users/a%40b.c']) {
    t.match(await world.callers.identify(await dpopCall({ htu }), NOW), { client: { id: 'bound' }, proof: { untilMs: NOW + 360_000 } }, htu)
  }
  const foreign = await makeWorld({ keyPairs: [{ client: 'portal', keys: [own.jwk] }] })
  const foreignToken = (JSON.parse((await foreign.token({ parameters: { client_assertion: good } })).body) as { access_token: string }).access_token
  const gone = await makeWorld({ keyPairs: [{ client: 'portal', keys: [other.jwk] }], tokenKeys: world.tokenKeys })
  t.match(await gone.callers.identify(bearer(plain), NOW), { code: 'bad_credential', causes: [/no longer registered/] }, 'a revoked key takes its tokens with it')
  const strict = await makeWorld({ keyPairs: [{ client: 'portal', keys: [own.jwk], dpop: 'required' }], tokenKeys: world.tokenKeys })
  t.match(await strict.callers.identify(bearer(plain), NOW), { causes: [/requires DPoP/] }, 'a policy that has come to require DPoP')

  const W = (more: Record<string, unknown>, header: Record<string, unknown> = { kid: 'g1' }, pair = gitlab) => sign(pair, { iss: GITLAB, aud: 'narrowgate', sub: 'job', exp: SECONDS + 300, project_path: 'acme/app', ref: 'dev', ...more }, header)
  t.match(await world.callers.identify(bearer(await W({})), NOW), { client: { id: 'ci', method: 'workload' } })
  const parts = plain.split('.')
  const table: [string, Presented | Promise<Presented>, RegExp][] = [
    ['nothing', call({}), /^$/],
    ['Bearer undefined', bearer('undefined'), /token call failed/],
    ['DPoP undefined', call({ authorization: 'DPoP undefined' }), /token call of the SDK fail/],
    ['DPoP alone', call({ authorization: 'DPoP ' }), /no token follows/],
    ['DPoP without a blank', call({ authorization: 'DPoP' }), /belongs after "DPoP"/],
    ['a token with SSWS', call({ authorization: `SSWS ${plain}` }), /sent as "Bearer/],
    ['expired', bearer(await tokenOf('portal', { now: NOW - 601_000 })), /has expired/],
    ['another gate\'s', bearer(foreignToken), /not issued by this gate/],
    ['changed claims', bearer(`${parts[0]}.${Buffer.from(JSON.stringify({ iss: PUBLIC_URL, aud: PUBLIC_URL, client_id: 'hidden', sub: 'hidden', exp: SECONDS + 9 })).toString('base64url')}.${parts[2]}`), /not issued by this gate/],
    ['own token, alg none', bearer(forge({ alg: 'none', typ: 'at+jwt' }, { iss: PUBLIC_URL }, '')), /not signed/],
    ['nested', bearer(forge({ alg: 'ES256', typ: 'at+jwt', cty: 'JWT' }, { iss: PUBLIC_URL })), /unnested/],
    ['huge', bearer(`eyJ${'a'.repeat(9000)}.e30.AAAA`), /longer than 8192/],
    ['an assertion', bearer(good), /issuer that this gate does not know/],
    ['a proof as token', bearer(await proof(dpop, {})), /issuer that this gate does not know/],
    ['a nonce as token', bearer(nonce), /issuer that this gate does not know/],
    ['an Okta token', bearer(await sign(stranger, { iss: 'https://acme.okta.com', aud: 'https://acme.okta.com', exp: SECONDS + 300 })), /issuer that this gate does not know/],
    ['bound token as Bearer', bearer(bound), /bound to a key/],
    ['plain token as DPoP', call({ authorization: `DPoP ${plain}`, dpop: await proof(dpop, { ...here, ath: athOf(plain) }) }), /not bound/],
    ['key as DPoP', call({ authorization: `DPoP ${apiKey.key}` }), /no access token of this gate/],
    ['workload token as DPoP', call({ authorization: `DPoP ${await W({}, { kid: 'g1' }, gitlab)}` }), /not accepted|only access tokens/],
    ['no proof', call({ authorization: `DPoP ${bound}` }), /proof is missing/],
    ['another method', dpopCall({ htm: 'get' }), /htm/],
    ['another path', dpopCall({ htu: `${PUBLIC_URL}/api/v1/users` }), /htu/],
    ['another origin', dpopCall({ htu: 'https://acme.okta.com/api/v1/users/a%40b.c' }), /htu/],
    ['path by dots', dpopCall({ htu: `${PUBLIC_URL}/api/v1/x/../users/a%40b.c` }), /htu/],
    ['no ath', dpopCall({ ath: undefined }), /ath/],
    ['ath of another token', dpopCall({ ath: athOf(plain) }), /ath/],
    ['proof of another key', dpopCall({}, { jwk: other.jwk }, other), /another key/],
    ['old proof', dpopCall({ iat: SECONDS - 400 }), /older than five minutes/],
    ['workload: audience', bearer(await W({ aud: 'other' })), /another audience/],
    ['workload: claims', bearer(await W({ project_path: 'acme/other' })), /no policy admits/],
    ['workload: two policies', bearer(await W({ ref: 'main' })), /more than one policy/],
    ['workload: claim missing', bearer(await W({ project_path: undefined })), /no policy admits/],
    ['workload: expired', bearer(await W({ exp: SECONDS - 61 })), /has expired/],
    ['workload: not yet', bearer(await W({ nbf: SECONDS + 120 })), /not valid yet/],
    ['workload: no exp', bearer(await W({ exp: undefined })), /no expiration/],
    ['workload: another key', bearer(await W({}, { kid: 'g1' }, rsa)), /no key of its issuer/],
    ['workload: unknown kid', bearer(await W({}, { kid: 'g2' })), /no key of its issuer/],
    ['workload: alg of no allowlist', bearer(await W({}, { kid: 'g1' }, { ...gitlab, alg: 'RS512' })), /algorithm .* is not accepted/],
    ['workload: HS256 with the public key', bearer(hs256({ iss: GITLAB, aud: 'narrowgate', exp: SECONDS + 300 }, JSON.stringify(gitlab.jwk))), /algorithm .* is not accepted/],
    ['certificate of nobody', call({ certificate: () => certificate(['spiffe://acme/nobody']) }), /no policy names/],
    ['certificate of two', call({ certificate: () => certificate(['spiffe://acme/mesh', 'host.acme.example']) }), /more than one policy/],
    ['expired certificate', call({ certificate: () => certificate(['spiffe://acme/mesh'], new Date('2021-01-01')) }), /not within its time/]
  ]
  for (const [name, presented, why] of table) {
    const result = await world.callers.identify(await presented, NOW)
    if (!isRejection(result)) { t.fail(`${name} was accepted`); continue }
    t.equal(rejections[result.code].status, 401, name)
    t.match(result.causes[0] ?? '', why, name)
    t.notMatch(JSON.stringify(result.causes), /hidden|ci-too|mesh|"over/, `${name}: names no other client`)
  }
  t.match(await world.callers.identify(call({ authorization: `SSWS ${apiKey.key}`, certificate: () => certificate(['spiffe://acme/mesh']) }), NOW), { id: 'portal' }, 'what stands in the header decides')
  t.match(await world.callers.identify(call({ certificate: () => certificate(['spiffe://acme/mesh']) }), NOW), { id: 'mesh', method: 'mtls' })
  t.match(await world.callers.identify(call({ certificate: () => certificate(['HOST.acme.example']) }), NOW), { id: 'host' }, 'DNS names in any case')
  const header = new X509Certificate(makeCertificate({ commonName: 'x', names: ['spiffe://acme/mesh'], issuer: authority }).cert).raw.toString('base64')
  t.match(new Certificates().fromHeader(`:${header}:`), { uris: ['spiffe://acme/mesh'] }, 'RFC 9440')
  const der = Buffer.from(header, 'base64')
  const longer = Buffer.concat([der, der]).toString('base64')
  const pemText = Buffer.from(new X509Certificate(der).toString()).toString('base64')
  for (const bad of [header, `:${header}`, ':AAAA:', '', `:${header}:, :${header}:`, `:${longer}:`, `:${pemText}:`]) t.equal(new Certificates().fromHeader(bad), undefined)
})

t.test('keys that a policy must not list', async t => {
  const small = makePair('RS256', 1024)
  const table: [string, unknown, RegExp][] = [
    ['no set', own.jwk, /no JWK Set/], ['empty', { keys: [] }, /1 to 100/], ['private', { keys: [own.secret.export({ format: 'jwk' })] }, /holds a private key/],
    ['symmetric', { keys: [{ kty: 'oct', k: 'AAAA' }] }, /symmetric/], ['short', { keys: [small.jwk] }, /shorter than 2048/], ['for encryption', { keys: [{ ...own.jwk, use: 'enc' }] }, /not for signatures/],
    ['another alg', { keys: [{ ...own.jwk, alg: 'RS256' }] }, /does not fit its alg/], ['broken', { keys: [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }] }, /malformed/], ['twice', { keys: [own.jwk, { ...own.jwk, kid: 'z' }] }, /twice/], ['text', { keys: ['x'] }, /no JWK/]
  ]
  for (const [name, set, why] of table) {
    const { problems } = await readKeySet(set)
    t.match(problems[0]?.message, why, name)
    t.notMatch(JSON.stringify(problems), new RegExp(String(own.secret.export({ format: 'jwk' }).d)), 'repeats no key')
  }
})

t.test('100,000 guesses from 10,000 addresses are slow, take bounded memory and touch no client', async t => {
  const sources = createFailures()
  const clients = createFailures()
  const guesses = Array.from({ length: 100 }, (_, i) => forge({ alg: 'ES256' }, assertionClaims('portal', { i }), createHash('sha512').update(String(i)).digest('base64url')))
  const keys = Array.from({ length: 1000 }, () => `SSWS ${newKey(randomBytes).key}`)
  let slowed = 0
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 100_000; i++) {
    const now = NOW + i
    const source = `10.0.${i % 10_000 >> 8}.${i % 10_000 & 255}`
    const refused = i % 1000 === 0
      ? (await world.token({ parameters: { client_assertion: guesses[i / 1000]! }, now })).refusal
      : world.callers.identify(call({ authorization: keys[i % 1000] }), now)
    if (!isRejection(refused)) throw new Error('a guess was right')
    if (sources.failed(source, now) !== undefined || (i % 1000 === 0 && clients.failed('client portal', now) !== undefined)) slowed++
    if (i % 1000 === 0) {
      if (isRejection(world.callers.identify(call({ authorization: `SSWS ${apiKey.key}` }), now))) throw new Error('the client was locked out')
      if ((await world.token({ parameters: { client_assertion: await sign(own, assertionClaims('portal', { iat: now / 1000, exp: now / 1000 + 300 })) }, now })).status !== 200) throw new Error('the client was locked out of the token endpoint')
    }
  }
  t.ok(slowed > 0, `${slowed} answers were 429`)
  t.same([sources.size, clients.size], [10_000, 1], 'what is remembered')
  t.ok(process.memoryUsage().heapUsed - before < 100_000_000, 'memory is bounded')
})
