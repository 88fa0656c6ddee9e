import assert from 'node:assert/strict'
import { createHash, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { hasKeyShape, isWellFormedKey, newKey } from '../../../src/clients/api-key.js'
import { isBearer, readAuthorization, readDpopAuthorization } from '../../../src/clients/authorization.js'
import { buildClientIndex } from '../../../src/clients/identify.js'
import { Certificates } from '../../../src/clients/mtls.js'
import { isRejection } from '../../../src/domain/rejection.js'
import { anyBytes, pieces, type FuzzTarget } from '../target.js'

/** A key in the right form that is nobody's but this test's. */
const { key: KEY, sha256 } = newKey(count => new Uint8Array(count).fill(7))
const SECRET = new RegExp(`CANARY|${KEY.slice(10, 40)}`)
const { index } = buildClientIndex([{ client: 'one', keys: [{ sha256 }] }])
const WORDS = ['SSWS', 'ssws', 'SSWS ', 'Bearer', 'bearer ', 'BEARER  ', 'DPoP ', 'dpop', 'Basic ', 'Digest ', KEY, KEY.slice(0, 20), 'CANARYsecretvalue', 'undefined', 'null', '[object Object]', ' ', '\t', ',', '=', '', 'ngk_', 'eyJ', '.', '\xa0', '\u0130'.slice(0, 1), '"']

export const authorization: FuzzTarget = {
  name: 'authorization',
  property: 'the key is what stands behind SSWS or Bearer, only the listed key is ever a client, and no refusal repeats what was sent',
  share: 4,
  slowMs: 250,
  structured: fc.oneof({ weight: 6, arbitrary: pieces(WORDS, 6) }, { weight: 2, arbitrary: pieces(WORDS, 4).map(text => `SSWS ${text}`) }, { weight: 1, arbitrary: anyBytes }),
  corpus: [`SSWS ${KEY}`, `Bearer ${KEY}`, `SSWS${KEY}`, 'DPoP CANARYsecretvalue', 'Basic CANARYsecretvalue', 'Bearer'],
  words: WORDS,
  check (input) {
    const read = readAuthorization(input)
    // RFC 9110 section 11.1: a scheme, a space, a token. SSWS without the space is what Okta's Python SDK sends.
    const expected = /^ssws(.*)$/is.exec(input)?.[1] ?? /^bearer(?: (.*))?$/is.exec(input)?.slice(1, 2).map(token => token ?? '')[0]
    if (isRejection(read)) {
      const said = JSON.stringify(read)
      assert.doesNotMatch(said, SECRET, 'a refusal repeats the key')
      const token = expected?.trim().toLowerCase()
      assert.ok(token === undefined || token === '' || ['undefined', 'null', 'none', 'nil', '[object object]', '[object promise]'].includes(token), 'a key is not found')
    } else {
      assert.equal(read, expected?.trim(), 'another key is found')
      const who = index.identifyKey(read, 0)
      assert.equal(!isRejection(who) && who.id === 'one', read === KEY, 'another key is the client\'s')
      if (isRejection(who)) assert.doesNotMatch(JSON.stringify(who), SECRET, 'a refusal repeats the key')
      if (isWellFormedKey(read)) assert.ok(hasKeyShape(read), 'well-formed without the shape')
    }
    const bound = readDpopAuthorization(input)
    assert.equal(bound, /^dpop (.*)$/is.exec(input)?.[1]?.trim(), 'another DPoP token is found')
    if (isBearer(input)) assert.match(input, /^bearer/i)
  }
}

/** A self-signed certificate of a test client, P-256, valid for a hundred years; its key was thrown away. */
const DER = 'MIIBsTCCAVagAwIBAgIUKm70a1NBK4b076VkCfUOdC7IzUQwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMjcxMTUyMTNaGA8yMTI2MTEwMzExNTIxM1owDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABItq9QNqqCMRVSykabN1FnIVp+SYRZANxo/wb36/htBslFdjxRG5P2sKd4ww3fHZX2+Jc+6tZxhhxQ0xaa/hPUSjgY0wgYowHQYDVR0OBBYEFFxvkwOkBzrW17/NdMm/l9d6mg3kMB8GA1UdIwQYMBaAFFxvkwOkBzrW17/NdMm/l9d6mg3kMA8GA1UdEwEB/wQFMAMBAf8wNwYDVR0RBDAwLoYWc3BpZmZlOi8vYWNtZS9oZWxwZGVza4IUaGVscGRlc2suZXhhbXBsZS5jb20wCgYIKoZIzj0EAwIDSQAwRgIhALCvoe2fGdU1QPGstgX/3oQ+yEZwzsHIdF0lgwBhy/z8AiEAug8gv8cD1s5Sm3YQ1hqRwu8g4Zf43OgLr8CaB/XoCEk='
const names = new X509Certificate(Buffer.from(DER, 'base64'))
const CERTIFICATE_WORDS = [':', '::', DER.slice(0, 40), DER.slice(40, 120), 'MIIB', '=', '==', ' ', ',', ';', 'LS0tLS1CRUdJTg==', 'AAAA', 'dVJJOmE', '\0']
const certificates = new Certificates()

export const certificate: FuzzTarget = {
  name: 'certificate',
  property: 'a Client-Cert header is one certificate whose hash is that of the bytes that were sent, or none; it never throws',
  share: 0.1,
  slowMs: 500,
  structured: fc.oneof({ weight: 4, arbitrary: pieces(CERTIFICATE_WORDS).map(text => `:${text}:`) }, { weight: 1, arbitrary: pieces(CERTIFICATE_WORDS) }, { weight: 1, arbitrary: anyBytes }),
  corpus: [`:${DER}:`, ` :${DER}: `],
  words: CERTIFICATE_WORDS,
  check (input) {
    const read = certificates.fromHeader(input)
    if (read === undefined) { assert.notEqual(input.trim(), `:${DER}:`, 'an honest one is none'); return }
    const sent = Buffer.from(/:(.*):/s.exec(input)![1]!, 'base64')
    assert.equal(read.sha256, createHash('sha256').update(sent).digest('hex'), 'the hash is of other bytes')
    for (const uri of read.uris) assert.ok(!/[",]/.test(uri), 'one name is two')
    if (input.trim() === `:${DER}:`) assert.equal(read.validTo, Date.parse(names.validTo))
  }
}
