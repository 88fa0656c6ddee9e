import { bucketShape, bucketTable, splitKey, type BucketFile, type BucketRow, type OrgType } from './bucket-table.js'
import file from './data/buckets.json' with { type: 'json' }

export type { OrgType } from './bucket-table.js'

/** What a bucket grants before a header or a file has said it. */
export interface BucketDefault {
  readonly bucket: string
  /** calls per minute and org */
  readonly perMinute: number
  /** true: Okta published the figure for this bucket; false: it is a guess from what surrounds it */
  readonly known: boolean
}

/**
 * Stands for "Okta does not count here" (the key sets and discovery documents). A number, not Infinity, which
 * JSON and arithmetic on shares do not survive; far above what one process forwards in a minute.
 */
export const UNLIMITED_PER_MINUTE = 1_000_000

/** When not even a prefix of a path has a published figure: that of `/api/v1` in the smallest kind of org. */
const FALLBACK_PER_MINUTE = 100

const table = bucketTable(file as unknown as BucketFile)

/**
 * The bucket that an operation counts in: `/api/v1/users`, or with its methods where Okta splits a path's bucket
 * by method: `GET /api/v1/users/{id}`, `POST,PUT,DELETE /api/v1/users/{id}`.
 */
export function bucketOf (method: string, template: string): string {
  return table.find(method, template)
}

/**
 * The org limit to start from. Okta took its table down on 2025-12-16 and an org's type is not visible to a client,
 * so this is the smallest figure over all org types; the first X-Rate-Limit-Limit corrects it.
 */
export function defaultLimit (bucket: string): BucketDefault {
  const row = table.row(bucket)
  if (row?.unlimited === true) return { bucket, perMinute: UNLIMITED_PER_MINUTE, known: true }
  if (row?.perMinute !== undefined) return { bucket, perMinute: smallest(row), known: true }
  const above = table.publishedAbove(pathOf(bucket))
  const guess = above === undefined ? FALLBACK_PER_MINUTE : smallest(above)
  return { bucket, perMinute: Math.min(guess, row?.seen ?? guess), known: false }
}

/** The figure of the last published table for one kind of org, calls per minute; an unpublished one as in defaultLimit. */
export function publishedLimit (bucket: string, orgType: OrgType): number {
  const row = table.row(bucket)
  if (row?.unlimited === true) return UNLIMITED_PER_MINUTE
  const figures = row?.perMinute ?? table.publishedAbove(pathOf(bucket))?.perMinute
  return figures?.[orgType] ?? FALLBACK_PER_MINUTE
}

/**
 * Looks a bucket up in `limits.org` of narrowgate.yaml, whose keys are `[METHOD[,METHOD] ]bucket` or `*`. Parameter
 * names, `{id:.+}` and a final `*` do not count. From the most specific: the same bucket; keys that name one of its
 * methods (the smallest); the path for all methods; `*`.
 *
 * @returns calls per minute and org; undefined when no key covers the bucket
 */
export function orgLimitFor (bucket: string, org: Readonly<Record<string, number>>): number | undefined {
  const wanted = splitKey(bucket) ?? { methods: [], path: bucket }
  const shape = bucketShape(bucket)
  const path = bucketShape(wanted.path)
  let overlapping: number | undefined
  let forPath: number | undefined
  for (const [key, limit] of Object.entries(org)) {
    const given = splitKey(key)
    if (given === undefined) continue
    if (bucketShape(key) === shape) return limit
    if (bucketShape(given.path) !== path) continue
    if (given.methods.length === 0) forPath = limit
    else if (overlap(wanted.methods, given.methods)) overlapping = Math.min(overlapping ?? limit, limit)
  }
  return overlapping ?? forPath ?? (Object.hasOwn(org, '*') ? org['*'] : undefined)
}

function overlap (bucketMethods: readonly string[], keyMethods: readonly string[]): boolean {
  return bucketMethods.length === 0 || keyMethods.some(method => bucketMethods.includes(method))
}

function smallest (row: BucketRow): number {
  return Math.min(...Object.values(row.perMinute ?? {}))
}

function pathOf (bucket: string): string {
  return splitKey(bucket)?.path ?? bucket
}
