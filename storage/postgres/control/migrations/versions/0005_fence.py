"""When an answer came for an attempt that had been given up."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute_file(Path(__file__).parents[1] / "0005_fence.sql")
