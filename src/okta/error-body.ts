import { rejections, type Rejection } from '../domain/rejection.js'

/**
 * A refusal as Okta's error JSON (developer.okta.com/docs/reference/core-okta-api, "Errors"), so that Okta's SDKs
 * understand it. `detail` is for the audit log and never appears.
 *
 * @param id the request's id: `errorId` equals the audit event's and the X-Narrowgate-Request-Id header's
 */
export function errorBody (rejection: Rejection, id: string): string {
  const { errorCode, message } = rejections[rejection.code]
  return JSON.stringify({
    errorCode,
    errorSummary: message,
    errorLink: errorCode,
    errorId: id,
    errorCauses: rejection.causes.map(errorSummary => ({ errorSummary }))
  })
}
