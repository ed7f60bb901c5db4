"""Triggers: what submits jobs by itself, a webhook that comes in or a schedule, and each time that it did."""
