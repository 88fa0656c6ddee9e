import { X509Certificate, createHash, createHmac, randomBytes, type KeyObject } from 'node:crypto'
import { CompactEncrypt } from 'jose'
import t from 'tap'
import { newKey } from '../../src/clients/api-key.js'
import { createAccessTokens, readAccessToken, TokenCache, type AccessTokens } from '../../src/clients/access-token.js'
import { proofUsed, type Presented } from '../../src/clients/callers.js'
import { createFailures } from '../../src/clients/failures.js'
import type { UnverifiedJwt } from '../../src/clients/jwt.js'
import { Certificates, indexCertificates } from '../../src/clients/mtls.js'
import { readKeySet } from '../../src/clients/public-key.js'
import { issuedAs, readRevocationLists, type IssuedAs, type RevocationLists } from '../../src/clients/revocation.js'
import type { Use } from '../../src/clients/seen-once.js'
import { answerTokenRequest, type TokenAnswer } from '../../src/clients/token-endpoint.js'
import { isRejection, reject, rejections } from '../../src/domain/rejection.js'
import { makeCertificate, makeCrl, sequence, tlv } from '../upstream/certificates.js'
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

t.test('revocation lists: what is on one, what is on none, and lists that are out of date', async t => {
  const second = makeCertificate({ commonName: 'second ca', authority: true })
  const until = Date.UTC(2030, 0, 2, 3, 4, 5)
  const of = (issuer: typeof authority): { made: typeof authority, issued: IssuedAs } => {
    const made = makeCertificate({ commonName: 'x', issuer })
    return { made, issued: issuedAs(new X509Certificate(made.cert).raw) }
  }
  const [revoked, good, also, elsewhere] = [of(authority), of(authority), of(authority), of(second)]
  const lists = readRevocationLists([makeCrl(authority, [revoked.made, also.made], new Date(until))])
  const verdicts = (of: RevocationLists, now: number): (string | undefined)[] => [revoked, good, also, elsewhere].map(({ issued }) => of.whyNot(issued, now))
  const taken = 'the client certificate is revoked'
  const old = 'the revocation list of this gate is out of date: tell its operators'
  t.strictSame(verdicts(lists, until - 1), [taken, undefined, taken, undefined])
  t.strictSame(verdicts(lists, until), [taken, old, taken, undefined], 'out of date; an authority without a list is no concern')
  t.strictSame(verdicts(readRevocationLists([]), until), [undefined, undefined, undefined, undefined])
  t.strictSame(verdicts(readRevocationLists([makeCrl(authority, [])]), until), [undefined, undefined, undefined, undefined])
  const both = readRevocationLists([makeCrl(authority, [revoked.made], new Date(until)), makeCrl(second, [elsewhere.made]), makeCrl(authority, [also.made], new Date(until + 1000))])
  t.strictSame(verdicts(both, until + 999), [taken, undefined, taken, taken], 'one of several is current, and each counts')
  t.strictSame(verdicts(both, until + 1000), [taken, old, taken, taken])
  const many = Array.from({ length: 40 }, () => of(authority))
  const long = readRevocationLists([makeCrl(authority, many.map(one => one.made))])
  t.ok(many.every(({ issued }) => long.whyNot(issued, until) === taken), 'with lengths of two bytes')
  t.equal(long.whyNot({ ...many[0]!.issued, issuer: elsewhere.issued.issuer }, until), undefined, 'the same number of another authority')
})

