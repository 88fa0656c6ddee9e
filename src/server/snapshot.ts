import type { ClientIndex } from '../clients/identify.js'
import type { NetworkList } from '../clients/networks.js'
import type { Catalog } from '../okta/catalog.js'
import type { GateSelf } from '../okta/self.js'
import type { CompiledPolicy } from '../policy/compile.js'
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
  readonly clients: ClientIndex
  readonly policies: ReadonlyMap<string, CompiledPolicy>
  readonly upstreams: ReadonlyMap<string, UpstreamRoad>
  /** what no policy may touch */
  readonly self: GateSelf
  /** absent: X-Forwarded-For is never read */
  readonly trustedProxies?: NetworkList
  readonly bodyLimitBytes: number
}
