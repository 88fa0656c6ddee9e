import type { Config } from '../config/config.js'
import { hasErrors, type Problem } from '../domain/problem.js'
import type { PolicySet } from '../policy/load.js'
import type { ReadIdentities } from './identities.js'
import type { Loaded, Texts } from './load.js'

/** A gate that can't be started: its files are wrong. */
export class LoadFault extends Error {
  constructor (readonly problems: readonly Problem[], readonly texts: Texts) {
    super('the configuration would not load')
  }
}

/** What has been loaded without an error. */
export type Usable = Loaded & { readonly config: Config, readonly policies: PolicySet, readonly identities: ReadIdentities }

export function isUsable (loaded: Loaded): loaded is Usable {
  return loaded.config !== undefined && loaded.policies !== undefined && loaded.identities !== undefined && !hasErrors(loaded.problems)
}
