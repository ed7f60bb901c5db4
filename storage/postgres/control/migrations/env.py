"""Alembic's entry to the control tree: it runs on the connection that storage.postgres.migration hands over."""

from storage.postgres.revision import run

run()
