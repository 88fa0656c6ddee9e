import assert from 'node:assert/strict'
import fc from 'fast-check'
import { ProofKeys, checkProof } from '../../../src/clients/dpop.js'
import { checkAssertion } from '../../../src/clients/private-key-jwt.js'
import { isRejection } from '../../../src/domain/rejection.js'
import { ASSERTION_TYPE, assertionClaims, athOf, forge, makePair, makeWorld, NOW, proof, PUBLIC_URL, SECONDS, sign, TOKEN_URL } from '../../clients/tokens.js'
import { anyBytes, pieces, type FuzzTarget } from '../target.js'

const VALUES: readonly unknown[] = [undefined, null, '', 'svc', 'CANARYclaim', 0, -1, SECONDS, SECONDS + 60, SECONDS * 1000, 1e308, true, [], {}, ['svc'], { toString: 1 }, TOKEN_URL, PUBLIC_URL, 'x'.repeat(300), '__proto__', ['https://gate.example.com/oauth2/v1/token', 'x']]
const NAMES = ['iss', 'sub', 'aud', 'exp', 'iat', 'nbf', 'jti', 'htm', 'htu', 'ath', 'nonce', 'client_id', 'ckt', 'cnf', '__proto__', 'toString']
const HEADER_NAMES = ['alg', 'typ', 'kid', 'jwk', 'crit', 'b64', 'cty', 'jku', 'x5u', 'x5c', 'zip', 'enc', '__proto__']
const HEADER_VALUES: readonly unknown[] = [undefined, null, 'none', 'None', 'HS256', 'ES256', 'RS256', 'PS256', 'EdDSA', 'JWT', 'dpop+jwt', 'at+jwt', 'jwt', 1, {}, [], { toString: 1 }, { kty: 'oct', k: 'AAAA' }, { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' }, { kty: 'RSA', n: 'AQAB', e: 'AQAB' }, { kty: 'EC' }, 'https://evil.example/keys', ['exp'], 'x'.repeat(300)]

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** The same claims however its base64url is padded out: what was signed is what stands before the last dot. */
const signedPart = (token: string): string => token.slice(0, token.lastIndexOf('.'))

function changed (base: Record<string, unknown>, names: readonly string[], values: readonly unknown[]): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 9, arbitrary: fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), { maxLength: 3 }).map(changes => ({ ...base, ...Object.fromEntries(changes) })) }, { weight: 1, arbitrary: fc.constantFrom(...values) })
}

