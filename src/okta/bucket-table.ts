import { shapeOf } from './template.js'

/** Okta's kinds of org, as its last published rate limit table names them. */
export type OrgType = 'integratorFree' | 'oneApp' | 'enterprise' | 'workforce'

/** One bucket of data/buckets.json. */
export interface BucketRow {
  /** canonical key: `/api/v1/users`, `GET /api/v1/users/{id}` */
  readonly bucket: string
  /** exact: counts this method and path alone; prefix: everything below it that no other bucket takes */
  readonly match: 'exact' | 'prefix'
  /** exact buckets: the methods that count in it; `*` for all */
  readonly methods: readonly string[]
  /** calls per minute and org, last published edition; absent where Okta published none */
  readonly perMinute?: Readonly<Record<OrgType, number>>
  /** Okta counts no calls here */
  readonly unlimited?: boolean
  /** where nothing was published: the lowest org limit that other sources show */
  readonly seen?: number
}

/** data/buckets.json. */
export interface BucketFile {
  readonly source: string
  readonly buckets: readonly BucketRow[]
  /** [method, shape, bucket]: endpoints that count elsewhere than their longest prefix says */
  readonly endpoints: readonly (readonly [string, string, string])[]
}

/** Finds buckets in a file's rows; everything is indexed once. */
export interface BucketTable {
  /** canonical key of the bucket that a method and template count in */
  find (method: string, template: string): string
  /** the row of a canonical key; undefined for buckets without a row of their own */
  row (bucket: string): BucketRow | undefined
  /** the longest prefix bucket of a path whose figures were published */
  publishedAbove (path: string): BucketRow | undefined
}

const METHODS_AND_PATH = /^(?:([A-Z]+(?:,[A-Z]+)*) +)?(\/.*)$/

/** Splits `[METHOD[,METHOD] ]/path`; undefined when it is neither. No methods: all of them. */
export function splitKey (key: string): { methods: readonly string[], path: string } | undefined {
  const parts = METHODS_AND_PATH.exec(key.trim())
  if (parts === null) return undefined
  return { methods: parts[1]?.split(',') ?? [], path: parts[2]! }
}

/** A key by which spellings of one bucket are equal: parameter names, `{id:.+}` and the dashboard's `*` do not count. */
export function bucketShape (bucket: string): string {
  const { methods, path } = splitKey(bucket) ?? { methods: [], path: bucket }
  const shape = shapeOf(path.length > 1 ? path.replace(/\*$/, '') : path)
  return methods.length === 0 ? shape : `${[...methods].sort().join(',')} ${shape}`
}

/**
 * Indexes a bucket file. The order of matching is Okta's: method and exact path, else the longest prefix,
 * else the root bucket `/` (developer.okta.com/docs/reference/rate-limits; rate-limits.json, `matching`).
 */
export function bucketTable (file: Pick<BucketFile, 'buckets' | 'endpoints'>): BucketTable {
  const exact = new Map<string, string>()
  for (const row of file.buckets.filter(row => row.match === 'exact')) {
    const shape = shapeOf(splitKey(row.bucket)!.path)
    for (const method of row.methods) exact.set(`${method} ${shape}`, row.bucket)
  }
  for (const [method, shape, bucket] of file.endpoints) exact.set(`${method} ${shape}`, bucket)
  const prefixes = file.buckets.filter(row => row.match === 'prefix')
    .map(row => ({ row, segments: segmentsOf(row.bucket) }))
    .sort((a, b) => b.segments.length - a.segments.length || wildcards(a.segments) - wildcards(b.segments))
  const rows = new Map(file.buckets.map(row => [bucketShape(row.bucket), row]))
  return {
    find (method, template) {
      const found = exact.get(`${method} ${shapeOf(template)}`)
      if (found !== undefined) return found
      const segments = segmentsOf(template)
      return prefixes.find(prefix => startsWith(segments, prefix.segments))?.row.bucket ?? '/'
    },
    row: bucket => rows.get(bucketShape(bucket)),
    publishedAbove (path) {
      const segments = segmentsOf(path)
      return prefixes.find(prefix => prefix.row.perMinute !== undefined && startsWith(segments, prefix.segments))?.row
    }
  }
}

function segmentsOf (path: string): readonly string[] {
  return shapeOf(path).slice(1).split('/').filter(segment => segment !== '')
}

function wildcards (segments: readonly string[]): number {
  return segments.filter(segment => segment === '{}').length
}

function startsWith (segments: readonly string[], prefix: readonly string[]): boolean {
  return prefix.length <= segments.length && prefix.every((part, i) => part === '{}' || part === segments[i])
}
