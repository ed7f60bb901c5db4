"""Tenancy, access, nodes, the job ledger, platform jobs."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute_file(Path(__file__).parents[1] / "0001_ground.sql")
