-- Signed webhooks for wrk. Above this stand, written by triggering.py: path, signed, body. Each line of the file `signed`
-- is one delivery: id, timestamp, signature. They were signed before the clock started.
local deliveries, count = {}, 0

function init(args)
  for line in io.lines(signed) do
    local id, at, signature = line:match("(%S+) (%S+) (%S+)")
    deliveries[#deliveries + 1] = "webhook-id: " .. id .. "\r\nwebhook-timestamp: " .. at .. "\r\nwebhook-signature: " .. signature
  end
end

function request()
  count = count + 1
  local delivery = deliveries[count]
  if delivery == nil then
    wrk.thread:stop()
    delivery = deliveries[1]
  end
  return "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nContent-Type: application/json\r\n" .. delivery
    .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"microseconds":%d,"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"p50":%f,"p99":%f,"p99.9":%f}\n',
    summary.requests, summary.duration, errors.status, errors.connect, errors.read, errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
