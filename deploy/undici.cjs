// What the gate, and @fastify/reply-from in it, use of undici, for the bundle. Its index also loads fetch, WebSockets, caches,
// mocks and cookies, and with these the copy of undici that is in Node: 90 files, 60 ms and 8 MB at each start.
'use strict'
const Dispatcher = require('undici/lib/dispatcher/dispatcher')

Object.assign(Dispatcher.prototype, require('undici/lib/api'))

module.exports = {
  Dispatcher,
  Agent: require('undici/lib/dispatcher/agent'),
  BalancedPool: require('undici/lib/dispatcher/balanced-pool'),
  Client: require('undici/lib/dispatcher/client'),
  Pool: require('undici/lib/dispatcher/pool'),
  buildConnector: require('undici/lib/core/connect')
}
