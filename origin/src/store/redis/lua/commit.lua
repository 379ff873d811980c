-- Applies one batch to one slot: all of it or nothing.
--
-- KEYS: own, done, accounts, sleepers; then for each owner: rows, asked, entries.
-- ARGV: from when and until when it may be applied; who must own the slot, which store asks, the
--       number of its request; then the writes, each a letter and its operands. A key is told by
--       its place in KEYS.
--
-- Answers one of the words below as a number, and the time. Times are milliseconds since 1970.
--
-- Everything that can fail is looked at before the first write, because nothing is taken back.
-- What Redis itself refuses (no memory, no disk, a replica) it refuses at the first write only.
local FENCED, APPLIED, REPEATED, LATE, EXPIRED = 0, 1, 2, 3, 4

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local kinds = { 'string', 'string', 'zset', 'zset' }
for place, key in ipairs(KEYS) do
  local expected = kinds[place] or ((place - 5) % 3 == 2 and 'zset' or 'hash')
  local found = redis.call('TYPE', key).ok
  if found ~= expected and found ~= 'none' then
    return redis.error_reply('DAMAGED ' .. key .. ' is a ' .. found .. ', not a ' .. expected)
  end
end

if redis.call('GET', KEYS[1]) ~= ARGV[3] then
  return { FENCED, now }
end

-- A request that came twice is applied once; one that comes after a later one, not at all.
local done = redis.call('GET', KEYS[2])
if done then
  local asker, number = string.match(done, '^(%S+) (%d+)$')
  if asker == ARGV[4] then
    if number == ARGV[5] then
      return { REPEATED, now }
    elseif tonumber(number) > tonumber(ARGV[5]) then
      return { LATE, now }
    end
  end
end

-- Who asked has given it up, or it lay somewhere while the clock was set back.
if now < tonumber(ARGV[1]) or now > tonumber(ARGV[2]) then
  return { EXPIRED, now }
end

local at = 6
local function key()
  at = at + 1
  return KEYS[tonumber(ARGV[at])]
end
local function operand()
  at = at + 1
  return ARGV[at]
end

-- How many rows of a listed table an owner has.
local function count(rows, field)
  return tonumber(redis.call('HGET', rows, field) or 0) or 0
end

local function measure(rows, field, entries, first, beyond)
  local length = redis.call('ZLEXCOUNT', entries, first, beyond)
  if length == 0 then
    redis.call('HDEL', rows, field)
  else
    redis.call('HSET', rows, field, length)
  end
end

local acts = {}

-- put: hash, field, value
function acts.p()
  redis.call('HSET', key(), operand(), operand())
end

-- delete: hash, field
function acts.d()
  redis.call('HDEL', key(), operand())
end

-- put in a listed table: rows, field, value, field of the count, list, member
function acts.P()
  local rows, field, value, counted, list, member =
    key(), operand(), operand(), operand(), key(), operand()
  if redis.call('HSET', rows, field, value) == 1 then
    redis.call('HSET', rows, counted, count(rows, counted) + 1)
  end
  redis.call('ZADD', list, 0, member)
end

-- delete in a listed table: rows, field, field of the count, list, member
function acts.D()
  local rows, field, counted, list, member = key(), operand(), operand(), key(), operand()
  if redis.call('HDEL', rows, field) == 1 then
    local left = count(rows, counted) - 1
    if left > 0 then
      redis.call('HSET', rows, counted, left)
    else
      redis.call('HDEL', rows, counted)
      redis.call('ZREM', list, member)
    end
  end
end

-- append: rows, field of the length, entries, first and beyond of the log,
--         first and beyond of the id, entry
function acts.a()
  local rows, field, entries, first, beyond = key(), operand(), key(), operand(), operand()
  local from, to, entry = operand(), operand(), operand()
  if redis.call('ZLEXCOUNT', entries, from, to) == 0 then
    redis.call('ZADD', entries, 0, entry)
    measure(rows, field, entries, first, beyond)
  end
end

-- replace: entries, first and beyond of the id, entry
function acts.r()
  local entries, from, to, entry = key(), operand(), operand(), operand()
  if redis.call('ZREMRANGEBYLEX', entries, from, to) > 0 then
    redis.call('ZADD', entries, 0, entry)
  end
end

-- truncate: rows, field of the length, entries, first and beyond of the log, beyond of the id
function acts.t()
  local rows, field, entries, first, beyond = key(), operand(), key(), operand(), operand()
  if redis.call('ZREMRANGEBYLEX', entries, first, operand()) > 0 then
    measure(rows, field, entries, first, beyond)
  end
end

-- erase: rows, asked, entries, accounts, member, sleepers, member
function acts.e()
  redis.call('UNLINK', key(), key(), key())
  redis.call('ZREM', key(), operand())
  redis.call('ZREM', key(), operand())
end

while at <= #ARGV do
  acts[ARGV[at]]()
  at = at + 1
end

redis.call('SET', KEYS[2], ARGV[4] .. ' ' .. ARGV[5])
return { APPLIED, now }
