/** `unknown`: cannot tell, and why. */
export type Verdict = 'pass' | 'fail' | 'unknown'

/** What one check came to. */
export interface Finding {
  /** name of the check, e.g. `service-app-dpop` */
  readonly check: string
  /** number of the hardening rule (docs/upstreams.md), where it is about one */
  readonly rule?: number
  /** absent: about the configuration as a whole */
  readonly upstream?: string
  readonly verdict: Verdict
  readonly what: string
  /** what to do about a fail, or to be able to tell */
  readonly fix?: string
  /** Okta operations that the check reads, with the scope that each needs */
  readonly reads: readonly string[]
}

/** One check in the making: collects what it reads. */
export class Check {
  readonly reads: string[] = []

  constructor (readonly name: string, readonly upstream: string | undefined, readonly rule?: number) {}

  pass (what: string): Finding { return this.#end('pass', what) }
  fail (what: string, fix: string): Finding { return this.#end('fail', what, fix) }
  unknown (what: string, fix?: string): Finding { return this.#end('unknown', what, fix) }

  /** fails when there is something to say, else passes */
  of (faults: readonly string[], fix: string, well: string): Finding {
    return faults.length > 0 ? this.fail(faults.join('; '), fix) : this.pass(well)
  }

  #end (verdict: Verdict, what: string, fix?: string): Finding {
    return { check: this.name, rule: this.rule, upstream: this.upstream, verdict, what, fix, reads: [...new Set(this.reads)] }
  }
}
