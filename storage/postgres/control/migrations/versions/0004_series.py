"""Minutes that tell what started and how queues moved."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0004"
down_revision = "0003"

FILES = ("series", "audit", "event", "partition", "state")


def upgrade() -> None:
    for name in FILES:
        execute_file(Path(__file__).parents[1] / f"0004_{name}.sql")
