"""Moved to storage.postgres.audit.entry."""

from storage.postgres.audit.entry import insert_audit as insert_audit
