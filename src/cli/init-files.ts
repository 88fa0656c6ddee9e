import type { JWK } from 'jose'
import { configJsonSchema } from '../config/schema.js'
import { jsonSchemaText } from '../policy/schema.js'
import type { NewClientKey } from './keys.js'

/** What has to be known before anything can be written. */
export interface FirstAnswers {
  readonly org: string
  /** of the API service app */
  readonly clientId: string
  readonly publicUrl: string
  /** of the first policy */
  readonly client: string
}

/** A file to write; a secret one is for its owner alone. */
export interface FirstFile { readonly text: string, readonly secret: boolean }

/** Where the service app's key pair goes. */
export const SERVICE_APP_KEY = { private: 'secrets/okta-service-app.pem', public: 'secrets/okta-service-app.public.json' } as const

/**
 * The files of a first set-up, by their path from its folder. They pass `narrowgate check` as they are.
 *
 * @param privateKey PEM, PKCS #8
 */
export function firstFiles (answers: FirstAnswers, key: NewClientKey, privateKey: string, publicKey: JWK): ReadonlyMap<string, FirstFile> {
  const open = (text: string): FirstFile => ({ text, secret: false })
  const secret = (text: string): FirstFile => ({ text, secret: true })
  return new Map([
    ['narrowgate.yaml', open(configText(answers))],
    ['narrowgate.schema.json', open(`${JSON.stringify(configJsonSchema(), null, 2)}\n`)],
    [`policies/${answers.client}.yaml`, open(policyText(answers, key))],
    ['policies/policy.schema.json', open(jsonSchemaText('policy'))],
    ['secrets/.gitignore', secret('*\n')],
    [SERVICE_APP_KEY.private, secret(`${privateKey.trim()}\n`)],
    [SERVICE_APP_KEY.public, secret(`${JSON.stringify(publicKey, null, 2)}\n`)]
  ])
}

function configText ({ org, clientId, publicUrl }: FirstAnswers): string {
  return `# yaml-language-server: $schema=./narrowgate.schema.json
listen:
  # Other hosts reach the gate over TLS alone. For them: host: 0.0.0.0, and
  #   tls: { cert: { file: tls/cert.pem }, key: { file: tls/key.pem } }
  host: 127.0.0.1
  port: 8443
# The origin that clients use. Links that Okta sends are rewritten to it.
publicUrl: ${publicUrl}
# Health and metrics, for operators; clients have no business there.
admin: { host: 127.0.0.1, port: 9443 }
# One file per client.
policies: ./policies
upstreams:
  default:
    org: ${org}
    credential:
      # An API service app, which signs in with a key of its own (private_key_jwt). A key is a reference, never a text.
      # While keys rotate both stand here, the one that signs first.
      serviceApp:
        clientId: ${JSON.stringify(clientId)}
        keys: [{ file: ${SERVICE_APP_KEY.private} }]
        scopes: auto # exactly those that the policies need
      # An API token instead needs an approved exception, and stops with it:
      # apiToken: { value: { env: OKTA_API_TOKEN }, exception: { ticket: SEC-1234, approvedBy: identity-team, expires: 2027-01-31 } }
limits:
  # How much of Okta's rate limits the clients of this gate may use together.
  ceiling: 50%
  # What Okta grants the service app itself: its principal rate limit, 50% unless you changed it there.
  credentialShare: 50%
audit:
  # One JSON line per request: an OCSF event.
  sinks: [{ stdout: {} }]
`
}

function policyText ({ client }: FirstAnswers, { policyLine }: NewClientKey): string {
  return `# yaml-language-server: $schema=./policy.schema.json
# What ${client} may call. Everything that is not listed is refused.
version: 1
client: ${JSON.stringify(client)}
owner: "" # who answers for this client, e.g. a mail address
description: First client, written by narrowgate init
authenticate:
  # The hash of the key; narrowgate keys new makes another. Two may stand here while you rotate.
  ${policyLine}
# networks: [10.20.0.0/16] # where it may call from; absent: from anywhere
allow:
  # By the operationId of Okta's reference …
  - operation: getUser
  # … or as a request line; a query in it is required, with exactly this value.
  - request: POST /api/v1/users/{userId}/lifecycle/activate?sendEmail=false
    as: activate user
# Run by narrowgate check, and whenever the gate loads this file.
tests:
  - allow: GET /api/v1/users/00u1abcdefghijklmnop
  - allow: POST /api/v1/users/00u1abcdefghijklmnop/lifecycle/activate?sendEmail=false
  - deny: POST /api/v1/users/00u1abcdefghijklmnop/lifecycle/activate
    because: query
  - deny: DELETE /api/v1/users/00u1abcdefghijklmnop
    because: no_rule
`
}
