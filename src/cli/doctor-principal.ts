import { isIP, isIPv4, isIPv6 } from 'node:net'
import { at } from '../server/self-knowledge.js'
import { Check, type Finding } from './doctor-finding.js'
import { listOf, whyOf, type OrgReader } from './doctor-org.js'

/** A principal of the gate, and what its policies need. What is the same for apps and for owners of tokens. */
export interface Principal {
  readonly upstream: string
  readonly reader: OrgReader
  /** `service-app`, `api-token` or `authn-token`: what its checks are called after */
  readonly kind: string
  /** of the app or the user */
  readonly id: string
  /** admin permissions that are known to be needed; `unsure`: operations of which it is not established */
  readonly needed: { readonly permissions: ReadonlySet<string>, readonly unsure: readonly string[] }
}

const MOST_ADDRESSES = 50
/** More addresses than a /16, or a /32 of IPv6, are no short list. */
const WIDEST = { v4: 1n << 16n, v6: 1n << 96n }

/** Rules 3, 4, 9: the role is its own, direct, and no wider than what the policies need. */
export async function checkRoles ({ upstream, reader, kind, id, needed }: Principal): Promise<Finding[]> {
  const isApp = kind === 'service-app'
  const direct = new Check(`${kind}-role`, upstream, isApp ? 3 : 9)
  const minimal = new Check(`${kind}-role-minimal`, upstream, isApp ? 4 : 9)
  const superAdmin = new Check(`${kind}-no-super-admin`, upstream, isApp ? 4 : 9)
  const operation = isApp ? 'listRolesForClient' : 'listAssignedRolesForUser'
  const read = async (check: Check): Promise<ReturnType<typeof listOf> | string> => {
    const answer = await reader.read(check, operation, isApp ? `/oauth2/v1/clients/${id}/roles` : `/api/v1/users/${id}/roles`)
    return listOf(answer) ?? whyOf(answer)
  }
  const roles = await read(direct)
  if (typeof roles === 'string' || roles === undefined) return [direct, minimal, superAdmin].map(check => check.unknown(String(roles), READ_FIX))
  minimal.reads.push(...direct.reads)
  superAdmin.reads.push(...direct.reads)
  const supers = roles.filter(role => at(role, 'type') === 'SUPER_ADMIN')
  return [
    await checkDirect(direct, roles, { reader, id, isApp }),
    await checkMinimal(minimal, roles.filter(role => at(role, 'type') !== 'SUPER_ADMIN'), reader, needed),
    superAdmin.of(supers.map(() => 'it is a super administrator'), 'take the Super Administrator role away', 'it is no super administrator')
  ]
}

const READ_FIX = 'run doctor with the credential of an auditor that may read it: --as CLIENT_ID --key FILE'

async function checkDirect (check: Check, roles: readonly unknown[], { reader, id, isApp }: { reader: OrgReader, id: string, isApp: boolean }): Promise<Finding> {
  const fix = 'assign one custom role, made for it alone, to it directly'
  if (roles.length === 0) return check.fail('it has no admin role', fix)
  const faults: string[] = []
  const own = isApp ? 'CLIENT' : 'USER'
  for (const role of roles) if (at(role, 'assignmentType') !== own) faults.push(`its role ${labelOf(role)} comes from a group`)
  const custom = roles.filter(role => at(role, 'type') === 'CUSTOM')
  const others = await otherMembers(check, custom.map(role => String(at(role, 'role'))), { reader, id })
  if (typeof others === 'string') return faults.length > 0 ? check.fail(faults.join('; '), fix) : check.unknown(others, READ_FIX)
  faults.push(...others.map(member => `its custom role is bound to ${member}, too`))
  return check.of(faults, fix, `${roles.map(labelOf).join(', ')}: assigned to it directly, and to nobody else`)
}