t.test('revocation lists: forms that RFC 5280 knows, and what is none', async t => {
  const algorithm = sequence(Buffer.from('06082a8648ce3d040302', 'hex'))
  const utc = (text: string): Buffer => tlv(0x17, Buffer.from(text))
  const serial = tlv(0x02, Buffer.from([7]))
  const sealed = (...parts: Buffer[]): Buffer => sequence(sequence(...parts), algorithm, tlv(0x03, Buffer.from([0])))
  const entries = sequence(sequence(serial, utc('200101000000Z')))
  const list = (...parts: Buffer[]): Buffer => sealed(algorithm, authority.name, utc('200101000000Z'), ...parts)
  const read = (der: Buffer): RevocationLists => readRevocationLists([`-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`])
  const issued = { issuer: authority.name.toString('latin1'), serial: '\x07' }
  const other = { ...issued, serial: '\x08' }
  const whenOld = (text: Buffer): number => {
    const lists = read(list(text, entries))
    let [low, high] = [Date.UTC(1940, 0), Date.UTC(2110, 0)]
    while (high - low > 1) { const middle = Math.floor((low + high) / 2); if (lists.whyNot(other, middle) === undefined) low = middle; else high = middle }
    return high
  }
  t.equal(whenOld(utc('491231235958Z')), Date.UTC(2049, 11, 31, 23, 59, 58), 'two digits of a year')
  t.equal(whenOld(utc('500102030405Z')), Date.UTC(1950, 0, 2, 3, 4, 5))
  t.equal(whenOld(tlv(0x18, Buffer.from('20510607080910Z'))), Date.UTC(2051, 5, 7, 8, 9, 10))
  t.equal(read(list(entries)).whyNot(issued, Infinity), 'the client certificate is revoked', 'without an end')
  t.equal(read(list(entries)).whyNot(other, Date.UTC(2200, 0)), undefined)
  t.equal(read(list()).whyNot(issued, 0), undefined)
  t.equal(read(list(utc('491231235958Z'), tlv(0xa0, sequence()))).whyNot(issued, 0), undefined, 'extensions are no entries')
  t.equal(read(sealed(tlv(0x02, Buffer.from([1])), algorithm, authority.name, utc('200101000000Z'), entries)).whyNot(issued, 0), 'the client certificate is revoked', 'with a version')
  const oldForm = sequence(sequence(serial, algorithm, authority.name), algorithm, tlv(0x03, Buffer.from([0])))
  t.strictSame(issuedAs(oldForm), issued, 'a certificate without a version')

  const whole = list(utc('491231235958Z'), entries)
  const table: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['a tag alone', whole.subarray(0, 1)],
    ['a head alone', whole.subarray(0, 2)],
    ['one byte short', whole.subarray(0, -1)],
    ['no SEQUENCE', tlv(0x31, whole)],
    ['nothing in it', sequence()],
    ['no SEQUENCE in it', sequence(tlv(0x31, algorithm, authority.name))],
    ['an empty list', sequence(sequence())],
    ['no issuer', sealed(algorithm)],
    ['an issuer that is none', sealed(algorithm, serial, utc('200101000000Z'))],
    ['an entry without a number', list(sequence(sequence(utc('200101000000Z'))))],
    ['an empty entry', list(sequence(sequence()))],
    ['an entry that is none', list(sequence(serial))],
    ['a length without an end', Buffer.concat([Buffer.from([0x30, 0x80]), whole.subarray(2)])],
    ['a length of five bytes', Buffer.concat([Buffer.from([0x30, 0x85, 0, 0, 0, 0, 4]), whole.subarray(0, 4)])],
    ['a value that ends after what holds it', sequence(sequence(algorithm, authority.name, utc('200101000000Z'), Buffer.from([0x30, 9, 0])), algorithm, algorithm)],
    ['a time without seconds', list(utc('4912312359Z'))],
    ['a time of a zone', list(utc('491231235958+0100'))],
    ['a time with something before it', list(tlv(0x18, Buffer.from('x20510607080910Z')))],
    ['a time with something after it', list(tlv(0x18, Buffer.from('20510607080910ZZ')))]
  ]
  for (const [name, der] of table) t.throws(() => read(der), /DER|list|SEQUENCE|time/, name)
  for (const der of [sequence(), sequence(sequence()), sequence(sequence(algorithm, algorithm, authority.name)), sequence(sequence(serial, algorithm, serial)), sequence(sequence(serial))]) t.throws(() => issuedAs(der), /no certificate|no SEQUENCE/)
  t.strictSame(issuedAs(sequence(Buffer.concat([Buffer.from([0x30, 0x84, 0, 0, 0, serial.length + algorithm.length + authority.name.length]), serial, algorithm, authority.name]))), issued, 'a length of four bytes')
})

