"""Minutes and counts by state, audit days of an environment, events that are kept, partitions that give way."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0004"
down_revision = "0003"

FILES = ("series", "audit", "event", "partition", "state")


def upgrade() -> None:
    for name in FILES:
        execute_file(Path(__file__).parents[1] / f"0004_{name}.sql")
