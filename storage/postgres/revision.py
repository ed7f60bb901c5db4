"""What both Alembic trees share: running revisions on a connection that is given, and plain SQL files as revisions.

Imported by Alembic's env files only, so that nothing else pays for SQLAlchemy.
"""

from pathlib import Path

from alembic import context, op
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool


def run() -> None:
    """Run the revisions of the tree whose env file calls this, in the transaction of the given connection."""
    attributes = context.config.attributes
    engine = create_engine("postgresql+psycopg://", creator=lambda: attributes["connection"], poolclass=StaticPool)
    with engine.connect() as connection:
        # Here and not before: SQLAlchemy rolls back once when it first meets a connection.
        for statement in attributes["prelude"]:
            connection.exec_driver_sql(statement)
        context.configure(
            connection=connection,
            version_table_schema=attributes["schema"],
            on_version_apply=lambda step, **_: attributes["applied"].append(step.up_revision_id),
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()


def execute_file(path: Path) -> None:
    """Run a file of statements as it is: by the driver, which without parameters takes `%` literally."""
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        raise RuntimeError("a revision runs on a connection")
    driver.execute(path.read_text("utf-8"))
