import type { Config } from '../config/config.js'
import type { Problem } from '../domain/problem.js'
import { scopesOf } from '../okta/permissions.js'
import { neededOperations } from '../policy/needed.js'
import type { PolicySet } from '../policy/load.js'

/** What loads, but can't work together: policies that want of the gate what narrowgate.yaml does not give. Warnings. */
export function mismatches (config: Config, { clients }: Pick<PolicySet, 'clients'>): Problem[] {
  return [...certificatesOfNobody(config, clients.values()), ...scopesNotListed(config, [...clients.values()])]
}

type Policies = Iterable<PolicySet['clients'] extends ReadonlyMap<string, infer Policy> ? Policy : never>

/** Without an authority nobody is asked for a certificate, and without the header no balancer is believed. */
function * certificatesOfNobody ({ listen: { tls, clientCertHeader } }: Config, policies: Policies): Generator<Problem> {
  if (tls?.clientCa !== undefined || clientCertHeader) return
  for (const { authenticate } of policies) {
    for (const entry of authenticate) {
      if (entry.kind === 'mtls') yield { severity: 'warning', ...entry.place, message: 'no client certificate ever gets here', hint: 'set listen.tls.clientCa, or listen.clientCertHeader behind a balancer that ends TLS' }
    }
  }
}

/** A list of scopes that leaves one out: the token is granted, and Okta refuses the calls. */
function * scopesNotListed ({ upstreams }: Config, policies: Policies): Generator<Problem> {
  for (const { name, credential } of upstreams.values()) {
    if (credential.kind !== 'serviceApp' || credential.scopes === 'auto') continue
    const listed = new Set(credential.scopes)
    const missing = new Map<string, string>()
    for (const { upstream, credential: kind, operation, rule } of neededOperations(policies)) {
      if (upstream !== name || kind !== 'upstream') continue
      for (const scope of scopesOf(operation)) {
        if (!listed.has(scope) && !listed.has(scope.replace(/\.read$/, '.manage')) && !missing.has(scope)) missing.set(scope, `${rule} (${operation.id})`)
      }
    }
    for (const [scope, rule] of missing) yield { severity: 'warning', ...credential.keys[0]!.place, message: `the scopes of upstream ${name} do not list ${scope}, which ${rule} needs: Okta will refuse such calls`, hint: 'add it, or write scopes: auto' }
  }
}
