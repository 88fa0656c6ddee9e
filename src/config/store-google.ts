import type { GoogleConfig } from './config.js'
import { loadClient, SOURCE_TIMEOUT_MS, SourceFault, type SecretSource } from './secret-source.js'

const SCOPE = 'https://www.googleapis.com/auth/cloud-platform'

/**
 * Google Secret Manager by Google's client of its REST API (that of its gRPC API brings an install script), signed in
 * with Application Default Credentials.
 */
export async function openGoogle ({ endpoint }: GoogleConfig): Promise<SecretSource> {
  const { secretmanager, auth } = await loadClient(async () => await import('@googleapis/secretmanager'), '@googleapis/secretmanager')
  const client = secretmanager({ version: 'v1', auth: new auth.GoogleAuth({ scopes: [SCOPE] }), ...endpoint === undefined ? {} : { rootUrl: `${endpoint}/` } })
  return {
    async read (reference) {
      if (reference.kind !== 'googleSecretManager') throw new SourceFault('this is no secret of Google Secret Manager')
      const name = reference.name.includes('/versions/') ? reference.name : `${reference.name}/versions/latest`
      const { data } = await client.projects.secrets.versions.access({ name }, { timeout: SOURCE_TIMEOUT_MS, retry: false })
      const text = data.payload?.data
      if (typeof text !== 'string') throw new SourceFault('Google Secret Manager answers without a value')
      return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'base64'))
    },
    close () {}
  }
}
