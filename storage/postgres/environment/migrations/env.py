"""Alembic's entry to the environment tree: it runs on the connection that storage.postgres.migration hands over."""

from storage.postgres.revision import run

run()
