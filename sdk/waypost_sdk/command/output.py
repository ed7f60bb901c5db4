"""What commands print: JSON on stdout when piped or asked for, tables on a terminal; progress on stderr.

JSON of one thing is one object, of a list one array, of a stream one object a line. Numbers are exact.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, also on a terminal.")]
Column = tuple[str, Callable[[Any], Any]]


def wants_json(as_json: bool) -> bool:
    """Whether stdout gets JSON: asked for, or nobody looks at it."""
    return as_json or not sys.stdout.isatty()


def write_json(value: Any, *, line: bool = False) -> None:
    """One JSON document; indented on a terminal unless `line`."""
    import msgspec

    from waypost_sdk import exact

    text = exact.encode(value)
    if sys.stdout.isatty() and not line:
        text = msgspec.json.format(text, indent=2)
    sys.stdout.write(text.decode() + "\n")
    sys.stdout.flush()


def show_list(items: Iterable[Any], columns: Sequence[Column], *, as_json: bool) -> None:
    """Many things of one kind."""
    found = list(items)
    if wants_json(as_json):
        write_json(found)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for place, (title, _) in enumerate(columns):
        table.add_column(title, overflow="fold", no_wrap=place == 0)  # the id, to be copied
    for item in found:
        table.add_row(*(_cell(get(item)) for _, get in columns))
    Console().print(table if found else "none")


def show_one(item: Any, *, as_json: bool, instead: Mapping[str, Any] | None = None) -> None:
    """One thing, every field that says something. On a terminal `instead` says how some fields look, if at all."""
    if wants_json(as_json):
        write_json(item)
        return
    import msgspec
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    document = msgspec.to_builtins(item, builtin_types=(datetime,)) if item is not None else {}
    fields = {**document, **(instead or {})} if isinstance(document, dict) else {"": document}
    for name, value in fields.items():
        if value not in (None, "", [], {}):
            table.add_row(f"[bold]{name}", _cell(value))
    Console().print(table)


def note(text: str) -> None:
    """A remark for the person, on stderr."""
    sys.stderr.write(text + "\n")


def waiting(text: str) -> AbstractContextManager[Any]:
    """A spinner on stderr while something takes time; nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(text)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, told how much is done; nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)


def age(instant: datetime | None) -> str:
    """How long ago, in one unit: `12s`, `3m`, `5h`, `2d`."""
    if instant is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - instant).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def clock(instant: datetime | None) -> str:
    """An instant of today as a person reads it, to the millisecond."""
    return "" if instant is None else instant.astimezone().isoformat(sep=" ", timespec="milliseconds")


def _cell(value: Any) -> Any:
    from rich.text import Text

    if value in (None, "", [], {}):
        return ""
    if isinstance(value, datetime):
        return value.astimezone().isoformat(sep=" ", timespec="seconds")
    if isinstance(value, (dict, list, tuple)):
        from waypost_sdk import exact

        value = _words(value) or exact.encode(value).decode()
    return Text(str(value))  # Text: brackets of a payload are not markup


def limits(values: Mapping[str, int], sources: Mapping[str, str]) -> str:
    """Limits in force, one a line, and where each comes from."""
    width = max(map(len, values), default=0)
    lines = (f"{name:{width}}  {value:>17,}  {sources.get(name, '')}".rstrip() for name, value in values.items())
    return "\n".join(lines)


def _words(value: Any) -> str:
    """Plain words for a list of words or a dict of words and numbers; nothing for what is more than that."""
    entries = value if isinstance(value, (list, tuple)) else [f"{name}={entry}" for name, entry in value.items()]
    parts = value.values() if isinstance(value, dict) else value
    return ", ".join(map(str, entries)) if all(isinstance(part, (str, int)) for part in parts) else ""
