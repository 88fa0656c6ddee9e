import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** What may be in the runtime tree without asking anybody: permissive licences, by their SPDX names. */
export const ACCEPTED = new Set(['0BSD', 'Apache-2.0', 'BlueOak-1.0.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'])

/** Scripts that npm would run when a package is installed. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall']

/**
 * The packages of a lockfile that are not for development alone.
 * @returns {{ folder: string, name: string, version: string, integrity?: string, hasInstallScript: boolean }[]}
 */
export function runtimePackages (root) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  return Object.entries(packages)
    .filter(([folder, { dev, devOptional, optional, peer }]) => folder !== '' && dev !== true && devOptional !== true && !((optional === true || peer === true) && !existsSync(join(root, folder))))
    .map(([folder, { version, integrity, hasInstallScript }]) => ({ folder, name: folder.slice(folder.lastIndexOf('node_modules/') + 13), version, integrity, hasInstallScript: hasInstallScript === true }))
}

/**
 * Name, version, licence and licence file of each package of the runtime tree.
 * @throws when a licence is not among those accepted, or a package wants to run something when it is installed
 */
export function listLicences (root) {
  return runtimePackages(root).map(({ folder, name, version, hasInstallScript }) => {
    const { license, scripts = {} } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
    if (!ACCEPTED.has(license)) throw new Error(`${name} ${version} has the licence ${JSON.stringify(license)}: not among ${[...ACCEPTED].join(', ')}`)
    if (hasInstallScript || INSTALL_SCRIPTS.some(script => script in scripts)) throw new Error(`${name} ${version} runs a script when it is installed`)
    const file = readdirSync(join(root, folder)).find(entry => /^licen[cs]e/i.test(entry))
    return [name, version, license, file === undefined ? '' : `${folder}/${file}`]
  })
}
