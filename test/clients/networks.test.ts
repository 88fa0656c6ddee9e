import t from 'tap'
import fc from 'fast-check'
import { canonicalAddress, isCidrProblem, parseCidr } from '../../src/domain/cidr.js'
import { compileNetworks, sourceAddress } from '../../src/clients/networks.js'

t.test('a block has one reading, or it is a problem', async t => {
  const blocks: [string, string][] = [
    ['10.0.0.0/8', 'ipv4 10.0.0.0/8'], ['0.0.0.0/0', 'ipv4 0.0.0.0/0'], ['192.0.2.7', 'ipv4 192.0.2.7/32'],
    ['2001:db8::/32', 'ipv6 2001:db8::/32'], ['::/0', 'ipv6 ::/0'], ['2001:DB8:0:0::1', 'ipv6 2001:db8::1/128'],
    ['::ffff:10.0.0.0/104', 'ipv4 10.0.0.0/8'], ['::ffff:0:0/96', 'ipv4 0.0.0.0/0'], ['::ffff:c000:207', 'ipv4 192.0.2.7/32'],
    ['64:ff9b::192.0.2.0/120', 'ipv6 64:ff9b::c000:200/120']
  ]
  for (const [text, expected] of blocks) {
    const cidr = parseCidr(text)
    t.equal(isCidrProblem(cidr) ? cidr.problem : `${cidr.family} ${cidr.address}/${cidr.prefix}`, expected, text)
  }
  const problems: [string, RegExp][] = [
    ['10.1.0.0/8', /beyond its prefix; write 10\.0\.0\.0\/8 for the network, or 10\.1\.0\.0 for/],
    ['2001:db8::1/32', /beyond its prefix; write 2001:db8::\/32/],
    ['10.0.0.0/33', /not 0 to 32/], ['10.0.0.0/08', /not 0 to 32/], ['10.0.0.0/', /not 0 to 32/], ['10.0.0.0/-1', /not 0 to 32/],
    ['::/129', /not 0 to 128/], ['10.0.0.0/8/8', /not 0 to 32/],
    ['fe80::1%eth0', /zone id/], ['fe80::%1/64', /zone id/],
    ['010.0.0.0/8', /not an IP/], ['10.0.0/8', /not an IP/], ['0x0a000001', /not an IP/], ['localhost', /not an IP/], ['', /not an IP/], [' 10.0.0.0/8', /not an IP/],
    ['1:2:3:4:5:6:7::8:9', /not an IP/], ['/8', /not an IP/],
    ['10.0.0/8', /^"10\.0\.0\/8" is not an IP address or CIDR block; write e\.g\. 10\.20\.0\.0\/16/],
    ['fe80::1%eth0', /^this has a zone id; write the address without %/],
    // What is no address may be a secret that stands in the wrong line.
    ['ngk_CANARY.0/8', /^this is not/], ['10.0.0.0/CANARY', /^this has a prefix/], ['CANARY', /^this is not/], ['00abcdef', /^this is not/], ['10.0.0.0/8 CANARY', /^this has/],
    [`1.${'0'.repeat(58)}`, /^"1\.0+" is not/], [`1.${'0'.repeat(59)}`, /^this is not/]
  ]
  for (const [text, expected] of problems) {
    const cidr = parseCidr(text)
    if (!isCidrProblem(cidr)) { t.fail(`${text} was accepted`); continue }
    t.match(`${cidr.problem}; ${cidr.hint ?? ''}`, expected, text)
  }
})

const toText = (value: bigint, four: boolean) => four
  ? [24n, 16n, 8n, 0n].map(shift => value >> shift & 255n).join('.')
  : Array.from({ length: 8 }, (_, i) => (value >> BigInt(112 - 16 * i) & 0xffffn).toString(16)).join(':')

t.test('membership is arithmetic on the prefix, for every block and address', async t => {
  const cases = fc.boolean().chain(four => {
    const bits = four ? 32 : 128
    // The top bit keeps IPv6 away from ::ffff:0:0/96, which has a table of its own.
    const address = fc.bigInt(0n, (1n << BigInt(bits)) - 1n).map(value => four ? value : value | 1n << 127n)
    return fc.record({ four: fc.constant(four), base: address, other: address, prefix: fc.nat(bits), near: fc.boolean(), flip: fc.nat(bits - 1) })
  })
  t.doesNotThrow(() => fc.assert(fc.property(cases, ({ four, base, other, prefix, near, flip }) => {
    const bits = four ? 32 : 128
    const rest = BigInt(bits - prefix)
    const first = base >> rest << rest
    if (!four && first >> 127n === 0n && prefix > 0) return true
    const probe = near ? base ^ 1n << BigInt(flip) : other
    const list = compileNetworks([`${toText(first, four)}/${prefix}`])
    return list.contains(toText(probe, four)) === (probe >> rest === base >> rest)
  }), { numRuns: 400 }))
})

