import { randomBytes } from 'node:crypto'
import { createBatches, type Batches } from '../audit/batches.js'
import type { Sender } from '../audit/deliver.js'
import { httpsSender } from '../audit/https.js'
import { metricsJson, metricsPayload, type RegistryMetric } from '../audit/otlp-metrics.js'
import { spansPayload, spanText, type Span } from '../audit/spans.js'
import { processTiming } from '../audit/timing.js'
import { compileNetworks, type NetworkList } from '../clients/networks.js'
import type { SecretReference, TelemetryConfig } from '../config/config.js'
import type { Secret } from '../domain/secret.js'
import { parseTraceparent, type TraceContext } from '../domain/trace.js'
import { outcomeOf } from './record.js'
import type { GateExchange } from './stages.js'

/** Span names and `http.request.method` have few values, whatever callers send (OpenTelemetry's HTTP conventions). */
const METHODS = new Set(['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'TRACE'])
const SPAN_ID_BYTES = 8
const POOL_BYTES = 4096
/** The last 7 bytes of a trace id are random (W3C Trace Context level 2), so that all who sample by them agree. */
const RANDOM_DIGITS = 14

/** Traces and metrics over OTLP: what may be lost, beside the audit log, which may not. Nothing of it delays a request. */
export class Telemetry {
  readonly #trusted: NetworkList
  readonly #sampling: number
  readonly #spans: Batches<Span>
  readonly #metricsSender: Sender
  readonly #since = Date.now()
  #metricsError: string | undefined
  #sendingMetrics = false
  #timer: NodeJS.Timeout | undefined
  #pool = Buffer.alloc(0)
  #used = 0

  /** @param version the gate's; @param gate its host's name */
  constructor (private readonly config: TelemetryConfig, secrets: ReadonlyMap<SecretReference, Secret>, gate: string, version: string) {
    const { authorization, ca } = config
    const text = (reference: SecretReference): string => secrets.get(reference)!.reveal().trim()
    const credential = authorization === undefined ? undefined : () => text(authorization)
    const anchors = ca === undefined ? undefined : text(ca)
    // Workers of one host count for themselves.
    const instance = `${gate}:${process.pid}`
    const url = config.url.replace(/\/$/, '')
    this.#trusted = compileNetworks(config.trustedNetworks)
    this.#sampling = config.sampling
    this.#spans = createBatches(httpsSender(`${url}/v1/traces`, spansPayload(credential, gate, version, instance), anchors), spanText, processTiming)
    this.#metricsSender = httpsSender(`${url}/v1/metrics`, metricsPayload(credential, gate, version, instance), anchors)
  }

  get status (): { readonly sent: number, readonly waiting: number, readonly dropped: number, readonly tracesError?: string, readonly metricsError?: string } {
    const { sent, waiting, dropped, error } = this.#spans
    return { sent, waiting, dropped, tracesError: error, metricsError: this.#metricsError }
  }

  /**
   * The place of a request in its trace: the caller's, when it comes from a trusted network, else one that begins here
   * with the request's own id.
   */
  begin (id: string, source: string, traceparent: string | string[] | undefined): TraceContext {
    const parent = typeof traceparent === 'string' && this.#trusted.contains(source) ? parseTraceparent(traceparent) : undefined
    const spanId = this.#newSpanId()
    if (parent !== undefined) return { traceId: parent.traceId, spanId, parentId: parent.parentId, sampled: parent.sampled }
    const traceId = id.replaceAll('-', '')
    return { traceId, spanId, sampled: Number.parseInt(traceId.slice(-RANDOM_DIGITS), 16) < this.#sampling * 16 ** RANDOM_DIGITS }
  }

  /** @param clock monotonic milliseconds now */
  end (exchange: GateExchange, clock: number): void {
    const { trace } = exchange
    if (trace?.sampled !== true) return
    this.#spans.push(gateSpan(exchange, trace, clock))
    if (exchange.sentClock !== undefined) this.#spans.push(oktaSpan(exchange, trace, this.#newSpanId(), clock))
  }

  /** Tells the metrics every so many seconds. @param read the registry's */
  start (read: () => Promise<readonly RegistryMetric[]>): void {
    if (this.config.metricsSeconds === 0) return
    this.#tell = () => this.#tellMetrics(read)
    this.#timer = setInterval(this.#tell, this.config.metricsSeconds * 1000).unref()
  }

  /** Sends what waits and the last metrics, for at most `deadlineMs`. */
  async close (deadlineMs: number): Promise<void> {
    clearInterval(this.#timer)
    let timer: { cancel (): void } | undefined
    const late = new Promise<void>(resolve => { timer = processTiming.later(resolve, deadlineMs) })
    await Promise.all([this.#spans.close(deadlineMs), Promise.race([this.#tell(), late])])
    timer?.cancel()
    this.#metricsSender.close()
  }

  #tell: () => Promise<void> = async () => {}

  async #tellMetrics (read: () => Promise<readonly RegistryMetric[]>): Promise<void> {
    if (this.#sendingMetrics) return
    this.#sendingMetrics = true
    try {
      await this.#metricsSender.send([metricsJson(await read(), this.#since, Date.now())])
      this.#metricsError = undefined
    } catch (thrown) {
      this.#metricsError = String((thrown as { code?: unknown }).code ?? (thrown as Error).name)
    } finally {
      this.#sendingMetrics = false
    }
  }

  #newSpanId (): string {
    if (this.#used + SPAN_ID_BYTES > this.#pool.length) {
      this.#pool = randomBytes(POOL_BYTES)
      this.#used = 0
    }
    const from = this.#used
    this.#used += SPAN_ID_BYTES
    return this.#pool.toString('hex', from, this.#used)
  }
}

function gateSpan (exchange: GateExchange, { traceId, spanId, parentId }: TraceContext, clock: number): Span {
  const { operation, rejection, status } = exchange
  const method = METHODS.has(exchange.method) ? exchange.method : '_OTHER'
  const outcome = outcomeOf(exchange)
  return {
    traceId,
    spanId,
    parentId,
    name: operation === undefined ? method === '_OTHER' ? 'HTTP' : method : `${method} ${operation.template}`,
    kind: 'server',
    start: exchange.time,
    end: exchange.time + (clock - exchange.clock),
    failed: outcome === 'failed',
    attributes: {
      'http.request.method': method,
      'http.route': operation?.template,
      'http.response.status_code': status,
      'error.type': outcome === 'failed' ? rejection?.code ?? 'truncated' : undefined,
      'narrowgate.request_id': exchange.id,
      'narrowgate.client': exchange.client?.id,
      'narrowgate.operation': operation?.id,
      'narrowgate.rule': exchange.rule?.id,
      'narrowgate.outcome': outcome,
      'narrowgate.reason': rejection?.code,
      'narrowgate.stage': exchange.stage
    }
  }
}

/** From the first byte of the call to the last of its answer; of a call that was made again, the second. */
function oktaSpan (exchange: GateExchange, { traceId, spanId }: TraceContext, id: string, clock: number): Span {
  const { operation, upstreamStatus, policy, rejection, snapshot } = exchange
  const at = (monotonic: number): number => exchange.time + (monotonic - exchange.clock)
  const failed = upstreamStatus === undefined || upstreamStatus >= 400 || exchange.truncated
  return {
    traceId,
    spanId: id,
    parentId: spanId,
    name: `${operation!.method} ${operation!.template}`,
    kind: 'client',
    start: at(exchange.sentClock!),
    end: at(exchange.endClock ?? clock),
    failed,
    attributes: {
      'http.request.method': operation!.method,
      'url.template': operation!.template,
      'http.response.status_code': upstreamStatus,
      'http.request.resend_count': exchange.resent ? 1 : undefined,
      'error.type': failed ? rejection?.code ?? (exchange.truncated ? 'truncated' : exchange.aborted ? 'aborted' : String(upstreamStatus)) : undefined,
      'server.address': snapshot.upstreams.get(policy!.upstream)?.host,
      'narrowgate.upstream': policy!.upstream,
      'okta.request_id': exchange.oktaRequestId
    }
  }
}
