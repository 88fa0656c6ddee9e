import { networkOf } from '../clients/failures.js'
import type { GateExchange } from './stages.js'

/** Whose turn and whose pace a request goes by: its client's, and for strangers their network's, which no client's id looks like. */
export function partyOf ({ client, source }: GateExchange): string {
  return client?.id ?? ` ${networkOf(source)}`
}
