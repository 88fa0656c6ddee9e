import { createHmac, type KeyObject } from 'node:crypto'
import { parseEvent } from './parse.js'
import { eventId, SEVERITY, severityOf } from './meaning.js'

/** What a collector is sent: bytes before compression, and header lines. */
export interface Payload {
  readonly body: string
  readonly headers: Readonly<Record<string, string>>
}

export type MakePayload = (lines: readonly string[], now: number) => Payload

/** What a line says beside itself; lines of the log's own (checkpoints, gaps) have a time alone. */
function factsOf (line: string): { time?: number, id?: string, traceId?: string, severity: number } {
  const event = parseEvent(line)
  if (event !== undefined) return { time: event.time, id: eventId(event), traceId: event.traceId, severity: severityOf(event) }
  try {
    const time = Date.parse(String((JSON.parse(line) as { time?: unknown }).time))
    return { time: Number.isNaN(time) ? undefined : time, severity: SEVERITY.informational }
  } catch {
    return { severity: SEVERITY.informational }
  }
}

/** Splunk's HTTP Event Collector: events one after another, `/services/collector/event`. */
export function splunkPayload (token: () => string, gate: string, index: string | undefined): MakePayload {
  const more = `,"host":${JSON.stringify(gate)},"source":"narrowgate","sourcetype":"narrowgate:audit"${index === undefined ? '' : `,"index":${JSON.stringify(index)}`}`
  return lines => ({
    body: lines.map(line => {
      const { time } = factsOf(line)
      return `{${time === undefined ? '' : `"time":${(time / 1000).toFixed(3)},`}"event":${line}${more}}`
    }).join('\n'),
    headers: { 'content-type': 'application/json', authorization: `Splunk ${token()}` }
  })
}

/**
 * Lines as they are (application/x-ndjson). `Narrowgate-Signature: t=SECONDS,v1=HEX`, an HMAC-SHA-256 over the
 * seconds, a full stop and the body before compression, lets the receiver refuse what is not from the gate, or old.
 */
export function batchPayload (key: () => KeyObject, headers: Readonly<Record<string, string>> = {}): MakePayload {
  return (lines, now) => {
    const body = `${lines.join('\n')}\n`
    const seconds = Math.floor(now / 1000)
    const signature = createHmac('sha256', key()).update(`${seconds}.${body}`).digest('hex')
    return { body, headers: { ...headers, 'content-type': 'application/x-ndjson', 'narrowgate-signature': `t=${seconds},v1=${signature}` } }
  }
}

/** OTLP's severity numbers: INFO, INFO4, WARN, ERROR (OpenTelemetry log data model, "Field: SeverityNumber"). */
const OTLP_SEVERITY: Readonly<Record<number, readonly [number, string]>> = { 1: [9, 'INFO'], 2: [12, 'INFO4'], 3: [13, 'WARN'], 4: [17, 'ERROR'] }

/** OTLP logs over HTTP as JSON (`/v1/logs`): the line is the body, its id an attribute. */
export function otlpPayload (authorization: (() => string) | undefined, gate: string, version: string): MakePayload {
  const attribute = (key: string, value: string) => ({ key, value: { stringValue: value } })
  const resource = { attributes: [attribute('service.name', 'narrowgate'), attribute('service.version', version), attribute('host.name', gate)] }
  return (lines, now) => {
    const logRecords = lines.map(line => {
      const { time, id, traceId, severity } = factsOf(line)
      const [severityNumber, severityText] = OTLP_SEVERITY[severity]!
      return {
        timeUnixNano: `${BigInt(time ?? now) * 1_000_000n}`,
        observedTimeUnixNano: `${BigInt(now) * 1_000_000n}`,
        severityNumber,
        severityText,
        body: { stringValue: line },
        traceId,
        attributes: id === undefined ? [] : [attribute('event.id', id)]
      }
    })
    return {
      body: JSON.stringify({ resourceLogs: [{ resource, scopeLogs: [{ scope: { name: 'narrowgate.audit', version }, logRecords }] }] }),
      headers: { 'content-type': 'application/json', ...authorization === undefined ? {} : { authorization: authorization() } }
    }
  }
}

/** RFC 5424 severities: informational, notice, warning, error. Facility 13 is "log audit". */
const SYSLOG_SEVERITY: Readonly<Record<number, number>> = { 1: 6, 2: 5, 3: 4, 4: 3 }
const FACILITY = 13

/** One line as RFC 5424 has it, framed by its length (RFC 5425 section 4.3.1). The event's id is structured data, under the enterprise number that RFC 5612 keeps for examples. */
export function syslogFrame (line: string, gate: string, processId: number, now: number): string {
  const { time, id, severity } = factsOf(line)
  const priority = FACILITY * 8 + SYSLOG_SEVERITY[severity]!
  const data = id === undefined ? '-' : `[event@32473 id="${id.replace(/["\\\]]/g, '')}"]`
  const message = `<${priority}>1 ${new Date(time ?? now).toISOString()} ${gate.replace(/[^\x21-\x7e]/g, '') || '-'} narrowgate ${processId} audit ${data} \ufeff${line}`
  return `${Buffer.byteLength(message)} ${message}`
}

/** OTLP's partial success (OTLP specification, "Partial Success"): the batch was read, and some of it was not kept. */
export function refusesRecords (answer: string): boolean {
  try {
    const { partialSuccess } = JSON.parse(answer) as { partialSuccess?: { rejectedLogRecords?: unknown } }
    return Number(partialSuccess?.rejectedLogRecords ?? 0) > 0
  } catch {
    return false
  }
}
