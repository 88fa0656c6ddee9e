import { rootCertificates } from 'node:tls'
import type { SecretClient } from '@azure/keyvault-secrets'
import type { Secret } from '../domain/secret.js'
import type { AzureConfig, LocalReference } from './config.js'
import { loadClient, SOURCE_TIMEOUT_MS, SourceFault, type SecretSource } from './secret-source.js'

/** Azure Key Vault by its official client, signed in with DefaultAzureCredential: workload identity, managed identity, the environment. */
export async function openAzure ({ ca }: AzureConfig, local: (reference: LocalReference) => Secret): Promise<SecretSource> {
  const packages = ['@azure/keyvault-secrets', '@azure/identity']
  const secrets = await loadClient(async () => await import('@azure/keyvault-secrets'), ...packages)
  const { DefaultAzureCredential } = await loadClient(async () => await import('@azure/identity'), ...packages)
  const credential = new DefaultAzureCredential()
  const tlsOptions = ca === undefined ? undefined : { ca: [...rootCertificates, local(ca).reveal()] as unknown as string } // node:tls takes a list
  const clients = new Map<string, SecretClient>()
  const clientOf = (vault: string): SecretClient => {
    let client = clients.get(vault)
    if (client === undefined) {
      // A vault on a private address is of the operator's naming: the name in the challenge is then another domain's.
      client = new secrets.SecretClient(vault, credential, { retryOptions: { maxRetries: 1, maxRetryDelayInMs: 500 }, tlsOptions, disableChallengeResourceVerification: ca !== undefined })
      clients.set(vault, client)
    }
    return client
  }
  return {
    async read (reference) {
      if (reference.kind !== 'azureKeyVault') throw new SourceFault('this is no secret of Azure Key Vault')
      const { value } = await clientOf(reference.vault).getSecret(reference.name, { abortSignal: AbortSignal.timeout(SOURCE_TIMEOUT_MS) })
      if (value === undefined) throw new SourceFault('Azure Key Vault answers without a value')
      return value
    },
    close () {}
  }
}
