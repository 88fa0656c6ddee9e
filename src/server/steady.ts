const { timeOrigin } = performance
/** Epoch milliseconds of a clock that does not jump: what the limits count in. */
export const steadyNow = (): number => timeOrigin + performance.now()
