"""What the demo proves, and how it says so: pure counting over what was read back, then tables."""

from collections import Counter
from pathlib import Path
from statistics import quantiles

import msgspec
from rich.console import Console
from rich.table import Table
from waypost_sdk import Job

ENDS = frozenset({"completed", "failed", "dead_letter", "canceled", "expired"})
_SHOWN = 10


class Run(msgspec.Struct, frozen=True):
    """What was done, and what the API answered afterwards."""

    acknowledged: dict[str, Path]  # job id → file, from the 202 answers
    listed: list[str]  # ids, from GET E/jobs
    jobs: list[Job]  # each read by its id
    repeated_attempts: dict[str, int]  # outcome → attempts after which the job was tried again
    repeated: dict[str, str]  # file → id answered when its submission was repeated
    acknowledge_seconds: list[float]
    seconds: float


class Check(msgspec.Struct, frozen=True):
    text: str
    holds: bool


class Outcome(msgspec.Struct, frozen=True):
    run: Run
    checks: list[Check]

    @property
    def proven(self) -> bool:
        return all(check.holds for check in self.checks)


def examine(run: Run) -> Outcome:
    """The proof: the sets are equal, every end is one and final, every answer is right, no repeat made a job."""
    acknowledged = set(run.acknowledged)
    files = len(set(run.acknowledged.values()))
    ended = [job for job in run.jobs if job.state in ENDS]
    wrong = [job for job in run.jobs if job.state == "completed" and not _answers(job, run.acknowledged)]
    by_path = {str(path): job_id for job_id, path in run.acknowledged.items()}
    doubled = [path for path, job_id in run.repeated.items() if by_path.get(path) != job_id]
    return Outcome(
        run,
        [
            Check(f"{len(acknowledged):,} acknowledged jobs for {files:,} files", len(acknowledged) == files > 0),
            Check(
                f"{len(run.listed):,} jobs listed by the API, the same set, none twice",
                set(run.listed) == acknowledged and len(run.listed) == len(acknowledged),
            ),
            Check(f"{len(ended):,} of them reached an end", len(ended) == len(acknowledged)),
            Check(
                f"{sum(job.state == 'completed' for job in run.jobs):,} completed, {len(wrong):,} with a wrong answer",
                not wrong and all(job.state == "completed" for job in run.jobs),
            ),
            Check(f"{len(run.repeated):,} submissions repeated, {len(doubled):,} made a second job", not doubled),
        ],
    )


def _answers(job: Job, acknowledged: dict[str, Path]) -> bool:
    """Whether the result is about this job's file, with the size that the file has."""
    path = acknowledged.get(job.id)
    result = job.result
    return (
        path is not None
        and isinstance(result, dict)
        and result.get("path") == str(path)
        and result.get("size_bytes") == path.stat().st_size
    )


def show(console: Console, outcome: Outcome) -> None:
    """Three tables: figures, longest functions, proof."""
    console.print(_figures(outcome.run))
    console.print(_longest(outcome.run.jobs))
    for check in outcome.checks:
        console.print(f"[green]✔[/] {check.text}" if check.holds else f"[bold red]✘ {check.text}[/]")
    if outcome.proven:
        console.print("[bold green]Every acknowledged job reached exactly one end.[/]")
    else:
        console.print("[bold red]The proof fails.[/]")


def _figures(run: Run) -> Table:
    table = Table(title="jobs", title_justify="left")
    table.add_column("what")
    table.add_column("", justify="right")
    states = Counter(job.state for job in run.jobs)
    run_seconds = [(j.finished_at - j.started_at).total_seconds() for j in run.jobs if j.finished_at and j.started_at]
    table.add_row("jobs", f"{len(run.jobs):,}")
    for state, count in sorted(states.items()):
        table.add_row(f"  {state}", f"{count:,}")
    table.add_row("attempts", f"{sum(job.attempt for job in run.jobs):,}")
    for outcome in sorted({"lost", *run.repeated_attempts}):
        table.add_row(f"  {outcome} (tried again)", f"{run.repeated_attempts.get(outcome, 0):,}")
    table.add_row("files measured", f"{_total(run.jobs, 'size_bytes') / 1e6:,.1f} MB")
    table.add_row("lines", f"{_total(run.jobs, 'lines'):,}")
    table.add_row("tokens", f"{_total(run.jobs, 'tokens'):,}")
    table.add_row("wall time", f"{run.seconds:.1f} s")
    table.add_row("throughput", f"{len(run.jobs) / run.seconds:,.0f} jobs/s")
    table.add_row("submission acknowledged, p50 / p99", _percentiles(run.acknowledge_seconds))
    table.add_row("run on the node (last attempt), p50 / p99", _percentiles(run_seconds))
    return table


def _longest(jobs: list[Job]) -> Table:
    table = Table(title="longest functions", title_justify="left")
    table.add_column("lines", justify="right")
    table.add_column("function")
    table.add_column("file")
    found = [job.result for job in jobs if isinstance(job.result, dict) and job.result.get("longest_function")]
    found.sort(key=lambda result: -int(result["longest_function"]["lines"]))
    for result in found[:_SHOWN]:
        function = result["longest_function"]
        table.add_row(f"{function['lines']:,}", function["name"], f"{_short(result['path'])}:{function['line']}")
    return table


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


def _total(jobs: list[Job], field: str) -> int:
    return sum(int(job.result.get(field) or 0) for job in jobs if isinstance(job.result, dict))


def _percentiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return "–"
    cuts = quantiles(seconds, n=100)
    return f"{cuts[49] * 1000:.1f} / {cuts[98] * 1000:.1f} ms"
