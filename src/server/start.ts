import { createAuditLog } from '../audit/log.js'
import { newTokenKey, readTokenKeys } from '../clients/token-keys.js'
import { SecretStores } from '../config/secret-stores.js'
import { openAudit } from './audit.js'
import { Gate, type GateOptions } from './gate.js'
import { auditFor } from './left-behind.js'
import { lineOf } from './limits.js'
import { loadEverything, LoadMemory } from './load.js'
import { logStoreNotice } from './secret-refresh.js'
import { steadyNow } from './steady.js'
import { isUsable, LoadFault } from './usable.js'

/** Loads everything and starts both listeners. @throws LoadFault, or the system's error for an address in use */
export async function startGate (options: GateOptions): Promise<Gate> {
  const { configFile, environment, log } = options
  const stores = new SecretStores({ clock: () => performance.now(), notice: notice => { logStoreNotice(log, notice) } })
  const memory = new LoadMemory()
  const loaded = await loadEverything(configFile, environment, Date.now(), { stores, record: true, memory })
  if (!isUsable(loaded)) { stores.close(); throw new LoadFault(loaded.problems, loaded.texts) }
  const { config, secrets } = loaded
  const tokenKey = await newTokenKey()
  const several = config.workers > 1
  const audit = several ? createAuditLog([]) : await openAudit(auditFor(config.audit, undefined), secrets, log)
  const gate = new Gate({ ...options, memory, line: await lineOf(config) }, loaded, stores, await readTokenKeys([tokenKey]), audit)
  // What one process alone has no use for is not even loaded.
  if (several) {
    const { Workers } = await import('./workers.js')
    gate.lead(new Workers({ count: config.workers, configFile, tokenKey, log, steadyNow, onRefused: () => { gate.credentialRefused() }, limits: config.limits.store === 'memory' ? gate.limits : undefined }))
  }
  await gate.listen(loaded)
  return gate
}
