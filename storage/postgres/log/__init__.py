"""Logs of attempts: the newest lines in rows, older ones in the bucket, all sealed (decision 18)."""
