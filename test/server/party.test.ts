import t from 'tap'
import { partyOf } from '../../src/server/party.js'
import type { GateExchange } from '../../src/server/stages.js'

const party = (source: string, client?: string): string => partyOf({ source, client: client === undefined ? undefined : { id: client } } as GateExchange)

t.test('a client is one party from wherever it calls, strangers are one by their network, and neither is taken for the other', async t => {
  t.equal(party('192.0.2.1', 'payroll'), party('2001:db8::1', 'payroll'))
  t.not(party('192.0.2.1', 'payroll'), party('192.0.2.1', 'helpdesk'))
  t.equal(party('2001:db8::1'), party('2001:db8::2'), 'one /64')
  t.not(party('192.0.2.1'), party('192.0.2.2'))
  for (const source of ['192.0.2.1', '2001:db8::1']) t.not(party(source), party('198.51.100.1', party(source).trim()), 'a client that is called as their network is')
})
