"""Retention of the ledger (decision 20): bodies are erased first, whole weeks are dropped later, remains are pruned.

Ages are days; ids carry the time of a job's creation, `finished_at` that of its end. Postgres' clock decides.
"""
