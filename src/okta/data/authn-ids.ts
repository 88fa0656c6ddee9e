/**
 * Ids of the /authn operations. Okta documents none, so these are Narrowgate's own; policies use them, so they never
 * change once released. From `METHOD path` of operations-authn.json to the id.
 */
export const authnIds: ReadonlyMap<string, string> = new Map([
  ['POST /api/v1/authn', 'authn'],
  ['POST /api/v1/authn/credentials/change_password', 'authnChangePassword'],
  ['POST /api/v1/authn/credentials/reset_password', 'authnResetPassword'],
  ['POST /api/v1/authn/factors', 'authnEnrollFactor'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/activate', 'authnActivateFactor'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/activate/poll', 'authnPollFactorActivation'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/activate/email', 'authnSendFactorActivationEmail'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/activate/sms', 'authnSendFactorActivationSms'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/resend', 'authnResendFactorActivation'],
  ['POST /api/v1/authn/factors/{factorId}/lifecycle/duoCallback', 'authnDuoCallback'],
  ['POST /api/v1/authn/factors/{factorIdOrFactorType}/verify', 'authnVerifyFactor'],
  ['POST /api/v1/authn/factors/{factorId}/verify/resend', 'authnResendFactorChallenge'],
  ['POST /api/v1/authn/factors/{factorId}/transactions/{transactionId}/verify', 'authnVerifyFactorTransaction'],
  ['POST /api/v1/authn/recovery/password', 'authnRecoverPassword'],
  ['POST /api/v1/authn/recovery/unlock', 'authnUnlockAccount'],
  ['POST /api/v1/authn/recovery/token', 'authnVerifyRecoveryToken'],
  ['POST /api/v1/authn/recovery/answer', 'authnAnswerRecoveryQuestion'],
  ['POST /api/v1/authn/recovery/factors/{factorType}/verify', 'authnVerifyRecoveryFactor'],
  ['POST /api/v1/authn/recovery/factors/{factorType}/resend', 'authnResendRecoveryFactor'],
  ['POST /api/v1/authn/previous', 'authnPrevious'],
  ['POST /api/v1/authn/skip', 'authnSkip'],
  ['POST /api/v1/authn/cancel', 'authnCancel'],
  ['POST /api/v1/authn/introspect', 'authnIntrospect'],
  ['POST /api/v1/authn/poll', 'authnPoll'],
  ['POST /api/v1/authn/consent', 'authnConsent'],
  ['POST /api/v1/authn/device/activate', 'authnActivateDevice'],
  ['GET /api/v1/authn/info', 'authnInfo']
])
