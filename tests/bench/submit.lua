-- Submissions for wrk. Above this stand, written by wrk.py: paths, specs, token, prefix, rate, bulk, item_keys.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } bench_time;
  int clock_gettime(int clock, bench_time *time);
]]
local REALTIME = 0
local reading = ffi.new("bench_time")

-- Nanoseconds since 1970: 2^53 is not enough for them, so milliseconds as a double and the rest are kept apart.
local function now()
  ffi.C.clock_gettime(REALTIME, reading)
  return tonumber(reading.seconds) * 1e6 + tonumber(reading.nanoseconds) / 1e3 -- microseconds: exact in a double
end

local threads = 0
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local head, count, start, slot, waiting, first, last
function init(args)
  head = "Host: " .. wrk.host .. "\r\nAuthorization: Bearer " .. token .. "\r\nContent-Type: application/json\r\nIdempotency-Key: "
  count, slot, first, last = 0, 0, 1, 0
  waiting = {}
end

-- With a rate: how many milliseconds until the next request of the schedule is due. `waiting` is the line of due moments.
local function next_delay()
  local moment = now()
  start = start or moment
  local due = start + slot * 1e6 / rate
  slot = slot + 1
  last = last + 1
  if due <= moment then
    waiting[last] = due
    return 0
  end
  waiting[last] = false -- in time: it is due when the timer fires, whose granularity is wrk's, not the server's
  return math.floor((due - moment) / 1e3 + 0.5)
end
if rate > 0 then delay = next_delay end

function request()
  local at = now()
  if rate > 0 and first <= last then
    at = waiting[first] or at
    waiting[first] = nil
    first = first + 1
  end
  count = count + 1
  local key = prefix .. "-" .. number .. "-" .. count
  local path = paths[count % #paths + 1]
  local spec = specs[math.floor(count / #paths) % #specs + 1]
  local stamp = string.format("%.0f000", at)
  local body
  if bulk > 0 then
    local items = {}
    for item = 1, bulk do
      items[item] = spec .. ',"payload":{"at":' .. stamp .. "}" .. (item_keys and ',"idempotency_key":"' .. key .. "-" .. item .. '"' or "") .. "}"
    end
    body = '{"jobs":[' .. table.concat(items, ",") .. "]}"
  else
    body = spec .. ',"payload":{"at":' .. stamp .. "}}"
  end
  return "POST " .. path .. " HTTP/1.1\r\n" .. head .. key .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"microseconds":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"p50":%f,"p99":%f,"p99.9":%f}\n',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
