// Module hooks of a mutation run. A test file is imported as `file.js?v=N`; what it imports of the project carries the same N, so that
// another N loads all of it anew, in the same process: what a mutant does while a module loads is seen, too.
const collected = new URL('collected.mjs', import.meta.url).href

export async function resolve (specifier, context, next) {
  const version = context.parentURL === undefined ? null : new URL(context.parentURL).searchParams.get('v')
  if (version === null) return next(specifier, context)
  if (specifier === 'tap') return { url: collected, shortCircuit: true }
  const found = await next(specifier, context)
  if (!found.url.startsWith('file:') || found.url.includes('/node_modules/')) return found
  return { ...found, url: `${found.url}?v=${version}` }
}
