"""Webhooks out: one attempt of a delivery."""
