"""The audit in Postgres: entries, their lists, and the batches that seal them."""
