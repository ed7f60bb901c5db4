"""Rows of results, and the three ways of showing them: a table on the terminal, Markdown, JSON."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured thing. `figures` are numbers with their unit in the name; `shown` is what the table says of them."""

    scenario: str
    what: str
    shown: str
    figures: dict[str, float | int | str | None]
    target: str = ""
    met: bool | None = None
    cpu: dict[str, float] = field(default_factory=dict)  # share of one core
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        verdict = "" if self.met is None else ("✓ " if self.met else "✗ ")
        return self.what, self.shown, verdict + self.target, shares(self.cpu), self.note


HEADINGS = ("what", "measured", "target", "CPU, % of a core", "note")


def shares(cpu: dict[str, float]) -> str:
    """`gateway 71 · postgres 60`: the greatest first, those below 1 % left out."""
    ordered = sorted(cpu.items(), key=lambda item: -item[1])
    return " · ".join(f"{name} {share * 100:.0f}" for name, share in ordered if share >= 0.01)


def milliseconds(**values: float) -> str:
    """`p50 2.1 · p99 6.0 ms`."""
    return " · ".join(f"{name.replace('_', '.')} {value:.1f}" for name, value in values.items()) + " ms"


def show(rows: Sequence[Row], console: Console, *, title: str) -> None:
    table = Table(title=title, title_justify="left", show_lines=False, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row.cells, style=None if row.met in (True, None) else "red")
    console.print(table)


def markdown(rows: Sequence[Row]) -> str:
    """The same table for docs/performance.md."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| " + " | ".join("---" for _ in HEADINGS) + " |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row.cells) + " |" for row in rows]
    return "\n".join(lines)


def write_json(path: Path, rows: Sequence[Row], **about: object) -> None:
    """Everything that was measured, with what the machine is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "kernel": platform.release(), "processor": processor(), **about}
    path.write_text(json.dumps({"about": machine, "rows": [asdict(row) for row in rows]}, indent=2, default=str) + "\n")


def processor() -> str:
    """The processor's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
