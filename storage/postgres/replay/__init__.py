"""Bulk replays: which ended jobs are meant, and how far each has come."""