/** Who else holds these custom roles: there is no list by role, so the bindings of all resource sets are read. */
async function otherMembers (check: Check, ids: readonly string[], { reader, id }: { reader: OrgReader, id: string }): Promise<string[] | string> {
  if (ids.length === 0) return []
  const sets = await reader.read(check, 'listResourceSets', '/api/v1/iam/resource-sets')
  const list = listOf(sets, 'resource-sets')
  if (list === undefined) return whyOf(sets)
  const others = new Set<string>()
  for (const set of list) {
    for (const role of ids) {
      const members = await reader.read(check, 'listMembersOfBinding', `/api/v1/iam/resource-sets/${encodeURIComponent(String(at(set, 'id')))}/bindings/${encodeURIComponent(role)}/members`)
      if ('why' in members && members.status !== 404) return members.why
      for (const member of listOf(members, 'members') ?? []) {
        const holder = String(at(member, '_links', 'self', 'href') ?? at(member, 'id')).split('/').at(-1)!
        if (holder !== id) others.add(holder)
      }
    }
  }
  return [...others]
}

async function checkMinimal (check: Check, roles: readonly unknown[], reader: OrgReader, { permissions, unsure }: Principal['needed']): Promise<Finding> {
  const fix = 'make a custom role of the permissions that `narrowgate entitlements` lists, over the users, groups and apps that are meant'
  const faults = roles.filter(role => at(role, 'type') !== 'CUSTOM').map(role => `the standard role ${labelOf(role)} holds more than any policy needs`)
  const perhaps: string[] = []
  for (const role of roles.filter(role => at(role, 'type') === 'CUSTOM')) {
    const answer = await reader.read(check, 'listRolePermissions', `/api/v1/iam/roles/${encodeURIComponent(String(at(role, 'role')))}/permissions`)
    const held = listOf(answer, 'permissions')
    if (held === undefined) return faults.length > 0 ? check.fail(faults.join('; '), fix) : check.unknown(whyOf(answer), READ_FIX)
    const more = held.map(one => String(at(one, 'label'))).filter(label => !permissions.has(label))
    if (more.length > 0) (unsure.length === 0 ? faults : perhaps).push(`${labelOf(role)} holds ${more.join(', ')}, which no policy is known to need`)
    const set = at(role, 'resource-set')
    const resources = await reader.read(check, 'listResourceSetResources', `/api/v1/iam/resource-sets/${encodeURIComponent(String(set))}/resources`)
    const kinds = (listOf(resources, 'resources') ?? []).map(resource => kindOf(resource)).filter(kind => kind !== undefined)
    const areas = new Set([...permissions].map(label => label.split('.')[1]))
    for (const kind of new Set(kinds)) if (!areas.has(kind)) (unsure.length === 0 ? faults : perhaps).push(`its resource set holds ${kind}, which no policy is known to need`)
  }
  if (faults.length > 0) return check.fail(faults.join('; '), fix)
  if (perhaps.length > 0) return check.unknown(`${perhaps.join('; ')}; what these operations need is not established: ${unsure.join(', ')}`, 'compare the role with `narrowgate entitlements`')
  return check.pass('its roles hold what the policies need and no more')
}

/** `users` of `orn:okta:directory:00o1:users:00u1` or of `https://acme.okta.com/api/v1/users/…`. */
function kindOf (resource: unknown): string | undefined {
  const orn = at(resource, 'orn')
  if (typeof orn === 'string') return orn.split(':')[4]
  const href = at(resource, '_links', 'self', 'href')
  return typeof href === 'string' ? /\/api\/v1\/([a-z-]+)/.exec(href)?.[1] : undefined
}

function labelOf (role: unknown): string {
  return String(at(role, 'label') ?? at(role, 'type'))
}

