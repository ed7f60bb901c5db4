"""Procrastinate on PostgreSQL: the durable one of the peers. Its result is the job's recorded end."""

import os

import procrastinate

from tests.bench.peers.latency import note

app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=os.environ["PEER_DATABASE"]))
if os.environ.get("PEER_ROLE") == "worker":
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PEER_DATABASE"]))
_opened = False


@app.task(name="peer.echo", retry=5)
async def echo(at_ns: int) -> None:
    note(at_ns)


def submit(at_ns: int) -> None:
    submit_many([at_ns])


def submit_many(moments: list[int]) -> None:
    """Several in one statement, as its `batch_defer` does."""
    global _opened
    if not _opened:
        app.open()
        _opened = True
    echo.batch_defer(*({"at_ns": moment} for moment in moments))


def prepare() -> None:
    """Its schema, in an empty database."""
    with app.open():
        app.schema_manager.apply_schema()


def close() -> None:
    if _opened:
        app.close()
