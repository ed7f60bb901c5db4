"""Steps of an environment's life on stderr, as they happen: live on a terminal, a line for each elsewhere."""

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from waypost_sdk.tenancy import Environment, EnvironmentStep

_MARKS = {"done": "[green]✔[/]", "failed": "[red]✘[/]", "pending": "[dim]·[/]"}


def follow(states: "Iterable[Environment]") -> "Environment | None":
    """Show each state as it comes; answers the last one, None when there was none.

    An environment that is gone had its last steps done, which nobody can read any more.
    """
    last: Environment | None = None
    told: set[tuple[str, str]] = set()
    live = _Live() if sys.stderr.isatty() else None
    with live or nullcontext():
        for last in states:
            if live is not None:
                live.show(last)
            else:
                _tell(last.steps or [], told)
        if last is not None and not last.settled and live is not None:
            live.gone()
    return last


def _tell(steps: "list[EnvironmentStep]", told: set[tuple[str, str]]) -> None:
    for step in steps:
        if step.state in ("done", "failed") and (step.name, step.state) not in told:
            told.add((step.name, step.state))
            sys.stderr.write(f"{step.name} {step.state} {_took(step)}{': ' + step.error if step.error else ''}\n")


class _Live:
    """A table that is drawn again as its environment changes, and as its clocks run."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._environment: Environment | None = None
        self._spinner = Spinner("dots")
        self._live = Live(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=10)

    def __enter__(self) -> "_Live":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.stop()

    def show(self, environment: "Environment") -> None:
        self._environment = environment
        self._live.refresh()

    def gone(self) -> None:
        for step in (self._environment.steps if self._environment else None) or []:
            step.state = "done"
        self._live.refresh()

    def _table(self) -> "Table":
        return table((self._environment.steps if self._environment else None) or [], self._spinner)


def table(steps: "list[EnvironmentStep]", running: Any = "…") -> "Table":
    """A row for each step: how it stands, its name, how long it took, what went wrong."""
    from rich.table import Table
    from rich.text import Text

    found = Table(box=None, show_header=False, padding=(0, 1))
    found.add_column(width=1)
    found.add_column(no_wrap=True)
    found.add_column(justify="right", style="dim", no_wrap=True)
    found.add_column(overflow="fold", style="red")
    for step in steps:
        found.add_row(_MARKS.get(step.state, running), step.name, _took(step), Text(step.error or ""))
    return found


def _took(step: "EnvironmentStep") -> str:
    """How long it took, or has been taking."""
    if step.started_at is None or (step.finished_at is None and step.state == "done"):
        return ""
    seconds = ((step.finished_at or datetime.now(UTC)) - step.started_at).total_seconds()
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
