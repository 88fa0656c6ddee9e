import type { Callers } from '../clients/callers.js'
import type { ClientIndex } from '../clients/identify.js'
import type { Certificates } from '../clients/mtls.js'
import type { NetworkList } from '../clients/networks.js'
import type { RevocationLists } from '../clients/revocation.js'
import type { Catalog } from '../okta/catalog.js'
import type { GateSelf } from '../okta/self.js'
import type { CompiledPolicy } from '../policy/compile.js'
import type { TokenService } from './identities.js'
import type { UpstreamRoad } from './upstreams.js'

/**
 * Everything loaded, immutable. Reload builds and checks a whole new one and swaps it; a request keeps the
 * snapshot that it started with.
 */
export interface Snapshot {
  /** hash of the config and policy texts, first 12 hex digits */
  readonly hash: string
  /** epoch milliseconds */
  readonly loadedAt: number
  readonly catalog: Catalog
  readonly clients: Pick<Callers, 'identify'> & Pick<ClientIndex, 'allows'>
  /** the gate's own token endpoint; absent where nobody can call it */
  readonly tokens?: TokenService
  /** reads client certificates; absent: there are none to be believed */
  readonly certificates?: Certificates
  /** true: the Client-Cert header of trusted proxies is believed (RFC 9440) */
  readonly clientCertHeader?: boolean
  /** what such certificates are looked up in; absent: there is no list */
  readonly revoked?: RevocationLists
  readonly policies: ReadonlyMap<string, CompiledPolicy>
  readonly upstreams: ReadonlyMap<string, UpstreamRoad>
  /** what no policy may touch */
  readonly self: GateSelf
  /** absent: X-Forwarded-For is never read */
  readonly trustedProxies?: NetworkList
  readonly bodyLimitBytes: number
  /** what request bodies may take up together */
  readonly bodyMemoryBytes: number
}