t.test('the token endpoint: what goes back, and what the audit log gets to know', async t => {
  const answer = await world.token({ parameters: { client_assertion: good } })
  const body = JSON.parse(answer.body) as Record<string, unknown>
  t.strictSame(Object.keys(body), ['token_type', 'expires_in', 'access_token', 'scope'])
  t.match(body, { token_type: 'Bearer', expires_in: 600, scope: 'okta.users.read' })
  t.strictSame([answer.headers, answer.claimed, answer.refusal, answer.step], [[], 'portal', undefined, undefined])
  const claims = JSON.parse(Buffer.from(String(body['access_token']).split('.')[1]!, 'base64url').toString()) as Record<string, unknown>
  t.match(claims, { iss: PUBLIC_URL, aud: PUBLIC_URL, sub: 'portal', client_id: 'portal', iat: SECONDS, exp: SECONDS + 600, jti: /^.{36}$/, ckt: /^.{43}$/, cnf: undefined })

  const scopes: [string | undefined, string][] = [
    [undefined, 'okta.users.manage okta.groups.read'], ['okta.groups.read okta.groups.read', 'okta.groups.read'], ['okta.groups.manage', ''],
    ['okta.users.read okta.users.manage', 'okta.users.read okta.users.manage'], ['okta.users.readx', ''], ['okta.users.', ''], ['okta.apps.read', '']
  ]
  for (const [scope, granted] of scopes) t.equal((JSON.parse((await world.token({ parameters: { client_assertion: good, scope } })).body) as { scope: string }).scope, granted, String(scope))
  const empty = [{ name: 'client_secret', value: '', ambiguous: false }, { name: 'other', value: 'x', ambiguous: false }, { name: 'other', value: 'y', ambiguous: false }]
  t.equal((await world.token({ parameters: { client_assertion: good, client_id: 'portal' }, query: empty })).status, 200, 'what is empty or unknown is no parameter')

  const secret = await world.token({ parameters: { client_assertion: good, client_secret: 'x' } })
  t.strictSame(secret.headers, [])
  const basic = await world.token({ parameters: { client_assertion: good }, authorization: 'Basic eA==' })
  t.strictSame(basic.headers, ['WWW-Authenticate', 'Basic realm="narrowgate", error="invalid_client"'])
  const refusals: [string, Parameters<typeof world.token>[0], object, RegExp][] = [
    ['no form', { form: undefined }, { refusal: { code: 'bad_request' } }, /not application.x-www-form-urlencoded/],
    ['no grant', { parameters: { grant_type: undefined } }, { refusal: { code: 'bad_request', causes: [/grant_type is missing/] } }, /grant_type is missing/],
    ['another grant', { parameters: { grant_type: 'password' } }, { refusal: { code: 'bad_request', causes: [/not client_credentials/] } }, /only grant/],
    ['twice', { parameters: { client_assertion: good }, query: [{ name: 'scope', value: 'x', ambiguous: false }] }, { refusal: { code: 'bad_request', causes: [/scope occurs twice/] } }, /scope occurs twice/],
    ['another type', { parameters: { client_assertion: good, client_assertion_type: 'x' } }, { refusal: { code: 'bad_credential' } }, /client_assertion_type has to be urn:/],
    ['a secret', { parameters: { client_assertion: good, client_secret: 'x' } }, { refusal: { code: 'bad_credential' } }, /secrets are not accepted/],
    ['another client_id', { parameters: { client_assertion: good, client_id: 'careful' } }, { client: { id: 'portal' }, claimed: 'portal', refusal: { code: 'bad_credential' } }, /client_id is not the client/],
    ['expired policy', { parameters: { client_assertion: await sign(own, assertionClaims('over')) } }, { client: { id: 'over' }, claimed: 'over', refusal: { code: 'policy_expired' } }, /has expired/],
    ['a stranger', { parameters: { client_assertion: await sign(stranger, assertionClaims('portal')) } }, { client: undefined, claimed: 'portal', refusal: { code: 'bad_credential' } }, /has registered a key/]
  ]
  for (const [name, request, expected, why] of refusals) {
    const answer = await world.token(request)
    t.match(answer, expected, name)
    t.match((JSON.parse(answer.body) as { error_description: string }).error_description, why, name)
  }
  const before = NOW - 1
  t.equal((await world.token({ parameters: { client_assertion: await sign(own, assertionClaims('over')) }, now: before })).status, 200, 'a policy is good until its end')
  const step = await world.token({ parameters: { client_assertion: await assertion('bound') }, dpop: await proof(dpop, {}) })
  t.match(step, { status: 400, refusal: undefined, step: /a nonce, no token/, client: { id: 'bound' } })
})

