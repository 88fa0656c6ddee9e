import { createPrivateKey, createPublicKey, createSecretKey, randomUUID, type KeyObject } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import type { Logger } from 'pino'
import { createSigner, type Signer } from '../audit/chain.js'
import type { Sender } from '../audit/deliver.js'
import { createEcsLines } from '../audit/ecs.js'
import { fileDisk, fileKind, fileSink, rotatedFiles } from '../audit/file.js'
import { createFilter } from '../audit/filter.js'
import { httpsSender } from '../audit/https.js'
import { Journal } from '../audit/journal.js'
import type { Sink } from '../audit/lines.js'
import { createAuditLog, type AuditLog, type Outlet } from '../audit/log.js'
import { createOcsfLines } from '../audit/ocsf.js'
import { batchPayload, otlpPayload, refusesRecords, splunkPayload } from '../audit/payloads.js'
import { createPlainLines } from '../audit/plain.js'
import { openIntents, unknownEnd } from '../audit/recovery-file.js'
import { createRedactor } from '../audit/redact.js'
import { Spool } from '../audit/spool-file.js'
import { stdoutSink } from '../audit/stdout.js'
import { processTiming } from '../audit/timing.js'
import { syslogSender } from '../audit/tls.js'
import type { AuditConfig, SecretReference, SinkConfig } from '../config/config.js'
import type { AuditEvent } from '../domain/event.js'
import type { Secret } from '../domain/secret.js'

type Secrets = ReadonlyMap<SecretReference, Secret>
type FileConfig = Extract<SinkConfig, { kind: 'file' }>
type RemoteConfig = Exclude<SinkConfig, { kind: 'file' | 'stdout' }>

/**
 * The audit log that the configuration asks for, with what an earlier process left undone: intents without an end
 * become events `unknown`, spools go on.
 *
 * @throws the system's error when a spool's folder can't be made
 */
export async function openAudit (config: AuditConfig, secrets: Secrets, log: Logger): Promise<AuditLog> {
  const producer = { version: version(), gate: hostname() }
  const formats = { ocsf: createOcsfLines(producer), ecs: createEcsLines(producer), plain: createPlainLines() }
  const text = (reference: SecretReference): string => secrets.get(reference)!.reveal()
  const signer = config.key === undefined ? undefined : await signerOf(text(config.key))
  if (signer === undefined && config.sinks.some(sink => sink.kind === 'file' && sink.chain)) log.info('audit.key names no key: the chain of the audit file shows changes by mistake, and not by somebody who can rewrite all of it')
  const left = await leftOpen(config)
  // Journals ask the log for what is open, and the log is made of them.
  const late: { audit?: AuditLog } = {}
  const outlets = config.sinks.map((sink): Outlet => {
    const serialize = formats[sink.format]
    const carry = (): string[] => [...late.audit?.open.values() ?? []].map(serialize)
    const target = sink.kind === 'stdout'
      ? stdoutSink()
      : sink.kind === 'file'
        ? openFile(sink, carry, log, { gate: producer.gate, signer, newId: randomUUID, onCheckpoint: (line: string) => { late.audit?.anchor(line, target) } })
        : new Spool(nameOf(sink), { folder: folderOf(config, sink), maxBytes: sink.maxSpoolBytes, carry }, senderOf(sink, text, producer))
    return { sink: target, serialize, filter: sink.filter === undefined ? undefined : createFilter(sink.filter), required: sink.delivery === 'required', anchors: signer !== undefined && sink.kind !== 'file' }
  })
  const redact = config.redact.length === 0 || config.redactKey === undefined ? undefined : createRedactor(new Set(config.redact), createSecretKey(text(config.redactKey), 'utf8'))
  const audit = createAuditLog(outlets, redact)
  late.audit = audit
  for (const event of left) audit.record(unknownEnd(event))
  audit.flush()
  if (left.length > 0) log.warn({ requests: left.length }, 'writes of an earlier process have no outcome in the audit log: each is recorded as unknown')
  return audit
}

function openFile (sink: FileConfig, carry: () => string[], log: Logger, chain: NonNullable<ConstructorParameters<typeof Journal>[3]>['chain']): Sink {
  if (fileKind(sink.path) === 'special') {
    if (statSync(sink.path).isDirectory()) log.error({ path: sink.path }, 'this audit sink is a folder: name a file in it; until then it takes nothing, and all calls but GET are refused')
    else log.warn({ path: sink.path }, 'this audit sink is a pipe or a device: it has no chain, is not rotated, and nothing in it is durable')
    return fileSink(sink.path)
  }
  const { maxBytes, maxHours, keep } = sink.rotate
  return new Journal(`file ${sink.path}`, fileDisk(sink.path, keep), processTiming, { chain: sink.chain ? chain : undefined, maxBytes, maxAgeMs: maxHours * 3_600_000, carry })
}

function senderOf (sink: RemoteConfig, text: (reference: SecretReference) => string, { gate, version }: { gate: string, version: string }): Sender {
  const ca = sink.ca === undefined ? undefined : text(sink.ca)
  switch (sink.kind) {
    case 'syslog': return syslogSender({ host: sink.host, port: sink.port, servername: isIP(sink.host) === 0 ? sink.host : undefined, ca, cert: sink.cert === undefined ? undefined : text(sink.cert), key: sink.key === undefined ? undefined : text(sink.key), gate })
    case 'splunk': return httpsSender(sink.url, splunkPayload(() => text(sink.token).trim(), gate, sink.index), ca)
    case 'https': {
      const key = createSecretKey(text(sink.hmacKey).trim(), 'utf8')
      return httpsSender(sink.url, batchPayload(() => key), ca)
    }
    case 'otlp': {
      const { authorization } = sink
      return httpsSender(sink.url, otlpPayload(authorization === undefined ? undefined : () => text(authorization).trim(), gate, version), ca, refusesRecords)
    }
  }
}

/** Shown in metrics, and the spool's folder: the collector's host, never a path that may hold a token. */
function nameOf (sink: RemoteConfig): string {
  return `${sink.kind} ${sink.kind === 'syslog' ? `${sink.host}:${sink.port}` : new URL(sink.url).host}`
}

/** Where a remote sink's spool lies. */
export function folderOf ({ spool, sinks }: AuditConfig, sink: RemoteConfig): string {
  const name = nameOf(sink).replace(/[^A-Za-z0-9.-]+/g, '_')
  const same = sinks.filter(other => other.kind !== 'stdout' && other.kind !== 'file' && nameOf(other) === nameOf(sink))
  return join(spool, same.length === 1 ? name : `${name}_${same.indexOf(sink) + 1}`)
}

/** Intents that an earlier process left without an end, of every sink that has promised them. */
async function leftOpen (config: AuditConfig): Promise<AuditEvent[]> {
  const left = new Map<string, AuditEvent>()
  for (const sink of config.sinks) {
    if (sink.delivery !== 'required' || sink.kind === 'stdout') continue
    const path = sink.kind === 'file' ? sink.path : join(folderOf(config, sink), 'events.jsonl')
    if (fileKind(path) === 'special') continue
    for (const [id, event] of await openIntents([...rotatedFiles(path).slice(-1), path])) left.set(id, event)
  }
  return [...left.values()]
}

async function signerOf (pem: string): Promise<Signer> {
  const key = createPrivateKey(pem)
  return createSigner(key, await thumbprint(createPublicKey(key)))
}

/** RFC 7638. */
export async function thumbprint (publicKey: KeyObject): Promise<string> {
  return await calculateJwkThumbprint(await exportJWK(publicKey))
}

/** The gate's own. */
export function version (): string {
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version
}