t.test('IPv4 in IPv6 clothes is IPv4, and nothing else is', async t => {
  const list = compileNetworks(['10.0.0.0/8', '2001:db8::/32'])
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '::FFFF:a01:203', '0:0:0:0:0:ffff:10.1.2.3', '2001:db8:ffff::', '2001:0DB8::1']) t.equal(list.contains(address), true, address)
  for (const address of ['11.1.2.3', '::10.1.2.3', '64:ff9b::10.1.2.3', '::ff00:10.1.2.3', '::ff:10.1.2.3', '1::ffff:10.1.2.3', '2001:db9::', '2001:db8::1%eth0', '', '10.1.2', 'x']) t.equal(list.contains(address), false, address)
  t.equal(compileNetworks(['::/0']).contains('10.1.2.3'), false, '::/0 is all of IPv6, no IPv4')
  t.equal(compileNetworks(['0.0.0.0/0']).contains('::1'), false)
  t.equal(compileNetworks([]).contains('10.1.2.3'), false, 'an empty list holds nothing')
  const flood = compileNetworks(['10.0.0.0/8'])
  for (let i = 0; i < 2000; i++) t.equal(flood.contains(`${i % 2 === 0 ? 10 : 11}.0.${i >> 8}.${i & 255}`), i % 2 === 0)
})

const trusted = compileNetworks(['10.0.0.0/8', '2001:db8:1::/48'])

t.test('the source is the right-most address that no trusted proxy has', async t => {
  const table: [string, string, string | undefined, string][] = [
    ['no header', '10.0.0.1', undefined, '10.0.0.1'],
    ['the peer is not trusted: its header is not read', '203.0.113.9', '198.51.100.1', '203.0.113.9'],
    ['one balancer', '10.0.0.1', '198.51.100.1', '198.51.100.1'],
    ['a forged left part', '10.0.0.1', '127.0.0.1, 198.51.100.1', '198.51.100.1'],
    ['two balancers', '10.0.0.1', '198.51.100.1, 10.9.9.9', '198.51.100.1'],
    ['several lines, no spaces', '10.0.0.1', 'x,198.51.100.1,10.9.9.9,2001:db8:1::5', '198.51.100.1'],
    ['everyone is trusted', '10.0.0.1', '10.0.0.3, 10.0.0.2', '10.0.0.3'],
    ['garbage ends the walk', '10.0.0.1', '198.51.100.1, unknown, 10.9.9.9', '10.9.9.9'],
    ['an empty header', '10.0.0.1', '', '10.0.0.1'],
    ['an empty entry', '10.0.0.1', '198.51.100.1,', '10.0.0.1'],
    ['only commas', '10.0.0.1', ',,,', '10.0.0.1'],
    ['with ports', '10.0.0.1', '198.51.100.1:4711', '198.51.100.1'],
    ['IPv6 with a port', '10.0.0.1', '[2001:db8:2::1]:4711', '2001:db8:2::1'],
    ['IPv6 in brackets', '10.0.0.1', '[2001:db8:2::1]', '2001:db8:2::1'],
    ['a port that is none', '10.0.0.1', '198.51.100.1:x', '10.0.0.1'],
    ['a port with something before it', '10.0.0.1', '198.51.100.1:x4711', '10.0.0.1'],
    ['a port with something behind it', '10.0.0.1', '198.51.100.1:4711x', '10.0.0.1'],
    ['a port that is too long', '10.0.0.1', '198.51.100.1:471100', '10.0.0.1'],
    ['brackets with something behind them', '10.0.0.1', '[2001:db8:2::1]x', '10.0.0.1'],
    ['a bracket that does not close', '10.0.0.1', '[2001:db8:2::1', '10.0.0.1'],
    ['as many hops as are followed', '10.0.0.1', `198.51.100.1${', 10.0.0.2'.repeat(31)}`, '198.51.100.1'],
    ['one hop more', '10.0.0.1', `198.51.100.1${', 10.0.0.2'.repeat(32)}`, '10.0.0.2'],
    ['mapped peer and entry', '::ffff:10.0.0.1', '::ffff:198.51.100.1', '198.51.100.1'],
    ['zone id', '10.0.0.1', 'fe80::1%eth0', '10.0.0.1'],
    ['a peer that is no address', 'unix', '198.51.100.1', 'unix'],
    ['more hops than are followed', '10.0.0.1', `198.51.100.1${', 10.0.0.2'.repeat(40)}`, '10.0.0.2']
  ]
  for (const [name, peer, header, expected] of table) t.equal(sourceAddress(peer, header, trusted), expected, name)
  t.equal(sourceAddress('10.0.0.1', '198.51.100.1', compileNetworks([])), '10.0.0.1', 'by default nobody is trusted')
})

t.test('a trusted proxy is the source only when all to its right are trusted and its left ends the walk', async t => {
  const outside = fc.ipV4().filter(address => !address.startsWith('10.'))
  const inside = fc.ipV4().map(address => address.replace(/^[0-9]+/, '10'))
  const junk = fc.constantFrom('', 'unknown', '_hidden', '1.2.3', '10.0.0.1 evil', '%')
  const chain = fc.array(fc.oneof(outside, inside, junk), { maxLength: 12 })
  t.doesNotThrow(() => fc.assert(fc.property(chain, fc.oneof(outside, inside), (entries, peer) => {
    const result = sourceAddress(peer, entries.join(', '), trusted)
    const seen = [...entries, peer]
    if (!trusted.contains(result)) {
      const at = seen.lastIndexOf(result)
      return canonicalAddress(result) === result && seen.slice(at + 1).every(entry => trusted.contains(entry))
    }
    const firstOther = seen.findLastIndex(entry => !trusted.contains(entry))
    return firstOther < 0 ? result === seen[0] : canonicalAddress(seen[firstOther]!) === undefined
  }), { numRuns: 500 }))
})