t.test('the token endpoint: ids that were used, that have no room, and that nobody can tell of', async t => {
  const uses: unknown[][] = []
  let says: (value: string) => Use = () => 'first'
  const desk = { ...world.desk, seen: { use: async (owner: string, value: string, untilMs: number, now: number) => { uses.push([owner, value.replace(/proof .* /, 'proof '), untilMs, now]); return says(value) } } }
  const ask = async (more: Record<string, unknown> = {}, proofMore: Record<string, unknown> | undefined = undefined): Promise<TokenAnswer> => {
    const form = Object.entries({ grant_type: 'client_credentials', client_assertion_type: ASSERTION_TYPE, client_assertion: await sign(own, assertionClaims('bound', more)) }).map(([name, value]) => ({ name, value, ambiguous: false }))
    const nonce = await world.desk.nonces.current(NOW)
    return await answerTokenRequest({ form, query: [], dpop: await proof(dpop, { nonce, jti: 'p1', ...proofMore }) }, desk, NOW)
  }
  t.match(await ask({ jti: 'a1' }), { status: 200, headers: ['DPoP-Nonce', await world.desk.nonces.current(NOW)] })
  t.strictSame(uses.splice(0), [['bound', 'proof p1', NOW + 360_000, NOW], ['bound', 'assertion a1', NOW + 360_000, NOW]], 'the proof\'s first')
  t.equal((await ask()).status, 200)
  t.equal(uses.splice(0).length, 1, 'an assertion without a jti')
  const rows: [Use, number, string, RegExp, string][] = [
    ['full', 503, 'temporarily_unavailable', /too many ids/, 'overloaded'],
    ['unknown', 503, 'temporarily_unavailable', /cannot be told/, 'replay_unknown'],
    ['again', 400, 'invalid_dpop_proof', /used before/, 'bad_credential']
  ]
  for (const [use, status, error, why, code] of rows) {
    says = () => use
    const answer = await ask({ jti: 'a1' })
    t.match([answer, JSON.parse(answer.body)], [{ status, refusal: { code }, client: { id: 'bound' } }, { error, error_description: why, access_token: undefined }], use)
    t.equal(uses.splice(0).length, 1, 'the assertion\'s is left alone')
  }
  says = value => value.startsWith('assertion') ? 'again' : 'first'
  t.match(JSON.parse((await ask({ jti: 'a1' })).body), { error: 'invalid_client', error_description: /used before/ })
})

