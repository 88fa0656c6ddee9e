import type { Logger } from 'pino'
import { SharedSeenOnce } from '../clients/seen-shared.js'
import type { Config } from '../config/config.js'
import type { Limits } from './limits.js'

/** Used ids in the store that the limits use, for all gates; undefined: this gate is alone. */
export function sharedIds ({ notes }: Limits, { tokens: { onStoreLoss } }: Config, log: Logger): SharedSeenOnce | undefined {
  return notes === undefined
    ? undefined
    : new SharedSeenOnce({
      store: notes,
      onLoss: onStoreLoss,
      note: event => {
        if (event.kind === 'back') log.info('the store of used ids (jti) answers again')
        else log.error({ why: event.why }, onStoreLoss === 'refuse' ? 'the store of used ids (jti) does not answer: DPoP calls and assertions with a jti are refused' : 'the store of used ids (jti) does not answer: this gate goes by what it has seen itself')
      }
    })
}