/** Assertions, proofs and access tokens of one made-up client. */
export async function tokenTargets (): Promise<FuzzTarget[]> {
  const pair = makePair('ES256')
  const world = await makeWorld({ keyPairs: [{ client: 'svc', keys: [pair.jwk], dpop: 'optional' }] })
  const entries = world.callers.entriesOf
  const assertions = await Promise.all([{}, { jti: 'one' }, { nbf: SECONDS, aud: [TOKEN_URL] }].map(more => sign(pair, assertionClaims('svc', more))))
  const answered = await world.token({ parameters: { client_assertion: assertions[0]!, client_assertion_type: ASSERTION_TYPE } })
  const accessToken = (JSON.parse(answered.body) as { access_token?: string }).access_token
  if (accessToken === undefined) throw new Error(`the world gives no token: ${answered.body}`)
  const proofs = await Promise.all([{}, { nonce: 'n' }, { ath: athOf('t') }].map(more => proof(pair, { htm: 'GET', htu: `${PUBLIC_URL}/api/v1/users`, ...more })))
  const honest = new Set([...assertions, ...proofs, accessToken].map(signedPart))
  const proofKeys = new ProofKeys(50)
  const words = ['.', '..', 'eyJ', 'eyJhbGciOiJub25lIn0', '=', '-', '_', 'AAAA', ...[...assertions, ...proofs].flatMap(token => token.split('.'))]
  const forged = (header: fc.Arbitrary<unknown>, claims: fc.Arbitrary<unknown>): fc.Arbitrary<string> => fc.oneof(
    { weight: 6, arbitrary: fc.tuple(header, claims, fc.constantFrom('', 'AAAA', assertions[0]!.split('.')[2]!, proofs[0]!.split('.')[2]!)).map(([a, b, signature]) => `${part(a ?? null)}.${part(b ?? null)}.${signature}`) },
    { weight: 2, arbitrary: pieces(words, 5) },
    { weight: 1, arbitrary: anyBytes },
    { weight: 1, arbitrary: fc.tuple(anyBytes, anyBytes).map(([a, b]) => forge(a, b)) }
  )
  const said = (text: string | undefined): void => { assert.ok(text === undefined || (text.length > 0 && text.length < 300 && !text.includes('CANARY')), 'a reason repeats what was sent') }

  return [
    {
      name: 'assertion',
      property: 'no client assertion is taken but one that the client\'s key signed, and no reason repeats anything of it',
      share: 0.1,
      slowMs: 500,
      structured: forged(changed({ alg: 'ES256', typ: 'JWT' }, HEADER_NAMES, HEADER_VALUES), changed(assertionClaims('svc'), NAMES, VALUES)),
      corpus: assertions,
      words,
      async check (input) {
        const result = await checkAssertion(input, { publicUrl: PUBLIC_URL, now: NOW, skewSeconds: 60, entriesOf: entries })
        if ('why' in result) { said(result.why); assert.ok(!assertions.includes(input), `an honest assertion is refused: ${result.why}`) } else assert.ok(honest.has(signedPart(input)), 'a forged assertion is taken')
      }
    },
    {
      name: 'proof',
      property: 'no DPoP proof is taken but one that its own key signed for this method and URL, and no reason repeats anything of it',
      share: 0.1,
      slowMs: 500,
      structured: forged(changed({ alg: 'ES256', typ: 'dpop+jwt', jwk: pair.jwk }, HEADER_NAMES, HEADER_VALUES), changed({ htm: 'GET', htu: `${PUBLIC_URL}/api/v1/users`, iat: SECONDS, jti: 'x' }, NAMES, VALUES)),
      corpus: proofs,
      words,
      async check (input) {
        const result = await checkProof(input, { publicUrl: PUBLIC_URL, method: 'GET', path: '/api/v1/users', now: NOW, skewSeconds: 60 }, proofKeys)
        if (typeof result === 'string') { said(result); assert.ok(!proofs.includes(input), `an honest proof is refused: ${result}`) } else assert.ok(honest.has(signedPart(input)) && typeof result.jti === 'string' && Number.isFinite(result.untilMs), 'a forged proof is taken')
      }
    },
    {
      name: 'token',
      property: 'an Authorization header with a token is a client only when the gate issued that token, whatever DPoP header comes with it; no refusal repeats it',
      share: 0.1,
      slowMs: 500,
      // \x02 stands between the Authorization and the DPoP header.
      structured: fc.tuple(fc.constantFrom('Bearer ', 'DPoP ', 'SSWS ', 'bearer', ''), forged(changed({ alg: 'ES256', typ: 'at+jwt', kid: 'x' }, HEADER_NAMES, HEADER_VALUES), changed({ iss: PUBLIC_URL, aud: PUBLIC_URL, sub: 'svc', client_id: 'svc', exp: SECONDS + 60 }, NAMES, VALUES)), fc.constantFrom('', `\x02${proofs[0]!}`, '\x02x')).map(texts => texts.join('')),
      corpus: [`Bearer ${accessToken}`, `DPoP ${accessToken}\x02${proofs[0]!}`, `SSWS ${accessToken}`],
      words: [...words, ...accessToken.split('.'), '\x02', 'Bearer ', 'DPoP '],
      async check (input) {
        const [header = '', dpop] = input.split('\x02')
        const result = await world.callers.identify({ authorization: header, dpop, method: 'GET', path: '/api/v1/users', certificate: () => undefined }, NOW)
        if (isRejection(result)) {
          assert.ok(!JSON.stringify(result).includes('CANARY'), 'a refusal repeats the token')
          assert.notEqual(input, `Bearer ${accessToken}`, 'an honest token is refused')
          return
        }
        assert.equal('client' in result ? result.client.id : result.id, 'svc')
        assert.ok(honest.has(signedPart(header.replace(/^\S+\s+|^(?:ssws)/i, ''))), 'a token is taken that was never issued')
      }
    }
  ]
}
