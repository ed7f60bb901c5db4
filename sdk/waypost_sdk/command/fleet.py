"""`waypost nodes`, `node-credentials`, `functions`, `queue`: what runs jobs, and how much waits for it."""

from typing import Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.session import connect

nodes = typer.Typer(help="Compute nodes of the environment.", no_args_is_help=True)
credentials = typer.Typer(help="What nodes join with.", no_args_is_help=True)
functions = typer.Typer(help="Node functions of the environment.", no_args_is_help=True)

_NodeId = Annotated[str, typer.Argument(metavar="NODE", help="The node's id.")]
_Name = Annotated[str, typer.Argument(metavar="FUNCTION", help="The function's name.")]
_Note = Annotated[str | None, typer.Option(help="Shown to whoever waits.")]

_NODE_COLUMNS: tuple[output.Column, ...] = (
    ("NODE", lambda node: node.id),
    ("NAME", lambda node: node.name),
    ("STATE", lambda node: node.state),
    ("TAGS", lambda node: node.tags),
    ("FUNCTIONS", lambda node: [function.get("name", "") for function in node.functions]),
    ("IN FLIGHT", lambda node: f"{node.in_flight}/{node.max_in_flight}"),
    ("RTT ms", lambda node: None if node.round_trip_ms is None else f"{node.round_trip_ms:.1f}"),
    ("CONNECTED", lambda node: output.age(node.connected_at)),
)
_CREDENTIAL_COLUMNS: tuple[output.Column, ...] = (
    ("CREDENTIAL", lambda credential: credential.id),
    ("NAME", lambda credential: credential.name),
    ("CLIENT ID", lambda credential: credential.client_id),
    ("TAGS", lambda credential: credential.allowed_tags or "any"),
    ("FUNCTIONS", lambda credential: credential.functions or "any"),
    ("LAST USED", lambda credential: output.age(credential.last_used_at)),
)


_FUNCTION_COLUMNS: tuple[output.Column, ...] = (
    ("FUNCTION", lambda function: function.name),
    ("NODES", lambda function: function.nodes and function.nodes.connected),
    ("QUEUED", lambda function: function.queued),
    ("RUNNING", lambda function: function.running),
    ("OLDEST", lambda function: output.age(function.oldest_waiting_at)),
    ("LAST HOUR", lambda function: function.last_hour and function.last_hour.completed),
    ("p50 ms", lambda function: function.last_hour and function.last_hour.p50_ms),
    ("p99 ms", lambda function: function.last_hour and function.last_hour.p99_ms),
    ("PAUSED", lambda function: function.paused and f"by {function.paused.by}: {function.paused.note}"),
)
_QUEUE_COLUMNS: tuple[output.Column, ...] = (
    ("FUNCTION", lambda counts: counts.function or "all"),
    ("QUEUED", lambda counts: counts.queued),
    ("RETRYING", lambda counts: counts.retrying),
    ("RUNNING", lambda counts: counts.running),
    ("COMPLETED", lambda counts: counts.completed),
    ("FAILED", lambda counts: counts.failed),
    ("DEAD LETTER", lambda counts: counts.dead_letter),
    ("CANCELED", lambda counts: counts.canceled),
    ("EXPIRED", lambda counts: counts.expired),
    ("OLDEST", lambda counts: output.age(counts.oldest_waiting_at)),
)


@nodes.command("list")
def list_nodes(context: typer.Context, as_json: output.Json = False) -> None:
    """List nodes."""
    with connect(context) as client:
        output.show_list(client.nodes.list(), _NODE_COLUMNS, as_json=as_json)


@nodes.command("get")
def get_node(context: typer.Context, node_id: _NodeId, as_json: output.Json = False) -> None:
    """Show one node."""
    with connect(context) as client:
        output.show_one(client.nodes.get(node_id), as_json=as_json)


@nodes.command("drain")
def drain_node(context: typer.Context, node_id: _NodeId, as_json: output.Json = False) -> None:
    """Give a node no new work; it finishes what it has and leaves."""
    with connect(context) as client:
        output.show_one(client.nodes.drain(node_id), as_json=as_json)


@credentials.command("create")
def create_credential(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    tag: Annotated[list[str] | None, typer.Option(help="A tag that its nodes may have: gpu, 'region=*' …")] = None,
    function: Annotated[list[str] | None, typer.Option(help="A function that they may serve: 'image.*' …")] = None,
    as_json: output.Json = False,
) -> None:
    """Make a node credential; its secret is shown this once."""
    with connect(context) as client:
        made = client.node_credentials.create(name, allowed_tags=tag or None, functions=function or None)
        output.show_one(made, as_json=as_json)


@credentials.command("list")
def list_credentials(context: typer.Context, as_json: output.Json = False) -> None:
    """List node credentials."""
    with connect(context) as client:
        output.show_list(client.node_credentials.list(), _CREDENTIAL_COLUMNS, as_json=as_json)


@credentials.command("delete")
def delete_credential(
    context: typer.Context, credential_id: Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Its id.")]
) -> None:
    """Delete a node credential; the streams of its nodes are cut."""
    with connect(context) as client:
        client.node_credentials.delete(credential_id)


@functions.command("list")
def list_functions(context: typer.Context, as_json: output.Json = False) -> None:
    """List functions that the environment has seen."""
    with connect(context) as client:
        output.show_list(client.functions.list(), _FUNCTION_COLUMNS, as_json=as_json)


@functions.command("get")
def get_function(context: typer.Context, function: _Name, as_json: output.Json = False) -> None:
    """Show one function."""
    with connect(context) as client:
        output.show_one(client.functions.get(function), as_json=as_json)


@functions.command("pause")
def pause(context: typer.Context, function: _Name, note: _Note = None, as_json: output.Json = False) -> None:
    """Start no more jobs of a function."""
    with connect(context) as client:
        output.show_one(client.functions.pause(function, note), as_json=as_json)


@functions.command("resume")
def resume(context: typer.Context, function: _Name, note: _Note = None, as_json: output.Json = False) -> None:
    """Start jobs of a function again."""
    with connect(context) as client:
        output.show_one(client.functions.resume(function, note), as_json=as_json)


def queue(context: typer.Context, as_json: output.Json = False) -> None:
    """Show how many jobs wait and run, by state and function."""
    with connect(context) as client:
        found = client.queue.get()
    if output.wants_json(as_json):
        output.write_json(found)
    else:
        output.show_list([*found.functions, found.states], _QUEUE_COLUMNS, as_json=False)
