"""`waypost subscriptions`: which events go to which URL, what was delivered, and delivering it again."""

from typing import Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import instant, seconds
from waypost_sdk.command.session import IfMatch, connect

app = typer.Typer(help="Webhooks that go out: events of the environment, to URLs.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="The subscription's id.")]
_Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("SUBSCRIPTION", lambda one: one.id),
    ("URL", lambda one: one.url),
    ("EVENTS", lambda one: one.events),
    ("STATE", lambda one: "enabled" if one.enabled else f"disabled ({one.disabled_reason})"),
    ("FAILING", lambda one: output.age(one.failing_since)),
    ("DESCRIPTION", lambda one: one.description),
)
_DELIVERIES: tuple[output.Column, ...] = (
    ("DELIVERY", lambda one: one.id),
    ("EVENT", lambda one: one.event),
    ("STATE", lambda one: one.state),
    ("TRIES", lambda one: one.attempts),
    ("STATUS", lambda one: one.status),
    ("ERROR", lambda one: one.error),
    ("CREATED", lambda one: one.created_at),
    ("NEXT", lambda one: one.next_attempt_at),
)


@app.command("list")
def list_(context: typer.Context, as_json: output.Json = False) -> None:
    """List subscriptions, newest first."""
    with connect(context) as client:
        output.show_list(client.subscriptions.list(), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, subscription_id: _Id, as_json: output.Json = False) -> None:
    """Show a subscription."""
    with connect(context) as client:
        output.show_one(client.subscriptions.get(subscription_id), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="Where deliveries go: https://…")],
    event: Annotated[list[str] | None, typer.Option(help="job.completed, job.*, environment.* … Default: all.")] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the first one again.")] = None,
    as_json: output.Json = False,
) -> None:
    """Subscribe a URL to events; the signing secret is shown this once."""
    with connect(context) as client:
        made = client.subscriptions.create(
            url, event or ["*"], description=description, idempotency_key=idempotency_key
        )
        output.show_one(made, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    subscription_id: _Id,
    url: Annotated[str | None, typer.Option(help="Another URL.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="These events instead.")] = None,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Take events again, or none.")] = None,
    if_match: IfMatch = None,
    as_json: output.Json = False,
) -> None:
    """Change a subscription; enable one that was disabled."""
    if url is None and not event and description is None and enabled is None:
        raise UsageError("Say what changes: --url, --event, --description, --enable or --disable.")
    with connect(context) as client:
        changed = client.subscriptions.update(
            subscription_id, url=url, events=event or None, description=description, enabled=enabled, if_match=if_match
        )
        output.show_one(changed, as_json=as_json)


@app.command()
def delete(context: typer.Context, subscription_id: _Id, if_match: IfMatch = None) -> None:
    """End a subscription; what was not delivered yet never will be."""
    with connect(context) as client:
        client.subscriptions.delete(subscription_id, if_match=if_match)


@app.command("rotate-secret")
def rotate_secret(
    context: typer.Context,
    subscription_id: _Id,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long the old one signs too: 0m, 12h, 7d … Default 24h.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Make a new signing secret, shown this once; the one before signs too for a while."""
    still = None if overlap is None else seconds(overlap, "--overlap")
    with connect(context) as client:
        output.show_one(client.subscriptions.rotate_secret(subscription_id, overlap_seconds=still), as_json=as_json)


@app.command("test")
def send_test(context: typer.Context, subscription_id: _Id, as_json: output.Json = False) -> None:
    """Deliver a test event now; `deliveries` shows what became of it."""
    with connect(context) as client:
        output.show_one(client.subscriptions.test(subscription_id), as_json=as_json)


@app.command()
def deliveries(
    context: typer.Context,
    subscription_id: _Id,
    state: Annotated[list[str] | None, typer.Option(help="pending, delivered, failed.")] = None,
    event: Annotated[list[str] | None, typer.Option(help="Only of this event.")] = None,
    event_id: Annotated[str | None, typer.Option(help="Of this event: a webhook-id, or a job's id.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="2026-11-21T09:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List deliveries, newest first."""
    with connect(context) as client:
        found = client.subscriptions.deliveries(
            subscription_id,
            state=state or (),
            event=event or (),
            event_id=event_id,
            since=instant(since, "--from"),
            until=instant(until, "--to"),
            limit=limit,
        )
        output.show_list(found, _DELIVERIES, as_json=as_json)


@app.command()
def delivery(
    context: typer.Context, subscription_id: _Id, delivery_id: _Delivery, as_json: output.Json = False
) -> None:
    """Show a delivery with every try: what was sent, what was answered."""
    with connect(context) as client:
        output.show_one(client.subscriptions.delivery(subscription_id, delivery_id), as_json=as_json)


@app.command()
def redeliver(
    context: typer.Context, subscription_id: _Id, delivery_id: _Delivery, as_json: output.Json = False
) -> None:
    """Send a delivery again now, with the same webhook-id and body."""
    with connect(context) as client:
        output.show_one(client.subscriptions.redeliver(subscription_id, delivery_id), as_json=as_json)


@app.command()
def replay(
    context: typer.Context,
    subscription_id: _Id,
    since: Annotated[str, typer.Option("--from", metavar="INSTANT", help="2026-11-21T09:00:00Z.")],
    until: Annotated[str, typer.Option("--to", metavar="INSTANT", help="Before.")],
    state: Annotated[str | None, typer.Option(help="Only delivered or failed ones.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key sends nothing twice.")] = None,
    as_json: output.Json = False,
) -> None:
    """Send again what was made in a range of time."""
    first, last = instant(since, "--from"), instant(until, "--to")
    assert first is not None  # noqa: S101 -- both were given
    assert last is not None  # noqa: S101
    with connect(context) as client:
        found = client.subscriptions.replay(subscription_id, first, last, state=state, idempotency_key=idempotency_key)
        output.show_one(found, as_json=as_json)
