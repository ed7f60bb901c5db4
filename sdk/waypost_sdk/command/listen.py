"""`waypost listen`: the environment's events as subscriptions deliver them, shown live and forwarded to a program.

Nothing has to be reachable from outside: the events come over the API, each is signed here (Standard Webhooks 1.0) and
sent to the address that was given. What could not be forwarded is shown, and not tried again.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.errors import WaypostError

if TYPE_CHECKING:
    import httpx

    from waypost_sdk.http.client import AsyncClient
    from waypost_sdk.model import JobEvent

SECRET_VARIABLE = "WAYPOST_LISTEN_SECRET"  # noqa: S105 -- its name
AT_ONCE = 16  # forwarded side by side; then the stream waits
FORWARD_SECONDS = 30.0
RETRY_SECONDS = 1.0
REMEMBERED = 10_000  # events, by which repeats after a break are known
CONNECTED = "stream.connected"


def listen(
    context: typer.Context,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Where to send each event: http://localhost:3000/hook.")
    ] = None,
    events: Annotated[
        list[str] | None, typer.Option(help="job.completed, job.*, environment.* …; several with commas or repeated.")
    ] = None,
    print_json: Annotated[bool, typer.Option("--print-json", help="Each event's body on stdout, one a line.")] = False,
    secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"A file with the signing secret; else {SECRET_VARIABLE}.")
    ] = None,
    skip_verify: Annotated[bool, typer.Option("--skip-verify", help="Accept any certificate of URL.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    as_json: output.Json = False,
) -> None:
    """Show events as they happen, and forward them, signed, to a local program.

    The line of an event says what the program answered and how long it took.
    """
    listener = Listener(
        patterns=[word for words in events or ["*"] for word in words.split(",")],
        target=None if forward_to is None else _target(forward_to),
        secret=None if forward_to is None else _secret(secret_file),
        limit=limit,
        print_json=print_json,
        as_json=output.wants_json(as_json),
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(listener.run(context.find_root().obj, verify=not skip_verify))


class Listener:
    """One run of the command."""

    def __init__(
        self,
        *,
        patterns: list[str],
        target: str | None,
        secret: str | None,
        limit: int | None,
        print_json: bool,
        as_json: bool,
    ) -> None:
        self._patterns, self._target, self._secret, self._limit = patterns, target, secret, limit
        self._print_json, self._as_json = print_json, as_json
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, options: dict[str, Any], *, verify: bool) -> None:
        """Until the limit, or for ever. Raises WaypostError for what waiting does not help."""
        import httpx

        from waypost_sdk.http.client import AsyncClient

        async with (
            AsyncClient(**options) as client,
            httpx.AsyncClient(timeout=FORWARD_SECONDS, verify=verify, trust_env=False) as forward,
            contextlib.aclosing(self._events(client)) as events,
        ):
            count = 0
            async for event in events:
                while len(self._tasks) >= AT_ONCE:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._one(event, forward))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                count += 1
                if count == self._limit:
                    break
            await asyncio.gather(*self._tasks)

    async def _events(self, client: "AsyncClient") -> AsyncGenerator["JobEvent", None]:
        """Events as they come, each once, across connections that break."""
        seen: dict[str | None, None] = {}
        last: str | None = None
        while True:
            try:
                retry = 0.0 if last else None  # before it ever was there, as long as other commands try
                async for event in client.subscriptions.live(self._patterns, last_event_id=last, retry_seconds=retry):
                    if event.type == CONNECTED:
                        self._greet(client.place, again=last is not None)
                    elif event.id not in seen:
                        seen[event.id] = None
                        yield event
                    last = event.id
                    if len(seen) > REMEMBERED:
                        del seen[next(iter(seen))]
            except WaypostError as error:
                if last is None or not error.retryable:
                    raise
                output.note(f"waypost: {error}")
                await asyncio.sleep(error.retry_after_seconds or RETRY_SECONDS)

    def _greet(self, place: str | None, *, again: bool) -> None:
        if again:
            output.note("Connected again; what happened meanwhile follows.")
            return
        where = f" and forwarding to {self._target}" if self._target else ""
        output.note(f"Listening to {', '.join(self._patterns)} of {place}{where}. Ctrl-C ends.")
        if self._secret:
            output.note(f"Signing secret: {self._secret}")

    async def _one(self, event: "JobEvent", forward: "httpx.AsyncClient") -> None:
        from waypost_sdk import exact
        from waypost_sdk.http.subscription import webhook_id

        body, name = exact.encode(event.data), webhook_id(event)
        if self._print_json:
            output.write_json(event.data, line=True)
        outcome = {} if self._target is None else await self._forward(forward, name, body)
        self._show({"id": name, "event": event.type, "at": event.data.get("timestamp")} | outcome)

    async def _forward(self, forward: "httpx.AsyncClient", name: str, body: bytes) -> dict[str, Any]:
        import httpx

        from waypost_sdk.signature import signed_headers

        assert self._target is not None  # noqa: S101 -- the caller looked
        assert self._secret is not None  # noqa: S101
        headers = signed_headers(self._secret, name, int(time.time()), body) | {"content-type": "application/json"}
        began = time.monotonic()
        outcome: dict[str, Any] = {"status": None, "error": None}
        try:
            answer = await forward.post(self._target, content=body, headers=headers)
            outcome["status"] = answer.status_code
        except httpx.TimeoutException:
            outcome["error"] = "timed_out"
        except httpx.HTTPError as error:
            outcome["error"] = str(error) or type(error).__name__
        return outcome | {"latency_ms": round((time.monotonic() - began) * 1000, 1)}

    def _show(self, line: dict[str, Any]) -> None:
        """A line an event; on stderr when stdout has the bodies."""
        if self._as_json and not self._print_json:
            output.write_json(line, line=True)
            return
        end = ""
        if "status" in line:
            end = f" → {line['status'] or line['error']} in {line['latency_ms']:g} ms"
        text = f"{line['at']}  {line['event']}  {line['id']}{end}"
        print(text, file=sys.stderr if self._print_json else sys.stdout, flush=True)


def _target(url: str) -> str:
    url = url if "://" in url else f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--forward-to is an address like http://localhost:3000/hook, not {url!r}.")
    return url


def _secret(file: Path | None) -> str:
    """The given one, else the one that this machine keeps, so that it is the same the next time."""
    from waypost_sdk import configuration, private_file
    from waypost_sdk.signature import key_of, new_secret

    try:
        given = file.read_text().strip() if file else os.environ.get(SECRET_VARIABLE)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.") from None
    if given:
        try:
            key_of(given)
        except ValueError as error:
            raise UsageError(f"The signing secret cannot be used: {error}.") from None
        return given
    with private_file.edit(configuration.file_path().with_name("listen.toml")) as document:
        return str(document.setdefault("secret", new_secret()))