t.test('tokens of the gate: every claim counts, and what was verified is remembered as long as it is good', async t => {
  const entry = world.callers.entriesOf('portal')[0]!
  const ckt = entry.keys[0]!.thumbprint
  const claims = { iss: PUBLIC_URL, aud: PUBLIC_URL, sub: 'portal', client_id: 'portal', ckt, iat: SECONDS, exp: SECONDS + 600, jti: 'x' }
  const pair = { secret: world.tokenKeys.signing.key, jwk: {}, alg: 'ES256' }
  const header = { typ: 'at+jwt', kid: world.tokenKeys.signing.kid }
  const token = async (more: Record<string, unknown> = {}, headerMore = {}): Promise<string> => await sign(pair, { ...claims, ...more }, { ...header, ...headerMore })
  t.match(await world.callers.identify(bearer(await token()), NOW), { client: { id: 'portal' } })
  const rows: [string, Record<string, unknown>, RegExp][] = [
    ['aud', { aud: 'https://other.example' }, /not for this gate/], ['no aud', { aud: undefined }, /not for this gate/], ['a list', { aud: [PUBLIC_URL] }, /not for this gate/],
    ['sub', { sub: 'careful' }, /not for this gate/], ['client_id', { client_id: 'careful' }, /not for this gate/], ['no client_id', { client_id: undefined, sub: undefined }, /not for this gate/],
    ['no ckt', { ckt: undefined }, /not for this gate/], ['ckt', { ckt: 7 }, /not for this gate/], ['ckt of no key', { ckt: 'x' }, /no longer registered/],
    ['cnf without jkt', { cnf: {} }, /not for this gate/], ['cnf null', { cnf: null }, /not for this gate/], ['jkt', { cnf: { jkt: 7 } }, /not for this gate/], ['bound', { cnf: { jkt: 'x' } }, /bound to a key/],
    ['over', { exp: SECONDS }, /has expired/], ['no exp', { exp: undefined }, /has expired/], ['not yet', { nbf: SECONDS + 61 }, /has expired/]
  ]
  for (const [name, more, why] of rows) {
    const result = await world.callers.identify(bearer(await token(more)), NOW)
    t.match(result, { code: 'bad_credential', causes: [why] }, name)
  }
  t.match(await world.callers.identify(bearer(await token({ exp: SECONDS + 1 })), NOW), { client: { id: 'portal' } }, 'until its end')
  t.match(await world.callers.identify(bearer(await token({}, { typ: 'jwt' })), NOW), { causes: [/issuer that this gate does not know/] })
  t.match(await world.callers.identify(bearer(await token({}, { kid: undefined })), NOW), { causes: [/not issued by this gate/] })
  t.match(await world.callers.identify(bearer(await token({}, { kid: 'x' })), NOW), { causes: [/not issued by this gate/] })
  t.match(await world.callers.identify(bearer(await sign({ ...rsa, alg: 'RS256' }, claims, header)), NOW), { causes: [/not issued by this gate/] }, 'another algorithm')
  const gone = await world.callers.identify(bearer(await token({ ckt: 'x' })), NOW)
  t.match(gone, { detail: /^client portal, key / })

  const cache = new TokenCache()
  const make = (publicUrl: string, keys = world.tokenKeys): AccessTokens => createAccessTokens({ publicUrl, lifetimeSeconds: 600, skewSeconds: 60, keys, cache })
  const [here, there, renewed] = [make(PUBLIC_URL), make('https://other.example'), make(PUBLIC_URL, (await makeWorld({ keyPairs: [] })).tokenKeys)]
  const { token: text, expiresIn } = await here.issue({ client: 'c', keyThumbprint: 'k', jkt: 'j' }, NOW + 999, 'id')
  t.equal(expiresIn, 600)
  t.equal(here.known(text, NOW), undefined)
  const jwt = readAccessToken(text) as UnverifiedJwt
  t.strictSame([here.isOwn(jwt), there.isOwn(jwt)], [true, false])
  t.match(await here.verify(jwt, NOW), { client: 'c', keyThumbprint: 'k', jkt: 'j', expiresAt: NOW + 600_000 })
  t.match(here.known(text, NOW + 599_999), { client: 'c', keyThumbprint: 'k', jkt: 'j', expiresAt: NOW + 600_000 })
  t.equal(here.known(text, NOW + 600_000), undefined)
  t.equal(here.known(text, NOW), undefined, 'and is forgotten')
  await here.verify(jwt, NOW)
  t.equal(there.known(text, NOW), undefined, 'another name of the gate')
  await here.verify(jwt, NOW)
  t.equal(renewed.known(text, NOW), undefined, 'its signing key is gone')
})

