import type { AwsConfig } from './config.js'
import { fieldOf, loadClient, SOURCE_TIMEOUT_MS, SourceFault, type SecretSource } from './secret-source.js'

/**
 * AWS Secrets Manager by its official client, signed in as that client finds out by itself: the environment, a web
 * identity (EKS), the container's or the machine's role, a profile.
 */
export async function openAws ({ region, endpoint }: AwsConfig): Promise<SecretSource> {
  const { SecretsManagerClient, GetSecretValueCommand } = await loadClient(async () => await import('@aws-sdk/client-secrets-manager'), '@aws-sdk/client-secrets-manager')
  const client = new SecretsManagerClient({ region, endpoint, maxAttempts: 2, requestHandler: { connectionTimeout: SOURCE_TIMEOUT_MS, requestTimeout: SOURCE_TIMEOUT_MS } })
  return {
    async read (reference) {
      if (reference.kind !== 'awsSecretsManager') throw new SourceFault('this is no secret of AWS Secrets Manager')
      const { id, field } = reference
      const { SecretString: text, SecretBinary: bytes } = await client.send(new GetSecretValueCommand({ SecretId: id }))
      const value = text ?? (bytes === undefined ? undefined : new TextDecoder('utf-8', { fatal: true }).decode(bytes))
      if (value === undefined) throw new SourceFault('AWS Secrets Manager answers without a value')
      return field === undefined ? value : fieldOf(value, field)
    },
    close () { client.destroy() }
  }
}
