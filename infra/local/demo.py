"""`make demo`: the main job on real input, with a relay killed in the middle, and the proof that nothing was lost.

A platform with two relays in a temporary folder, two compute nodes with different tags (examples/measure.py), every
file of a folder one job, submitted over HTTP with an idempotency key and a selector. All is read back through the API.
Exit code 0 only when every acknowledged job reached exactly one end. The temporary folder is removed, unless the proof
fails.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from waypost_sdk import AsyncClient, Job

from infra.local import detached, ending
from infra.local.demo_report import Outcome, Run, examine, show
from infra.local.folder import DataFolder
from infra.local.option import UpOptions
from infra.local.problem import LocalError

FUNCTION = "file.measure"
NODES = {"node-a": ["lane=a", "mem_gb=8"], "node-b": ["lane=b", "mem_gb=32"]}
BIG_FILE_BYTES = 100_000
SUBMITTERS = 16
END_SECONDS = 300.0
LOOK_SECONDS = 3.0
_EXAMPLE = Path(__file__).parents[2] / "examples" / "measure.py"


def main() -> int:
    arguments = argparse.ArgumentParser(prog="make demo", description="The main job on real input.")
    arguments.add_argument("--dir", type=Path, help="whose files to measure (default: Python's standard library)")
    chosen: Path | None = arguments.parse_args().dir
    console = Console()
    files = input_files(chosen)
    if not files:
        console.print(f"There is no file in {chosen}.")
        return 2
    workplace = Path(tempfile.mkdtemp(prefix="waypost-demo-"))
    proven = False
    try:
        with _platform(workplace / "data", console) as summary, _nodes(summary, workplace, console):
            proven = asyncio.run(Demo(console, summary, files).run())
    except LocalError as problem:
        console.print(f"[red]{problem.sentence}[/]")
        return int(problem.code)
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130
    finally:
        if proven or not (workplace / "data" / "logs").exists():
            shutil.rmtree(workplace, ignore_errors=True)
        else:
            console.print(f"Logs and data are kept in {workplace}.")
    return 0 if proven else 1


def input_files(folder: Path | None) -> list[Path]:
    """Every file below `folder` that is not hidden; without one, the sources of the standard library."""
    if folder is None:
        library = Path(sysconfig.get_path("stdlib"))
        found = (path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    else:
        found = (path for path in folder.resolve().rglob("*") if not _hidden(path.relative_to(folder.resolve())))
    return sorted(path for path in found if path.is_file())


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


@contextlib.contextmanager
def _platform(data_dir: Path, console: Console) -> Iterator[dict[str, Any]]:
    began = time.monotonic()
    with console.status("starting the platform: PostgreSQL, Valkey, SeaweedFS, gateway, two relays, worker"):
        summary = detached.start(UpOptions(data_dir=str(data_dir), http_port=0, relay_port=0, relays=2))
    console.print(
        f"platform ready in {time.monotonic() - began:.1f} s: API {summary['api_url']}, "
        f"two relays at {summary['relay_address']}"
    )
    try:
        yield summary
    finally:
        with console.status("stopping"):
            ending.stop(data_dir)
        console.print("platform stopped")


@contextlib.contextmanager
def _nodes(summary: dict[str, Any], workplace: Path, console: Console) -> Iterator[None]:
    """Two compute nodes, as a customer would run them: the SDK, a credential, an address."""
    from waypost_sdk import Client

    place = _place(summary)
    with Client(summary["api_url"], summary["admin_key"], place) as client:
        credential = client.node_credentials.create("demo", functions=[FUNCTION])
    environment = os.environ | {
        "WAYPOST_URL": summary["api_url"],
        "WAYPOST_RELAY": summary["relay_address"],
        "WAYPOST_CLIENT_ID": credential.client_id,
        "WAYPOST_CLIENT_SECRET": credential.client_secret or "",
    }
    started = []
    try:
        for name, tags in NODES.items():
            with (workplace / f"{name}.log").open("w") as log:
                command = [sys.executable, "-P", str(_EXAMPLE), *tags]
                options: dict[str, Any] = {"env": environment, "stdout": log, "stderr": log, "cwd": workplace}
                started.append(subprocess.Popen(command, **options))  # noqa: S603 - our own example
            # On a machine of its own it would not take the platform's processor; here it steps back for it.
            os.setpriority(os.PRIO_PROCESS, started[-1].pid, 10)
            console.print(f"{name} started with tags {', '.join(tags)}")
        yield
    finally:
        for node in started:
            node.send_signal(signal.SIGTERM)
        for node in started:
            try:
                node.wait(15)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()


def _place(summary: dict[str, Any]) -> str:
    return "/".join((summary["org"], summary["project"], summary["environment"]))


class Demo:
    """One run against a platform that is up and nodes that are on their way in."""

    def __init__(self, console: Console, summary: dict[str, Any], files: list[Path]) -> None:
        self._console = console
        self._summary = summary
        self._files = files
        self._acknowledged: dict[str, Path] = {}
        self._acknowledge_seconds: list[float] = []
        self._ended: set[str] = set()

    async def run(self) -> bool:
        """True when the proof holds."""
        client = AsyncClient(self._summary["api_url"], self._summary["admin_key"], _place(self._summary))
        try:
            await self._nodes_connected(client)
            began = time.monotonic()
            await self._work(client)
            seconds = time.monotonic() - began
            outcome = await self._read_back(client, seconds)
        finally:
            await client.close()
        show(self._console, outcome)
        return outcome.proven

    async def _nodes_connected(self, client: AsyncClient) -> None:
        async with asyncio.timeout(30):
            while await self._count_nodes(client) < len(NODES):  # noqa: ASYNC110 - other processes have no event
                await asyncio.sleep(0.1)

    async def _count_nodes(self, client: AsyncClient) -> int:
        return len([node async for node in client.nodes.list() if node.state == "active"])

    async def _work(self, client: AsyncClient) -> None:
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            submitted = progress.add_task("submitted", total=len(self._files), rate="")
            ended = progress.add_task("ended", total=len(self._files), rate="")
            watching = asyncio.create_task(self._watch(client))
            killing = asyncio.create_task(self._kill_a_relay(client))
            try:
                submitting = asyncio.create_task(self._submit_all(client))
                began = looked = time.monotonic()
                while not (submitting.done() and len(self._ended) >= len(self._acknowledged)):
                    if time.monotonic() - began > END_SECONDS:
                        self._console.print(f"[red]not everything ended within {END_SECONDS:g} s[/]")
                        break
                    if submitting.done():
                        submitting.result()
                        if time.monotonic() - looked > LOOK_SECONDS:  # an event may be lost with its publisher
                            await self._look(client)
                            looked = time.monotonic()
                    await asyncio.sleep(0.1)
                    rate = f"{len(self._ended) / (time.monotonic() - began):.0f} jobs/s"
                    progress.update(submitted, completed=len(self._acknowledged))
                    progress.update(ended, completed=len(self._ended), rate=rate)
                progress.update(ended, completed=len(self._ended))
                progress.update(submitted, completed=len(self._acknowledged))
                await killing
            finally:
                for task in (watching, killing):
                    task.cancel()
                await asyncio.gather(watching, killing, return_exceptions=True)

    async def _submit_all(self, client: AsyncClient) -> None:
        """One job a file, a few submitters at a time."""
        waiting = iter(enumerate(self._files))

        async def submit() -> None:
            for number, path in waiting:
                began = time.monotonic()
                job = await client.jobs.submit(
                    FUNCTION, {"path": str(path)}, tags=[selector(number, path)], idempotency_key=key_of(path)
                )
                self._acknowledge_seconds.append(time.monotonic() - began)
                self._acknowledged[job.id] = path

        async with asyncio.TaskGroup() as group:
            for _ in range(SUBMITTERS):
                group.create_task(submit())

    async def _watch(self, client: AsyncClient) -> None:
        """Learn of ends as they happen, from the event stream, which resumes without losing states."""
        async for event in client.jobs.events():
            if event.type == "job.state" and event.data["state"] in ("completed", "failed", "dead_letter"):
                self._ended.add(event.data.get("job_id") or event.data["id"])

    async def _look(self, client: AsyncClient) -> None:
        """Learn of ends from the list, which is the truth."""
        self._ended |= {job.id async for job in client.jobs.list(function=FUNCTION) if job.ended}

    async def _kill_a_relay(self, client: AsyncClient) -> None:
        """At 40 % of the jobs: kill -9 the relay that holds a node; its supervisor starts it again."""
        while len(self._ended) < 0.4 * len(self._files):  # noqa: ASYNC110 - a display, not a hot path
            await asyncio.sleep(0.02)
        relays = [node.relay async for node in client.nodes.list() if node.state == "active" and node.relay]
        folder = DataFolder(Path(self._summary["data_dir"]))
        victim = _record(folder, relays[0] if relays else "relay-1")
        os.kill(victim["pid"], signal.SIGKILL)
        began = time.monotonic()
        self._console.print(f"[yellow]kill -9 {victim['name']} (process {victim['pid']})[/]")
        async with asyncio.timeout(60):
            while True:
                now = _record(folder, victim["name"])
                if now["state"] == "ready" and now["pid"] != victim["pid"]:
                    break
                await asyncio.sleep(0.05)
        self._console.print(
            f"[green]{victim['name']} is back after {time.monotonic() - began:.1f} s (process {now['pid']})[/]"
        )

    async def _read_back(self, client: AsyncClient, seconds: float) -> Outcome:
        """Everything that the table says comes from the API, not from what was seen on the way."""
        listed = [job async for job in client.jobs.list(function=FUNCTION)]
        with self._console.status("reading every job back"):
            jobs = [job async for job in self._read_each(client, [job.id for job in listed])]
            repeated = await self._repeat(client)
        run = Run(
            acknowledged=dict(self._acknowledged),
            listed=[job.id for job in listed],
            jobs=jobs,
            repeated_attempts=await self._repeated_attempts(client, jobs),
            repeated=repeated,
            acknowledge_seconds=self._acknowledge_seconds,
            seconds=seconds,
        )
        return examine(run)

    async def _read_each(self, client: AsyncClient, ids: list[str]) -> AsyncIterator[Job]:
        for start in range(0, len(ids), SUBMITTERS):
            for job in await asyncio.gather(*(client.jobs.get(one) for one in ids[start : start + SUBMITTERS])):
                yield job

    async def _repeated_attempts(self, client: AsyncClient, jobs: list[Job]) -> dict[str, int]:
        """Outcome → how many attempts ended so and were followed by another."""
        outcomes: Counter[str] = Counter()
        for job in jobs:
            if job.attempt > 1:
                attempts = await client.jobs.attempts(job.id)
                outcomes.update(attempt.outcome or "unknown" for attempt in attempts if attempt.number < job.attempt)
        return dict(outcomes)

    async def _repeat(self, client: AsyncClient) -> dict[str, str]:
        """Submit a few files once more with their keys: id that was acknowledged → id that is answered now."""
        answers = {}
        for number, path in list(enumerate(self._files))[:: max(1, len(self._files) // 50)]:
            again = await client.jobs.submit(
                FUNCTION, {"path": str(path)}, tags=[selector(number, path)], idempotency_key=key_of(path)
            )
            answers[str(path)] = again.id
        return answers


def selector(number: int, path: Path) -> str:
    """Big files ask for memory, the others take turns between the lanes."""
    if path.stat().st_size > BIG_FILE_BYTES:
        return "mem_gb>=16"
    return f"lane={'ab'[number % 2]}"


def key_of(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()


def _record(folder: DataFolder, name: str) -> dict[str, Any]:
    state = folder.read_state() or {"processes": []}
    found: dict[str, Any] = next(entry for entry in state["processes"] if entry["name"] == name)
    return msgspec.to_builtins(found)  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main())
