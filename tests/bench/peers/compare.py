"""Other platforms through the same work on the same machine in the same run: submit → run → durable result.

Each in the way its own documentation recommends for throughput on two cores, submitted by its own client library from
two processes (Waypost's jobs come through HTTP with authentication and idempotency; theirs do not). The table says
which of them keeps work through a power failure: Valkey without its file does not.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.bench import fleet
from tests.bench.fleet import wait_until
from tests.bench.meter import Meter, waited_for_seconds
from tests.bench.peers import servers
from tests.bench.report import Row, milliseconds

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("dramatiq", "taskiq", "celery", "procrastinate")
_COMMANDS = {
    "celery": [["-m", "celery", "-A", "tests.bench.peers.peer_celery", "worker", "-c", "2", "-l", "warning",
                "--without-gossip", "--without-mingle", "--without-heartbeat"]],
    "dramatiq": [["-m", "dramatiq", "tests.bench.peers.peer_dramatiq", "--processes", "2", "--threads", "8"]],
    "taskiq": [["-m", "taskiq", "worker", "tests.bench.peers.peer_taskiq:broker", "--workers", "2",
                "--log-level", "WARNING"]],
    "procrastinate": [["-m", "procrastinate", "--app", "tests.bench.peers.peer_procrastinate.app", "worker",
                       "--concurrency", "32"]] * 2,
}  # fmt: skip
_WARM_JOBS = 400


@dataclass(frozen=True)
class Setting:
    """One peer on its server: how to reach it, how to count what is done."""

    name: str
    durable: bool
    variables: dict[str, str]
    done: Callable[[], int]
    server_pid: int
    on: str  # what its jobs lie on, in words


def run(folder: Path, rows: list[Row], *, quick: bool, only: Sequence[str] | None, console: Console) -> None:
    """Measure every peer (or those in `only`) and add their rows, and the ratios to ours where those are there."""
    wanted = [name for name in NAMES if not only or name in only]
    if not wanted:
        return
    python = _environment(console)
    for setting in _settings(folder, wanted):
        console.print(f"{setting.name} on {setting.on} …")
        row = _measure(python, folder, setting, quick=quick)
        rows.append(row)
        console.print(f"  {row.shown}")
    rows.extend(ratios(rows))


def ratios(rows: Sequence[Row]) -> list[Row]:
    """Ours against the best durable peer (jobs/s) and the fastest one (idle start)."""
    peers = [row for row in rows if row.scenario == "peer"]
    found = []
    ours = next((row for row in rows if row.scenario == "saturation"), None)
    durable = [row for row in peers if row.figures["durable"]]
    if ours and durable:
        best = max(durable, key=lambda row: float(row.figures["per_second"] or 0))
        ratio = float(ours.figures["per_second"] or 0) / float(best.figures["per_second"] or 1)
        found.append(
            Row(
                "ratio",
                "jobs/s against the best durable peer",
                f"× {ratio:.1f}",
                {"ratio": ratio},
                target="≥ × 5",
                met=ratio >= 5,
                note=best.what,
            )
        )
    idle = next((row for row in rows if row.scenario == "idle"), None)
    if idle and peers:
        fastest = min(peers, key=lambda row: float(row.figures["start_p50_ms"] or 1e9))
        ratio = float(idle.figures["start_p50_ms"] or 0) / float(fastest.figures["start_p50_ms"] or 1)
        found.append(
            Row(
                "ratio",
                "idle start p50 against the fastest peer",
                f"× {ratio:.2f}",
                {"ratio": ratio},
                target="≤ × 1",
                met=ratio <= 1,
                note=fastest.what,
            )
        )
    return found


def _settings(folder: Path, wanted: Sequence[str]) -> Iterator[Setting]:
    on_valkey = [name for name in wanted if name != "procrastinate"]
    for durable in (False, True) if on_valkey else ():
        with servers.valkey(folder / "valkey", durable=durable) as valkey:
            for name in on_valkey:
                valkey.clear()
                variables = {"PEER_BROKER": valkey.url(0), "PEER_RESULTS": valkey.url(1)}
                words = "Valkey, every write fsynced" if durable else "Valkey in memory"
                yield Setting(name, durable, variables, lambda: valkey.keys(1), valkey.process.pid, words)
    if "procrastinate" in wanted:
        with _procrastinate(folder) as setting:
            yield setting


@contextlib.contextmanager
def _procrastinate(folder: Path) -> Iterator[Setting]:
    import psycopg

    with (
        servers.postgres(folder / "postgres") as (address, pid),
        psycopg.connect(address, autocommit=True) as connection,
    ):

        def done() -> int:
            row = connection.execute("select count(*) from procrastinate_jobs where status = 'succeeded'").fetchone()
            return int(row[0]) if row else 0

        yield Setting("procrastinate", True, {"PEER_DATABASE": address}, done, pid, "PostgreSQL, fsync on")


def _measure(python: Path, folder: Path, setting: Setting, *, quick: bool) -> Row:
    notes = folder / "peer-notes"
    notes.unlink(missing_ok=True)
    variables = os.environ | setting.variables | {"PEER_NOTES": str(notes), "PYTHONPATH": str(ROOT)}
    client = [str(python), "-P", "-m", "tests.bench.peers.client", f"tests.bench.peers.peer_{setting.name}"]

    def submit(mode: str, number: int) -> None:
        subprocess.run([*client, mode, str(number)], env=variables, check=True, timeout=120)  # noqa: S603

    submit("prepare", 0)
    log = (folder / f"peer-{setting.name}.log").open("wb")
    workers = [
        subprocess.Popen(  # noqa: S603 - a peer's own worker
            [str(python), "-P", *arguments], env=variables | {"PEER_ROLE": "worker"}, stdout=log, stderr=log, cwd=ROOT
        )
        for arguments in _COMMANDS[setting.name]
    ]
    try:
        submit("load", _WARM_JOBS)
        wait_until(lambda: setting.done() >= _WARM_JOBS, f"{setting.name} starting to work", 60)
        speed = _WARM_JOBS / _saturate(setting, submit, _WARM_JOBS, {}).seconds
        number = int(max(500, min(100_000, speed * (3 if quick else 10))))
        groups = {"server": [setting.server_pid], "workers": [worker.pid for worker in workers]}
        meter = _saturate(setting, submit, number, groups)
        notes.write_bytes(b"")
        samples = 120 if quick else 400
        before = setting.done()
        submit("idle", samples + 20)
        wait_until(lambda: setting.done() >= before + samples + 20, f"{setting.name} finishing", 60)
        late = [int(line) / 1e6 for line in notes.read_text().split()]
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(15)
            worker.kill()
            worker.wait()
        log.close()
    found = fleet.quantiles(late)
    return Row(
        "peer",
        f"{setting.name} on {setting.on}",
        f"{number / meter.seconds:,.0f} jobs/s · idle start {milliseconds(p50=found['p50'], p99=found['p99'])}",
        {
            "per_second": number / meter.seconds,
            "jobs": number,
            "durable": setting.durable,
            **{f"start_{name}_ms": value for name, value in found.items()},
        },
        cpu=meter.share,
        note="durable" if setting.durable else "not durable: lost with the server",
    )


def _saturate(
    setting: Setting, submit: Callable[[str, int], None], number: int, groups: Mapping[str, list[int]]
) -> Meter:
    """Submit and wait until the last result is kept; the submitters' own start is taken off the seconds."""
    before = setting.done()
    began = time.monotonic()
    submit("load", 0)
    start_cost = time.monotonic() - began
    used = waited_for_seconds()
    with Meter(groups) as meter:
        submit("load", number)
        wait_until(lambda: setting.done() >= before + number, f"{setting.name} finishing", 180, pause_seconds=0.02)
    meter.share["submitters"] = (waited_for_seconds() - used) / meter.seconds
    meter.seconds = max(0.001, meter.seconds - start_cost)
    return meter


def _environment(console: Console) -> Path:
    """The peers' own environment, made once from the pinned file; answers its Python."""
    pinned = ROOT / "requirements" / "peers.txt"
    mark = hashlib.sha256(pinned.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "waypost" / f"bench-peers-{mark}"
    python = cache / "bin" / "python"
    if (cache / ".complete").exists():
        return python
    console.print(f"installing the peers into {cache} …")
    shutil.rmtree(cache, ignore_errors=True)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(cache)], check=True)  # noqa: S603
    command = [uv, "pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(pinned)]
    subprocess.run(command, check=True)  # noqa: S603
    (cache / ".complete").touch()
    return python
