import { randomUUID, X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import t from 'tap'
import { client, request, respond, startRig, startStub } from '../support/gate.js'
import { makeCertificate } from '../upstream/certificates.js'
import { ASSERTION_TYPE, athOf, makePair, proof, sign } from './tokens.js'

const own = makePair('ES256')
const dpop = makePair('ES256')

t.test('a proof is verified at once and consumed only when the limits admit the call', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const policy = (limit: number): string => client('bound', `allow: [{ operation: listUsers, rateLimit: ${limit}/min }]`, ['privateKeyJwt: { jwks: { file: keys/bound.json }, dpop: required }']).text
  const rig = await startRig(t, { org: stub.origin, policies: { 'bound.yaml': policy(1), 'keys/bound.json': JSON.stringify({ keys: [own.jwk] }) } })
  const tokenUrl = `${rig.publicUrl}/oauth2/v1/token`
  const seconds = (): number => Math.floor(Date.now() / 1000)
  const ask = async (nonce?: string) => {
    const assertion = await sign(own, { iss: 'bound', sub: 'bound', aud: tokenUrl, exp: seconds() + 300, jti: randomUUID() })
    const form = new URLSearchParams({ grant_type: 'client_credentials', scope: 'okta.users.read', client_assertion_type: ASSERTION_TYPE, client_assertion: assertion }).toString()
    return await rig.ask(request('POST /oauth2/v1/token', undefined, ['Content-Type: application/x-www-form-urlencoded', `DPoP: ${await proof(dpop, { htu: tokenUrl, iat: seconds(), nonce })}`], form))
  }
  const first = await ask()
  t.match([first.status, first.text], [400, /use_dpop_nonce/])
  const second = await ask(first.header('dpop-nonce'))
  t.equal(second.status, 200)
  t.equal(second.header('cache-control'), 'no-store')
  const { access_token: token } = JSON.parse(second.text) as { access_token: string }
  const make = async () => await proof(dpop, { htm: 'GET', htu: `${rig.publicUrl}/api/v1/users`, iat: seconds(), ath: athOf(token) })
  const call = async (made: string) => await rig.ask(request('GET /api/v1/users', undefined, [`Authorization: DPoP ${token}`, `DPoP: ${made}`]))
  const used = await make()
  t.equal((await call(used)).status, 200)
  const held = await make()
  t.equal((await call(held)).status, 429, 'limited: the proof was looked at, and not consumed')
  rig.write('policies/bound.yaml', policy(100))
  await rig.gate.reload()
  t.equal((await call(held)).status, 200, 'the same proof after the 429')
  const again = await call(held)
  t.equal(again.status, 401, 'but not a second time')
  t.match(again.header('www-authenticate'), /^DPoP .*error="invalid_dpop_proof"/)
  t.match(again.text, /used before/)
  t.equal((await call(used)).status, 401)
  t.equal(stub.requests.length, 2, 'what was refused did not reach Okta')
  t.notOk(stub.requests.some(received => received.header('dpop') !== undefined), 'no proof of a client reaches Okta')
  t.equal((await rig.ask(request('GET /api/v1/users', undefined, ['Authorization: Bearer undefined']))).status, 401)
  const events = await rig.events(8)
  t.notOk(/eyJ[A-Za-z0-9_-]{10}/.test(rig.auditText() + rig.log()), 'no token, proof or assertion in any log')
  t.equal(events.length, 8)
})

t.test('a client certificate is a caller where its authority is known, and the header only from a trusted proxy', async t => {
  const stub = await startStub(t)
  stub.answer = (_, socket) => { socket.write(respond(200, '[]')) }
  const authority = makeCertificate({ commonName: 'server authority', authority: true })
  const leaf = makeCertificate({ commonName: 'gate', names: ['localhost', '127.0.0.1'], issuer: authority })
  const people = makeCertificate({ commonName: 'client authority', authority: true })
  const known = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: people })
  const stranger = makeCertificate({ commonName: 'mesh', names: ['spiffe://acme/mesh'], issuer: makeCertificate({ commonName: 'client authority', authority: true }) })
  const rules = 'allow: [{ operation: listUsers }]'
  const files = { 'cert.pem': leaf.cert, 'key.pem': leaf.key, 'clients.pem': people.cert }
  const policies = { 'mesh.yaml': client('mesh', rules, ['mtls: { uri: spiffe://acme/mesh }']).text }
  const tls = 'tls: { cert: { file: cert.pem }, key: { file: key.pem }, clientCa: { file: clients.pem } }'
  const direct = await startRig(t, { org: stub.origin, policies, files, listen: tls })
  const call = async (port: number, certificate?: { cert: string, key: string }, headers: Record<string, string> = {}): Promise<number> => await new Promise((resolve, reject) => {
    httpsRequest({ host: '127.0.0.1', port, path: '/api/v1/users', ca: authority.cert, cert: certificate?.cert, key: certificate?.key, agent: false, headers }, answer => { answer.resume(); resolve(answer.statusCode!) }).on('error', reject).end()
  })
  const header = { 'client-cert': `:${new X509Certificate(known.cert).raw.toString('base64')}:` }
  t.equal(await call(direct.port, known), 200)
  t.equal(await call(direct.port, stranger), 401, 'of another authority of the same name')
  t.equal(await call(direct.port), 401)
  t.equal(await call(direct.port, undefined, header), 401, 'the header of nobody in particular')
  t.same((await direct.events(4)).map(event => event['authentication'] ?? event['reason']), ['mtls', 'no_credential', 'no_credential', 'no_credential'])

  const behind = await startRig(t, { org: stub.origin, policies, files, listen: `${tls}, trustedProxies: [127.0.0.0/8], clientCertHeader: true` })
  t.equal(await call(behind.port, undefined, header), 200, 'of a trusted proxy')
  t.equal(await call(behind.port, known), 401, 'whose own certificate is nobody\'s')
  t.equal(await call(behind.port, undefined, { 'client-cert': ':AAAA:' }), 401)
})
