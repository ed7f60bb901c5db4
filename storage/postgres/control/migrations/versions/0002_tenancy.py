"""People, memberships, the life of environments, limits, the sealed audit."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0002"
down_revision = "0001"

FILES = ("access", "tenancy", "environment", "audit", "isolation")


def upgrade() -> None:
    for name in FILES:
        execute_file(Path(__file__).parents[1] / f"0002_{name}.sql")
