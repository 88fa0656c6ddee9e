import type { LoadHook } from 'node:module'

/** Files that are open at a time. */
const AT_ONCE = 4

let open = 0
const waiting: (() => void)[] = []

/** Module hook (node:module, register): reads a few of the program's files at a time. */
export const load: LoadHook = async (url, context, nextLoad) => {
  if (open >= AT_ONCE) await new Promise<void>(resolve => { waiting.push(resolve) })
  open++
  try {
    return await nextLoad(url, context)
  } finally {
    open--
    waiting.shift()?.()
  }
}