t.test('who is asked for what: a certificate only where somebody has one, and a proof for a bound token', async t => {
  t.strictSame(world.callers.entriesOf('nobody'), [])
  t.equal(world.callers.entriesOf('portal').length, 1)
  const fails = (): never => { throw new Error('nobody has one') }
  const bare = await makeWorld({ keyPairs: [{ client: 'twice', keys: [own.jwk] }, { client: 'twice', keys: [own.jwk, rsa.jwk], dpop: 'required' }] })
  t.match(bare.callers.identify(call({ certificate: fails }), NOW), { code: 'no_credential' })
  t.match(bare.callers.identify(call({ authorization: '', certificate: fails }), NOW), { code: 'no_credential' }, 'an empty header is none')
  const rejected = reject('bad_credential', { causes: ['revoked'] })
  t.equal(world.callers.identify(call({ certificate: () => rejected }), NOW), rejected)
  t.equal(bare.callers.entriesOf('twice').length, 2)
  const token = (JSON.parse((await bare.token({ parameters: { client_assertion: await sign(own, assertionClaims('twice')) } })).body) as { access_token: string }).access_token
  t.match(await bare.callers.identify(bearer(token), NOW), { client: { id: 'twice' } }, 'the first entry with that key')

  const nonce = await world.desk.nonces.current(NOW)
  const bound = await tokenOf('bound', { dpop: await proof(dpop, { nonce }) })
  const good = call({ authorization: `DPoP ${bound}`, dpop: await proof(dpop, { htm: 'GET', htu: `${PUBLIC_URL}/api/v1/users/a%40b.c`, ath: athOf(bound), jti: 'once' }) })
  for (let i = 0; i < 2; i++) t.match(await world.callers.identify(good, NOW), { client: { id: 'bound', method: 'privateKeyJwt' }, proof: { value: /^proof .{43} once$/, untilMs: NOW + 360_000 } })
  const challenge = 'DPoP realm="narrowgate", error="invalid_dpop_proof", algs="RS256 ES256"'
  for (const presented of [{ ...good, dpop: undefined }, { ...good, dpop: 'x' }, bearer(bound)]) t.match(await world.callers.identify(presented, NOW), { challenge })
  t.match(proofUsed(), { code: 'bad_credential', challenge, causes: [/used before/] })
  const foreign = await makeWorld({ keyPairs: [] })
  t.match(await foreign.callers.identify(good, NOW), { causes: [/not issued by this gate/] })
  t.match(await world.callers.identify(call({ authorization: 'DPoP eyJ.x' }), NOW), { causes: [/no compact signed JWT/] })
  t.match(await world.callers.identify(call({ authorization: `DPoP ${await sign(stranger, { iss: 'https://other.example' })}` }), NOW), { causes: [/only access tokens of this gate/] })
})

t.test('certificates: by their names and their hash, within their time', async t => {
  const found = certificate(['spiffe://acme/mesh', 'Host.Acme.example', 'other.example'])
  t.match(found, { sha256: /^[0-9a-f]{64}$/, uris: ['spiffe://acme/mesh'], dns: ['host.acme.example', 'other.example'], validFrom: Date.UTC(2020, 0), validTo: Date.UTC(2099, 0) })
  t.match(certificate([]), { uris: [], dns: [] })
  t.match(certificate(['spiffe://acme/mesh', 'a.example, URI:spiffe://acme/boss']), { uris: [], dns: [] }, 'a name that looks like two')
  const index = indexCertificates([{ client: 'hash', sha256: found.sha256 }, { client: 'dns', dns: 'OTHER.example' }, { client: 'uri', uri: 'spiffe://acme/mesh' }, { client: 'uri', uri: 'spiffe://acme/second' }])
  t.equal(index.size, 4)
  const bare = { ...found, uris: [], dns: [] }
  t.strictSame(index.identify(bare, NOW), { id: 'hash', keyId: found.sha256.slice(0, 8), method: 'mtls' })
  t.match(index.identify({ ...bare, sha256: 'f'.repeat(64), dns: ['x.example', 'other.example'] }, NOW), { id: 'dns', keyId: 'ffffffff' })
  t.match(index.identify({ ...bare, sha256: 'f'.repeat(64), uris: ['spiffe://acme/second', 'spiffe://acme/mesh'] }, NOW), { id: 'uri' })
  t.match(index.identify(found, NOW), { code: 'bad_credential', causes: [/more than one/], detail: `certificate ${found.sha256.slice(0, 8)} fits dns, hash, uri` })
  t.match(index.identify({ ...bare, sha256: 'f'.repeat(64), uris: ['other.example'] }, NOW), { causes: [/no policy names/], detail: 'certificate ffffffff' }, 'a name of another kind')
  for (const [now, id] of [[found.validFrom - 1, undefined], [found.validFrom, 'hash'], [found.validTo - 1, 'hash'], [found.validTo, undefined]] as const) t.match(index.identify(bare, now), id === undefined ? { causes: [/not within its time/] } : { id })
  const { raw } = new X509Certificate(makeCertificate({ commonName: 'x' }).cert)
  const known = new Certificates(1)
  t.equal(known.fromDer(raw), known.fromDer(raw), 'remembered')
  t.equal(known.fromHeader(` :${raw.toString('base64')}: `)?.sha256, known.fromDer(raw)?.sha256)
  for (const bad of [`x:${raw.toString('base64')}:`, `:${raw.toString('base64')}:x`, `::${raw.toString('base64')}::`, `:${'A'.repeat(16_001)}:`]) t.equal(known.fromHeader(bad), undefined)
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
