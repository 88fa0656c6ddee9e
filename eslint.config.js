import neostandard from 'neostandard'

export default neostandard({ ts: true, ignores: ['dist/**', '.tap/**', '.fuzz/**', '.stryker-tmp/**', 'test/bench/peers/**'] })
