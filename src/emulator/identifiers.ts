const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID_LENGTH = 20

/** Makes ids of Okta's shape, 20 characters that begin with `prefix`; the same ones in every run, in ascending order. */
export function createIdentifiers (): (prefix: string) => string {
  let counter = 0
  return prefix => {
    counter++
    return `${prefix}${'ng'.padEnd(ID_LENGTH - prefix.length - 9, '1')}${base62(counter).padStart(6, '0')}5d7`
  }
}

function base62 (value: number): string {
  let text = ''
  for (let rest = value; rest > 0; rest = Math.floor(rest / 62)) text = ALPHABET.charAt(rest % 62) + text
  return text
}

/** Makes secrets (state tokens, session tokens, one-time tokens): `prefix` and 240 random bits. */
export function createTokens (randomBytes: (n: number) => Uint8Array): (prefix: string) => string {
  return prefix => prefix + Buffer.from(randomBytes(30)).toString('base64url')
}
