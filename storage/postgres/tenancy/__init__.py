"""Organizations, projects, environments, their steps, secrets and signing keys in the control schema."""

from storage.postgres.database import role_name

__all__ = ["role_name"]
