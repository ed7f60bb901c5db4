"""Triggers, their secrets (sealed) and their firings in the control schema."""