/** Rules 7 and 10: a network zone with a short list of addresses. */
export async function checkZone ({ upstream, reader, kind }: Pick<Principal, 'upstream' | 'reader' | 'kind'>, network: unknown, reads: readonly string[]): Promise<Finding> {
  const check = new Check(`${kind}-zone`, upstream, kind === 'service-app' ? 7 : 10)
  check.reads.push(...reads)
  const fix = 'assign a network zone that lists the addresses of the gate, and nothing else'
  const include = at(network, 'include')
  if (at(network, 'connection') !== 'ZONE' || !Array.isArray(include) || include.length === 0) return check.fail('no network zone is assigned: it works from anywhere', fix)
  const faults: string[] = []
  let addresses = 0
  const sizes = { v4: 0n, v6: 0n }
  for (const id of include) {
    const answer = await reader.read(check, 'getNetworkZone', `/api/v1/zones/${encodeURIComponent(String(id))}`)
    if ('why' in answer) return check.unknown(answer.why, READ_FIX)
    const zone = answer.json
    const name = String(at(zone, 'name') ?? id)
    if (at(zone, 'status') !== 'ACTIVE') faults.push(`the zone ${name} is not active`)
    const gateways = at(zone, 'gateways')
    if (at(zone, 'type') !== 'IP' || !Array.isArray(gateways) || gateways.length === 0) { faults.push(`the zone ${name} is no list of addresses`); continue }
    addresses += gateways.length
    for (const gateway of gateways) {
      const range = String(at(gateway, 'value'))
      const size = sizeOf(range)
      if (size === undefined || size > WIDEST[familyOf(range)]) faults.push(`the zone ${name} holds ${range}`)
      else sizes[familyOf(range)] += size
    }
  }
  if (addresses > MOST_ADDRESSES) faults.push(`${addresses} addresses and ranges are no short list`)
  // The whole world can be cut into pieces, each of them small.
  if (faults.length === 0 && (sizes.v4 > WIDEST.v4 || sizes.v6 > WIDEST.v6)) faults.push('its ranges add up to more than a /16 (IPv6: a /32)')
  return check.of(faults, fix, `${addresses} ${addresses === 1 ? 'address' : 'addresses'}`)
}

function familyOf (range: string): 'v4' | 'v6' {
  return range.includes(':') ? 'v6' : 'v4'
}

/** How many addresses `1.2.3.0/24`, `1.2.3.4-1.2.3.9` or an address stands for; undefined: it is none of these. */
function sizeOf (range: string): bigint | undefined {
  const [address = '', prefix, ...more] = range.trim().split('/')
  if (prefix !== undefined) {
    const bits = familyOf(range) === 'v6' ? 128 : 32
    return more.length === 0 && isIP(address) !== 0 && /^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= bits ? 1n << BigInt(bits - Number(prefix)) : undefined
  }
  const [from, to = from] = address.split('-').map(text => numberOf(text.trim()))
  return from === undefined || to === undefined || to < from ? undefined : to - from + 1n
}

function numberOf (address: string): bigint | undefined {
  if (isIPv4(address)) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n)
  if (!isIPv6(address)) return undefined
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const [front, back] = [head, tail ?? ''].map(text => text === '' ? [] : text.split(':'))
  const middle = tail === undefined ? [] : Array.from({ length: 8 - front!.length - back!.length }, () => '0')
  return [...front!, ...middle, ...back!].reduce((sum, part) => sum * 65536n + BigInt(`0x${part}`), 0n)
}

/** Rule 13: at most half of each limit. */
export async function checkPrincipalLimit ({ upstream, reader, kind }: Pick<Principal, 'upstream' | 'reader' | 'kind'>, ids: readonly string[]): Promise<Finding> {
  const check = new Check(`${kind}-rate-limit`, upstream, 13)
  const type = kind === 'service-app' ? 'OAUTH_CLIENT' : 'SSWS_TOKEN'
  const answer = await reader.read(check, 'listPrincipalRateLimitEntities', `/api/v1/principal-rate-limits?filter=${encodeURIComponent(`principalType eq "${type}"`)}`)
  const list = listOf(answer)
  if (list === undefined) return check.unknown(whyOf(answer), READ_FIX)
  const own = list.filter(limit => ids.includes(String(at(limit, 'principalId'))))
  if (own.length === 0) return check.pass('no limit of its own is set: Okta\'s default of 50% holds')
  const faults = own.flatMap(limit => ['defaultPercentage', 'defaultConcurrencyPercentage'].flatMap(name => Number(at(limit, name) ?? 0) > 50 ? [`${name} is ${String(at(limit, name))}%`] : []))
  return check.of(faults, 'set its principal rate limit to 50% or less', 'half of each limit, or less')
}
