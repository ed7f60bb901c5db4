"""Triggers, subscriptions, artifacts, usage, logs."""

from pathlib import Path

from storage.postgres.revision import execute_file

revision = "0003"
down_revision = "0002"

FILES = ("event", "trigger", "subscription", "artifact", "usage", "log")


def upgrade() -> None:
    for name in FILES:
        execute_file(Path(__file__).parents[1] / f"0003_{name}.sql")
