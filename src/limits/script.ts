/**
 * The one script of the shared store, for Redis 6.2 or newer and Valkey. One run does a batch of steps of one gate for
 * one upstream, in order, each wholly or not at all. It keeps the budgets that bucket.ts and remaining.ts keep in
 * memory, for all gates together; docs/limits.md tells how.
 *
 * KEYS[1] is `prefix:{upstream}`; every other key begins with it, so all of an upstream live in one hash slot:
 *
 * | key | holds |
 * |---|---|
 * | (itself) | hash: epoch, clock, barrier, learned concurrency, the least number of gates that any of them counts on |
 * | `:g` | hash: gate → `incarnation:last batch:gates it counts on:last contact` |
 * | `:e` | set: gates that have to report before anything is admitted; `*`: any that there may be |
 * | `:b` | set: buckets |
 * | `:c` | hash: slots in flight by budget; budget '' is concurrency, `\ncredential\nbucket` a credential's counter |
 * | `:f:gate` | hash: the same, of one gate: what is freed when it has gone |
 * | `:b:bucket` | hash: what headers taught, who saw how much used, who waits |
 * | `:l:budget` | list: when each answered slot expires, ascending; budget is `bucket[\nclient[\nrule]]` |
 * | `:k:bucket` | sorted set: clients by last use |
 * | `:r:bucket` | hash: clients with a reservation → `part:active until` |
 * | `:u:hash` | sorted set: calls of one user name |
 *
 * ARGV: gate, incarnation, now ('' = the server's clock), deadline ('' = none), steps as JSON, number of the batch, how many
 * gates it counts on (0: it does not know).
 * Answer: JSON [now, state, results…]; state is `open`, `regroup`, `late` (nothing was done) or `unknown` (the gate has
 * to join first; nothing was done).
 */
