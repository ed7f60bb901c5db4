"""What a relay counts. Increments are a batch, not a job, at a time: one costs a microsecond."""

from waypost.telemetry.metric import counter, gauge, latency

NODES = gauge("relay_nodes", "Nodes connected to this relay")
IN_FLIGHT = gauge("relay_in_flight", "Attempts leased to this relay and not settled")
CLAIMS = counter("relay_claims", "Claims sent to the ledger")
CLAIMED = counter("relay_claimed_jobs", "Jobs that claims brought")
CLAIM_SECONDS = latency("relay_claim", "One claim, from asking to having the jobs")
SETTLED = counter("relay_settled", "Attempts settled", ["outcome"])
SETTLE_SECONDS = latency("relay_settle", "One batch of settlements, from sending to durable")
SETTLE_BATCH = counter("relay_settle_batches", "Batches of settlements")
REFUSED = counter("relay_refused_answers", "Answers for attempts that were not current")
GARBAGE = counter("relay_garbage", "Messages that could not be read", ["where"])
CLOSED = counter("relay_closed_streams", "Streams that this relay ended", ["reason"])
JOINS = counter("relay_joins", "Streams that asked to join", ["outcome"])
