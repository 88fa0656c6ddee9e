import { isRejection } from '../domain/rejection.js'
import { parseTarget } from '../domain/target.js'
import { leafPaths } from './body-path.js'
import type { SeenCall } from './learn.js'

/** A request of a HAR file or a Postman collection. */
export interface RecordedCall {
  readonly call: SeenCall
  readonly host: string
}

interface JsonObject { readonly [key: string]: unknown }

/** Which of the two formats a JSON value is; undefined: neither. */
export function recordingKind (value: unknown): 'har' | 'postman' | undefined {
  if (!isObject(value)) return undefined
  if (isObject(value['log']) && Array.isArray(value['log']['entries'])) return 'har'
  return isObject(value['info']) && Array.isArray(value['item']) ? 'postman' : undefined
}

/** The requests of a HAR file (HTTP Archive 1.2). Values of queries and bodies are read for their names and dropped. */
export function readHar (value: unknown): RecordedCall[] {
  return list(object(object(value)['log'])['entries']).flatMap(entry => {
    const request = object(object(entry)['request'])
    const postData = object(request['postData'])
    const time = Date.parse(text(object(entry)['startedDateTime']))
    return recorded(text(request['method']), text(request['url']), text(postData['text']), Number.isNaN(time) ? 0 : time, undefined)
  })
}

/** The requests of a Postman collection (v2.0 and v2.1), folders included; a variable stands for one path parameter. */
export function readPostman (value: unknown): RecordedCall[] {
  return list(object(value)['item']).flatMap(item => {
    const folder = object(item)['item']
    if (Array.isArray(folder)) return readPostman(item)
    const request = object(item)['request']
    const body = object(object(request)['body'])
    const raw = body['mode'] === 'raw' ? text(body['raw']) : ''
    return recorded(text(object(request)['method']), urlOf(object(request)['url']), raw, 0, text(object(item)['name']))
  })
}

/** `raw` may lack what is switched off in the query; the parts say it. */
function urlOf (url: unknown): string {
  if (typeof url === 'string') return url
  const { raw, path, query } = object(url)
  const base = text(raw) === '' ? `/${list(path).map(part => typeof part === 'string' ? part : text(object(part)['value'])).join('/')}` : text(raw).split('?')[0]!
  const parameters = list(query).filter(each => object(each)['disabled'] !== true).map(each => `${encode(object(each)['key'])}=${encode(object(each)['value'])}`)
  if (!Array.isArray(query) && text(raw).includes('?')) return text(raw)
  return parameters.length === 0 ? base : `${base}?${parameters.join('&')}`
}

const encode = (value: unknown) => encodeURIComponent(text(value))

/** A parameter's place holder: no word of Okta's own paths. */
const FILLER = 'narrowgate0'

function recorded (method: string, url: string, body: string, time: number, name: string | undefined): RecordedCall[] {
  const [, host, path] = /^(?:[a-z]+:\/\/)?([^/]*)(\/[^#]*)/i.exec(url) ?? []
  if (path === undefined || !/^[A-Z]+$/.test(method)) return []
  const [plain, ...query] = path.split('?') as [string, ...string[]]
  const filled = plain.replace(/(?<=\/)(?::[A-Za-z_][\w-]*|\{\{[^{}]*\}\}|\{[^{}]*\})(?=\/|$)/g, FILLER)
  const target = parseTarget(query.length === 0 ? filled : `${filled}?${query.join('?').replaceAll(/\{\{[^{}]*\}\}/g, FILLER)}`)
  if (isRejection(target)) return []
  const names = target.query.map(parameter => parameter.name)
  return [{
    host: host ?? '',
    call: { time, method, path: target.path, queryNames: names, bytesIn: Buffer.byteLength(body), bodyPaths: body === '' ? undefined : leavesOf(body), rule: name === '' ? undefined : name }
  }]
}

/** Postman's variables may stand where JSON takes none: a number then, so that the leaf remains. */
function leavesOf (body: string): string[] | undefined {
  try {
    return leafPaths(JSON.parse(body.replaceAll(/(?<=[:[,]\s*)\{\{[^{}"]*\}\}/g, '0')))
  } catch {
    return undefined
  }
}

function isObject (value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function object (value: unknown): JsonObject {
  return isObject(value) ? value : {}
}

function list (value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text (value: unknown): string {
  return typeof value === 'string' ? value : ''
}
