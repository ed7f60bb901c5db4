"""Artifacts as the platform's own functions look at them."""