export const SCRIPT = `
local p, gate, inc, batch, counted = KEYS[1], ARGV[1], ARGV[2], ARGV[6], ARGV[7]
local HOLD, SOON, GUARD, HORIZON, SAME = 60500, 1000, 500, 61000, 5000
local MISSING, FORGET, KEEP, USER_MS, USER_LEASE = 3000, 61000, 7200000, 1500, 60500
local RAISE_MS, LENT_MS, LEAST, BACK = 60000, 60500, 7, 2000
local call, floor, max, min = redis.call, math.floor, math.max, math.min
local function n(x) return tonumber(x) or 0 end

local now
if ARGV[3] ~= '' then now = tonumber(ARGV[3]) else
  local t = call('TIME')
  now = t[1] * 1000 + floor(t[2] / 1000)
end
if ARGV[4] ~= '' and now > tonumber(ARGV[4]) then return cjson.encode({ now, 'late' }) end
local top = call('HMGET', p, 'now', 'epoch', 'last', 'until', 'least')
now = max(now, n(top[1]))
local epoch, last, barrier = top[2], n(top[3]), n(top[4])
local steps = cjson.decode(ARGV[5])

local function list(budget) return p .. ':l:' .. budget end
local function bkey(bucket) return p .. ':b:' .. bucket end

local function length(budget)
  local key = list(budget)
  local head = call('LINDEX', key, 0)
  while head and tonumber(head) <= now do
    call('LPOP', key)
    head = call('LINDEX', key, 0)
  end
  return head and call('LLEN', key) or 0
end

local function push(budget, count)
  if count <= 0 then return end
  local key = list(budget)
  local expiry = max(now + HOLD, n(call('LINDEX', key, -1)))
  for _ = 1, count do call('RPUSH', key, expiry) end
  call('PEXPIRE', key, HOLD + MISSING)
end

local function add(field, by)
  local total = call('HINCRBY', p .. ':c', field, by)
  if total <= 0 then call('HDEL', p .. ':c', field) end
  local own = call('HINCRBY', p .. ':f:' .. gate, field, by)
  if own <= 0 then call('HDEL', p .. ':f:' .. gate, field) end
end

-- Frees what a gate had in flight; charged: it may have been counted until now.
local function dropFlights(of, charged)
  local key = p .. ':f:' .. of
  local all = call('HGETALL', key)
  for i = 1, #all, 2 do
    local field, count = all[i], tonumber(all[i + 1])
    if call('HINCRBY', p .. ':c', field, -count) <= 0 then call('HDEL', p .. ':c', field) end
    local cred, bucket = string.match(field, '^\\n(.)\\n(.*)$')
    if charged and count > 0 and cred then
      call('HINCRBY', bkey(bucket), cred .. '.x', count)
      call('HSET', bkey(bucket), cred .. '.y', now + GUARD)
    elseif charged and field ~= '' and not cred then push(field, count) end
  end
  call('DEL', key)
  for _, bucket in ipairs(call('SMEMBERS', p .. ':b')) do
    local probe = call('HGET', bkey(bucket), 'pb')
    if probe and string.sub(probe, 1, #of + 1) == of .. ':' then call('HDEL', bkey(bucket), 'pb') end
  end
end

-- What a gate has certainly seen used, at most: from it follows what the gate may spend when it loses the store.
local function setView(bucket, of, used)
  local key, field = bkey(bucket), 'v:' .. of
  local old = n(call('HGET', key, field))
  if used == old then return end
  call('HINCRBY', key, 'sv', used - old)
  if used == 0 then call('HDEL', key, field) else call('HSET', key, field, used) end
end

local function clearViews(of)
  for _, bucket in ipairs(call('SMEMBERS', p .. ':b')) do
    setView(bucket, of, 0)
    call('HDEL', bkey(bucket), 'w:' .. of)
  end
end

local function forget(of)
  clearViews(of)
  call('HDEL', p .. ':g', of)
end

-- Shows that this gate is there, and what number of gates it may divide by when it loses the store.
local function here(count)
  call('HSET', p .. ':g', gate, inc .. ':' .. batch .. ':' .. count .. ':' .. now)
end

local function least()
  local all, count = call('HGETALL', p .. ':g'), 0
  for i = 2, #all, 2 do
    local one = n(string.match(all[i], '^%d+:%d+:(%d+):'))
    if one > 0 and (count == 0 or one < count) then count = one end
  end
  call('HSET', p, 'least', count)
end

-- Who has not been heard of: first its calls in flight are taken as answered, after a span it is forgotten.
local function sweep()
  local all = call('HGETALL', p .. ':g')
  for i = 1, #all, 2 do
    local heard = n(string.match(all[i + 1], ':(%d+)$'))
    if now - heard > MISSING then dropFlights(all[i], true) end
    if now - heard > FORGET then forget(all[i]) end
  end
end

local function live()
  local all, ids = call('HGETALL', p .. ':g'), {}
  for i = 1, #all, 2 do
    if now - n(string.match(all[i + 1], ':(%d+)$')) <= MISSING then ids[#ids + 1] = all[i] end
  end
  return ids
end

local function closed() return now < barrier and call('SCARD', p .. ':e') > 0 end

local function allowance(fixed, org, ceiling, learned, header)
  if fixed == 0 and learned then org = tonumber(learned) end
  return floor(min(ceiling * org, header) + 1e-9)
end

local function freeAt(budget, flights, len, limit)
  if limit <= 0 then return math.huge end
  local needed = max(1, flights + len - limit + 1)
  if needed > len then return now + SOON end
  return tonumber(call('LINDEX', list(budget), needed - 1))
end

-- Unused floors of reserving clients that have asked within a span; this client's own is not held against it.
local function claims(bucket, client, allowed)
  local all, sum = call('HGETALL', p .. ':r:' .. bucket), 0
  for i = 1, #all, 2 do
    local part, untilMs = string.match(all[i + 1], '^(.*):(%d+)$')
    if tonumber(untilMs) <= now then call('HDEL', p .. ':r:' .. bucket, all[i])
    elseif all[i] ~= client then
      local budget = bucket .. '\\n' .. all[i]
      sum = sum + max(0, floor(part * allowed + 1e-9) - length(budget) - n(call('HGET', p .. ':c', budget)))
    end
  end
  return sum
end

local function concurrency(configured)
  local c = call('HMGET', p, 'cl', 'clAt')
  if not c[1] then return configured end
  local limit = tonumber(c[1]) + floor((now - tonumber(c[2])) / RAISE_MS)
  if limit < configured then return limit end
  call('HDEL', p, 'cl', 'clAt')
  return configured
end

local function reserve(o)
  local id, bucket, cred, client, share, rule, perMinute = o[2], o[3], o[4], o[5], o[6], o[7], o[8]
  local fixed, org, ceiling, conc, part, level, user, forced = o[9], o[10], o[11], o[13], o[14], o[15], o[16], o[17]
  local key, ck, mk = bkey(bucket), bucket .. '\\n' .. client, '\\n' .. cred .. '\\n' .. bucket
  local rk = rule ~= '' and ck .. '\\n' .. rule
  local s = call('HMGET', key, 'lo', 'cu', 'ca', cred .. '.d', cred .. '.l', cred .. '.r', cred .. '.x', cred .. '.L', cred .. '.U', 'pb', 'sv', 'v:' .. gate, 'q0', 'q0u', 'q1', 'q1u')
  local f = call('HMGET', p .. ':c', '', bucket, ck, mk, rk or '')
  local header = now < n(s[9]) and tonumber(s[8]) or math.huge
  local allowed = allowance(fixed, org, ceiling, s[1], header)
  local len, flights = length(bucket), n(f[2])
  local used = len + flights
  local code, by, untilMs, limit = 1, '', 0, allowed
  local function refuse(why, at, of)
    code, by, limit = 2, why, of
    untilMs = max(now + 1, at)
    if why ~= 'closed' then untilMs = min(now + HORIZON, untilMs) end
    if untilMs > 9e15 then untilMs = 9e15 end
  end
  local function judge()
    if closed() then code = 4 return end
    local shut = n(s[2])
    if cred == 'n' then shut = n(s[3]) end
    if now < shut then return refuse('closed', shut, allowed) end
    if used >= allowed then return refuse('bucket', freeAt(bucket, flights, len, allowed), allowed) end
    if part > 0 then call('HSET', p .. ':r:' .. bucket, client, part .. ':' .. (now + LENT_MS)) call('PEXPIRE', p .. ':r:' .. bucket, LENT_MS) end
    local clen, cflights = length(ck), n(f[3])
    if clen + cflights >= floor(part * allowed + 1e-9) then
      local held = claims(bucket, client, allowed)
      if level > 0 and n(s[14]) > now then held = held + n(s[13]) end
      if level > 1 and n(s[16]) > now then held = held + n(s[15]) end
      if used + held >= allowed then return refuse('bucket', freeAt(bucket, flights, len, allowed - held), allowed) end
    end
    -- What all others may spend by what they have seen, should they lose the store, and this gate by what it sees then.
    local gates, parts = call('HLEN', p .. ':g'), n(top[5])
    parts = 2 * (parts > 0 and min(parts, gates) or gates)
    local aside = floor(((gates - 1) * allowed - (n(s[11]) - n(s[12]))) / parts) + floor((allowed - used - 1) / parts)
    if used + max(0, aside) >= allowed then return refuse('bucket', now + GUARD, allowed) end
    if now < n(s[6]) + SOON and n(s[5]) - n(f[4]) - n(s[7]) <= 0 then return refuse('bucket', n(s[6]) + SOON, allowed) end
    local own = (share > 0 and allowed > 0) and min(allowed, max(1, floor(share * allowed + 1e-9))) or 0
    if clen + cflights >= own then return refuse('share', freeAt(ck, cflights, clen, own), own) end
    if rk then
      local rlen = length(rk)
      if rlen + n(f[5]) >= perMinute then return refuse('rule', freeAt(rk, n(f[5]), rlen, perMinute), perMinute) end
    end
    if user ~= '' then
      local ukey = p .. ':u:' .. user
      call('ZREMRANGEBYSCORE', ukey, '-inf', now)
      if call('ZCARD', ukey) >= 2 then return refuse('user', now + SOON, 2) end
    end
    local most = concurrency(conc)
    if n(f[1]) >= most then return refuse('concurrency', now + SOON, most) end
    if not s[4] and s[10] then code = 3 end
  end
  if forced == 0 then judge() end
  call('SADD', p .. ':b', bucket)
  if code == 2 and (by == 'bucket') and level < 2 then
    local before = n(s[14 + 2 * level]) > now and n(s[13 + 2 * level]) or 0
    local count = o[19] == 1 and max(1, before) or before + 1
    call('HSET', key, 'q' .. level, min(allowed, count), 'q' .. level .. 'u', untilMs + BACK)
  end
  if code == 1 then
    add('', 1) add(bucket, 1) add(ck, 1) add(mk, 1)
    if rk then add(rk, 1) end
    if user ~= '' then call('ZADD', p .. ':u:' .. user, now + USER_LEASE, gate .. ':' .. id) call('PEXPIRE', p .. ':u:' .. user, USER_LEASE) end
    if not s[4] and forced == 0 then call('HSET', key, 'pb', gate .. ':' .. id) end
    if level < 2 and n(s[13 + 2 * level]) > 0 then call('HINCRBY', key, 'q' .. level, -1) end
    call('ZADD', p .. ':k:' .. bucket, now, client)
    used = used + 1
    flights = flights + 1
  end
  call('HSET', key, 'a', allowed)
  call('PEXPIRE', key, KEEP)
  -- The gate holds what it saw before until this answer has reached it.
  setView(bucket, gate, min(o[18], used))
  return { code, used, flights - n(call('HGET', p .. ':f:' .. gate, bucket)), allowed, by, untilMs, limit }
end

local function close(key, cred, at)
  local c = call('HMGET', key, 'cu', 'ca')
  call('HSET', key, 'cu', max(n(c[1]), at))
  if cred == 'n' then call('HSET', key, 'ca', max(n(c[2]), at)) end
end

local function lose(key, cred, by)
  call('HINCRBY', key, cred .. '.x', 1)
  call('HSET', key, cred .. '.y', by)
end

-- What is left of a credential's window; true when that is the freshest that is known.
local function window(key, cred, limit, remaining, reset)
  local s = call('HMGET', key, cred .. '.r', cred .. '.l')
  local oldReset, least = n(s[1]), n(s[2])
  if reset < oldReset - SAME then return false end
  local later = reset > oldReset + SAME
  call('HSET', key, cred .. '.L', limit, cred .. '.U', reset, cred .. '.r', later and reset or max(oldReset, reset))
  if not later and remaining > least then return false end
  call('HSET', key, cred .. '.l', remaining)
  return true
end

-- What an answer teaches: remaining.ts and bucket.ts, observe.
local function observe(o, key, bucket, cred)
  local sentAt, kind, tooMany, limit, remaining, reset = o[8], o[9], o[10], o[11], o[12], o[13]
  local fixed, org, ceiling, cshare, inFlight = o[14], o[15], o[16], o[17], o[18]
  if kind == 0 then return lose(key, cred, now + GUARD) end
  local s = call('HMGET', key, cred .. '.d', cred .. '.y')
  call('HSET', key, cred .. '.d', 1)
  if tooMany == 1 then call('HINCRBY', key, 'tm', 1) end
  if kind == 1 then
    local learned = cred == 'n' and limit or limit / cshare
    call('HSET', key, 'lo', learned)
    if window(key, cred, limit, remaining, reset) and sentAt >= n(s[2]) then call('HDEL', key, cred .. '.x') end
    if not s[1] and cred ~= 'n' then
      local header = call('HMGET', key, cred .. '.L', cred .. '.U')
      local allowed = allowance(fixed, org, ceiling, learned, now < n(header[2]) and tonumber(header[1]) or math.huge)
      push(bucket, min(limit - remaining, allowed) - length(bucket) - n(call('HGET', p .. ':c', bucket)))
    end
    if tooMany == 1 and remaining == 0 then close(key, cred, reset + SOON) end
  elseif kind == 2 then
    lose(key, cred, now)
    close(key, cred, reset)
    local most = concurrency(inFlight)
    call('HSET', p, 'cl', max(LEAST, floor(min(most, n(call('HGET', p .. ':c', ''))) / 2)), 'clAt', now)
  elseif kind == 3 then
    lose(key, cred, now)
    if tooMany == 1 then close(key, cred, now + SOON) end
  else
    lose(key, cred, now)
    call('HINCRBY', key, 'ns', 1)
  end
end

local function settle(o)
  local id, bucket, cred, client, rule, user = o[2], o[3], o[4], o[5], o[6], o[7]
  local key, ck = bkey(bucket), bucket .. '\\n' .. client
  add(bucket, -1) push(bucket, 1)
  add(ck, -1) push(ck, 1)
  if rule ~= '' then add(ck .. '\\n' .. rule, -1) push(ck .. '\\n' .. rule, 1) end
  add('\\n' .. cred .. '\\n' .. bucket, -1)
  if user ~= '' then
    call('ZADD', p .. ':u:' .. user, now + USER_MS, gate .. ':' .. id)
    call('PEXPIRE', p .. ':u:' .. user, USER_LEASE)
  end
  observe(o, key, bucket, cred)
  call('PEXPIRE', key, KEEP)
  if call('HGET', key, 'pb') == gate .. ':' .. id then call('HDEL', key, 'pb') end
end

local function cancel(o)
  local id, bucket, cred, client, rule, user = o[2], o[3], o[4], o[5], o[6], o[7]
  local ck = bucket .. '\\n' .. client
  add(bucket, -1) add(ck, -1) add('\\n' .. cred .. '\\n' .. bucket, -1)
  if rule ~= '' then add(ck .. '\\n' .. rule, -1) end
  if user ~= '' then call('ZREM', p .. ':u:' .. user, gate .. ':' .. id) end
  if call('HGET', bkey(bucket), 'pb') == gate .. ':' .. id then call('HDEL', bkey(bucket), 'pb') end
end

-- What this gate saw used, of every bucket; what it has seen bounds what it may spend when the store is lost.
local function beat()
  sweep()
  local views = {}
  for _, bucket in ipairs(call('SMEMBERS', p .. ':b')) do
    local s = call('HMGET', bkey(bucket), 'a', 'lo', 'cu', 'ca')
    if not s[1] then call('SREM', p .. ':b', bucket) else
      local flights = n(call('HGET', p .. ':c', bucket))
      local used = length(bucket) + flights
      -- It sends this beat because the last one's answer has reached it.
      setView(bucket, gate, min(n(call('HGET', bkey(bucket), 'w:' .. gate)), used))
      call('HSET', bkey(bucket), 'w:' .. gate, used)
      views[#views + 1] = { bucket, used, flights - n(call('HGET', p .. ':f:' .. gate, bucket)), n(s[1]), n(s[2]), n(s[3]), n(s[4]) }
    end
  end
  -- It counts on the old number until this answer has reached it.
  local gates = call('HLEN', p .. ':g')
  here(counted == '0' and gates or closed() and counted or min(tonumber(counted), gates))
  least()
  return { live(), views, gates }
end

local function merge(budget, expiries)
  local key = list(budget)
  local all = call('LRANGE', key, 0, -1)
  for i = 1, #all do all[i] = tonumber(all[i]) end
  for _, expiry in ipairs(expiries) do if expiry > now then all[#all + 1] = min(expiry, now + HOLD) end end
  if #all == 0 then return end
  table.sort(all)
  call('DEL', key)
  for i = 1, #all, 1000 do call('RPUSH', key, unpack(all, i, min(i + 999, #all))) end
  call('PEXPIRE', key, HOLD + MISSING)
end

-- A gate comes, or comes back: it tells what it has in flight, and what the store does not know of its last 60 seconds.
local function join(o)
  local newEpoch, old, peers, since, rows, taught, patience, sent = o[2], o[3], o[4], o[5], o[6], o[7], o[8], o[9]
  if not epoch then
    epoch, barrier = newEpoch, now + FORGET
    -- Empty, and this gate is new: it can't know whether others only have to come back.
    if old == '' and patience > 0 then
      barrier = now + patience
      call('SADD', p .. ':e', '*')
    end
    call('HSET', p, 'epoch', epoch, 'until', barrier)
  elseif last > 0 and now - last > MISSING then
    -- Nobody reached the store: all of them may have spent their shares meanwhile. One that has just been started does
    -- not know whether there was anybody; who did not die is back within two beats.
    if now >= barrier then call('DEL', p .. ':e') end
    barrier = max(barrier, now + (old == '' and patience or FORGET))
    call('HSET', p, 'until', barrier)
    local all = call('HKEYS', p .. ':g')
    for i = 1, #all do call('SADD', p .. ':e', all[i]) end
  end
  local same = old == epoch
  if same and closed() then
    barrier = max(barrier, last + FORGET)
    call('HSET', p, 'until', barrier)
  end
  if old ~= '' and not same then
    call('SREM', p .. ':e', '*')
    barrier = max(barrier, now + FORGET)
    call('HSET', p, 'until', barrier)
    for _, peer in ipairs(peers) do
      if call('HEXISTS', p .. ':g', peer) == 0 then call('SADD', p .. ':e', peer) end
    end
  end
  -- What was done here, though the gate got no answer, is known already.
  local done = n(string.match(call('HGET', p .. ':g', gate) or '', '^%d+:(%d+):'))
  local known = same and since or 0
  for _, one in ipairs(sent) do if one[1] <= done then known = max(known, one[2]) end end
  dropFlights(gate, false)
  clearViews(gate)
  here(counted)
  least()
  call('SREM', p .. ':e', gate)
  for _, row in ipairs(rows) do
    local budget, fresh, flights = row[1], {}, row[3]
    for _, expiry in ipairs(row[2]) do if expiry > known then fresh[#fresh + 1] = expiry end end
    if #fresh > 0 then merge(budget, fresh) end
    if flights > 0 then add(budget, flights) end
    local bucket, client = string.match(budget, '^([^\\n]+)\\n([^\\n]+)$')
    if bucket then call('ZADD', p .. ':k:' .. bucket, now, client) call('PEXPIRE', p .. ':k:' .. bucket, KEEP) end
  end
  for _, row in ipairs(taught) do
    local key = bkey(row[1])
    local s = call('HMGET', key, 'lo', 'cu', 'ca', 'a')
    if not s[1] and row[2] > 0 then call('HSET', key, 'lo', row[2]) end
    call('HSET', key, 'cu', max(n(s[2]), row[3]), 'ca', max(n(s[3]), row[4]), 'a', s[4] or row[5])
    -- Whoever has had a bucket's answers does not await a first one again.
    for _, one in ipairs(row[6]) do
      call('HSET', key, one[1] .. '.d', 1)
      if one[4] > now then window(key, one[1], one[2], one[3], one[4]) end
    end
    call('PEXPIRE', key, KEEP)
    call('SADD', p .. ':b', row[1])
  end
  return epoch
end

local function view()
  local buckets = {}
  for _, bucket in ipairs(call('SMEMBERS', p .. ':b')) do
    local key = bkey(bucket)
    local s = call('HMGET', key, 'lo', 'a', 'cu', 'ca', 'ns', 'tm')
    local heads, clients = {}, {}
    for _, cred in ipairs({ 'u', 'n', 't' }) do
      local c = call('HMGET', key, cred .. '.d', cred .. '.L', cred .. '.U')
      if c[1] or n(call('HGET', p .. ':c', '\\n' .. cred .. '\\n' .. bucket)) > 0 then
        heads[#heads + 1] = now < n(c[3]) and tonumber(c[2]) or -1
      end
    end
    call('ZREMRANGEBYSCORE', p .. ':k:' .. bucket, '-inf', now - KEEP)
    for _, client in ipairs(call('ZRANGE', p .. ':k:' .. bucket, 0, -1)) do
      local budget = bucket .. '\\n' .. client
      local used = length(budget) + n(call('HGET', p .. ':c', budget))
      if used > 0 then clients[#clients + 1] = { client, used } else call('ZREM', p .. ':k:' .. bucket, client) end
    end
    local flights = n(call('HGET', p .. ':c', bucket))
    buckets[#buckets + 1] = { bucket, s[1] and tonumber(s[1]) or -1, heads, length(bucket) + flights, flights, max(n(s[3]), n(s[4])), clients, n(s[5]), n(s[6]) }
  end
  return { n(call('HGET', p .. ':c', '')), n(call('HGET', p, 'cl')), n(call('HGET', p, 'clAt')), buckets }
end

local function goodbye()
  dropFlights(gate, true)
  forget(gate)
  call('SREM', p .. ':e', gate)
end

if steps[1][1] ~= 'j' then
  local me = call('HGET', p .. ':g', gate)
  if not epoch or not me or string.match(me, '^(%d+):') ~= inc then return cjson.encode({ now, 'unknown' }) end
  here(string.match(me, '^%d+:%d+:(%d+):') or 0)
end
local run = {
  r = reserve, s = settle, x = cancel, j = join, h = beat, v = view, b = goodbye,
  e = function () add('', -1) end
}
local results = { now, 'open' }
for i = 1, #steps do results[i + 2] = run[steps[i][1]](steps[i]) or 0 end
results[2] = closed() and 'regroup' or 'open'
call('HSET', p, 'now', now, 'last', now)
for _, key in ipairs({ p, p .. ':g', p .. ':e', p .. ':b', p .. ':c', p .. ':f:' .. gate }) do call('PEXPIRE', key, KEEP) end
for _, step in ipairs(steps) do
  if step[1] == 'r' then call('PEXPIRE', p .. ':k:' .. step[3], KEEP) end
end
return cjson.encode(results)
`
