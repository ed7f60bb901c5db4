"""Up, down, and everything that can happen in between: what dies comes back, what is written stays, nothing is left.

These run servers without the platform's processes where those make no difference: the supervisor treats all alike.
"""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from infra.local import detached, ending, folder, leftover, privilege, status
from infra.local.option import UpOptions
from infra.local.problem import ExitCode, LocalError
from tests.conftest import Platform, processes_of, start_platform, stop_platform

SERVERS_ONLY = {"relays": 0, "gateways": 0, "workers": 0}


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Platform]:
    """Servers of this test alone."""
    data_dir = tmp_path / "data"
    yield start_platform(data_dir, **SERVERS_ONLY)
    stop_platform(data_dir)


async def _write(platform: Platform, word: str) -> None:
    connection = await asyncpg.connect(platform.database_url())
    await connection.execute("create table if not exists public.kept (word text)")
    await connection.execute("insert into public.kept values ($1)", word)
    await connection.close()


async def _words(platform: Platform) -> list[str]:
    connection = await asyncpg.connect(platform.database_url())
    rows = await connection.fetch("select word from public.kept order by word")
    await connection.close()
    return [row["word"] for row in rows]


async def test_data_survives_down_and_kill_of_everything(tmp_path: Path) -> None:
    """What was committed is there after an orderly stop and after kill -9 of every process at once."""
    data_dir = tmp_path / "data"
    first = start_platform(data_dir, **SERVERS_ONLY)
    superuser = first.database_url("postgres")
    connection = await asyncpg.connect(superuser)
    await connection.execute("grant create, usage on schema public to waypost_owner")
    await connection.close()
    await _write(first, "a")
    stop_platform(data_dir)

    second = start_platform(data_dir, **SERVERS_ONLY)
    assert await _words(second) == ["a"]
    assert second.admin_key == first.admin_key
    await _write(second, "b")
    _kill_everything(second)

    third = start_platform(data_dir, **SERVERS_ONLY)
    assert await _words(third) == ["a", "b"]
    stop_platform(data_dir)


async def test_a_killed_supervisor_blocks_nothing(local: Platform) -> None:
    """Its servers may run on for a moment; the next start finds and ends them, and only them."""
    supervisor = psutil.Process(local.processes[0]["pid"])
    supervisor.kill()
    supervisor.wait(10)
    again = start_platform(local.data_dir, **SERVERS_ONLY)
    connection = await asyncpg.connect(again.database_url())
    assert await connection.fetchval("select 1") == 1
    await connection.close()


async def test_a_killed_process_is_started_again_and_counted(local: Platform) -> None:
    """Each server comes back at the same address, and the count is what `waypost status` shows."""
    before = {name: local.process(name) for name in ("postgres", "valkey", "objects")}
    for entry in before.values():
        os.kill(entry["pid"], signal.SIGKILL)
    for name, entry in before.items():
        after = await local.settled(name, 1)
        assert after["address"] == entry["address"]
        assert after["pid"] != entry["pid"]
        assert after["last_exit"] == "SIGKILL"
    found = status.read(local.data_dir)
    assert {process["name"]: process["restarts"] for process in found["processes"]} == {
        "supervisor": 0, "postgres": 1, "valkey": 1, "objects": 1,
    }  # fmt: skip
    assert found["ready"]


@pytest.mark.skipif(
    sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER,
    reason="scheduling policies are Linux', and one that somebody chose is kept",
)
def test_all_but_the_gateway_take_their_turns(platform: Platform) -> None:
    """Whoever wakes up does not interrupt who runs: servers with their children, relays and workers."""
    (supervisor,) = [entry["pid"] for entry in platform.processes if entry["name"] == "supervisor"]
    gateways = {entry["name"] for entry in platform.processes if entry["name"].startswith("gateway")}
    policies = {}
    for process in psutil.Process(supervisor).children(recursive=True):
        with contextlib.suppress(ProcessLookupError):  # a server's own child may end meanwhile
            policies[process.pid] = os.sched_getscheduler(process.pid)
    first = {pid for pid, policy in policies.items() if policy == os.SCHED_OTHER}
    assert first == {platform.process(name)["pid"] for name in gateways}
    assert set(policies.values()) == {os.SCHED_OTHER, os.SCHED_BATCH}


def test_a_second_up_on_the_same_folder_is_refused(platform: Platform) -> None:
    """One sentence, code 8, and the first one goes on undisturbed."""
    before = platform.process("valkey")["pid"]
    with pytest.raises(LocalError, match="already runs on") as refused:
        start_platform(platform.data_dir)
    assert refused.value.code is ExitCode.CONFLICT
    assert platform.process("valkey")["pid"] == before
    assert status.read(platform.data_dir)["processes"]


def test_a_port_in_use_is_said_in_one_sentence(tmp_path: Path) -> None:
    """Also when whoever listens there would share the port; nothing is left running."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LocalError, match=rf"Port {port} .* in use .* --relay-port") as refused:
            detached.start(UpOptions(data_dir=str(tmp_path / "data"), http_port=0, relay_port=port, **SERVERS_ONLY))
    assert refused.value.code is ExitCode.CONFLICT
    assert not processes_of(tmp_path / "data")


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """Nothing in it changes; code 10."""
    (tmp_path / "version.json").write_text(json.dumps({"layout": folder.LAYOUT + 1, "waypost": "99.0"}))
    with pytest.raises(LocalError, match=r"newer Waypost \(99.0") as refused:
        detached.start(UpOptions(data_dir=str(tmp_path)))
    assert refused.value.code is ExitCode.VERSION
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "version.json"]


async def test_a_database_of_a_newer_version_is_left_alone(local: Platform) -> None:
    """The control schema's version decides too; it is never taken back."""
    connection = await asyncpg.connect(local.database_url())
    await connection.execute("update control.alembic_version set version_num = '9999'")
    await connection.close()
    ending.stop(local.data_dir)
    (local.data_dir / "ground").unlink()  # as another program version would find it
    with pytest.raises(LocalError, match="newer Waypost") as refused:
        start_platform(local.data_dir, **SERVERS_ONLY)
    assert refused.value.code is ExitCode.VERSION
    assert not processes_of(local.data_dir)


def test_a_folder_with_other_things_in_it_is_not_taken(tmp_path: Path) -> None:
    """A typing error in --data-dir must not scatter files among somebody's own."""
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(LocalError, match=r"'thesis.tex'") as refused:
        detached.start(UpOptions(data_dir=str(tmp_path)))
    assert refused.value.code is ExitCode.CONFLICT


def test_a_full_disk_is_said_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL would stop in the middle; the sentence says how much is free and how much is needed."""
    monkeypatch.setattr(folder, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(LocalError, match="MiB free"):
        folder.DataFolder(tmp_path / "data").open()
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    """A unix socket's path holds 107 bytes; the folder may be deeper than that."""
    data_dir = tmp_path / ("x" * 120) / "data"
    platform = start_platform(data_dir, **SERVERS_ONLY)
    sockets = folder.DataFolder(data_dir).socket_dir
    assert sockets.is_dir()
    assert platform.process("postgres")["address"].startswith(str(sockets))
    stop_platform(data_dir)
    assert not sockets.exists()


def test_a_leftover_is_known_by_its_start_time() -> None:
    """A stranger who got the pid of one of ours is never touched."""
    me = psutil.Process()
    assert leftover.alive(me.pid, me.create_time()) == me
    assert leftover.alive(me.pid, me.create_time() - 5) is None


def test_down_where_nothing_runs_does_nothing(tmp_path: Path) -> None:
    """It may be called twice; a folder that is not there is code 7."""
    assert ending.stop(tmp_path).startswith("Nothing was running")
    with pytest.raises(LocalError) as refused:
        ending.stop(tmp_path / "none")
    assert refused.value.code is ExitCode.NOT_FOUND


def test_the_command_runs_beside_a_storage_folder_of_the_user(tmp_path: Path) -> None:
    """Our packages have plain names (decision 32): a user's own `storage/`, `jobs/` and `gateway/` change nothing."""
    for name in ("storage", "jobs", "gateway", "relay", "functions", "infra", "waypost"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the one of the user')")
    started = _waypost(tmp_path, "up", "--detach", "--json", "--http-port", "0", "--relay-port", "0")
    try:
        assert started.returncode == 0, started.stderr
        summary = json.loads(started.stdout)
        names = {process["name"] for process in summary["processes"]}
        assert names == {"supervisor", "postgres", "valkey", "objects", "gateway-1", "relay-1", "worker-1"}
        assert summary["data_dir"] == str(tmp_path / ".waypost")
        assert json.loads(_waypost(tmp_path, "status").stdout)["ready"]
    finally:
        stopped = _waypost(tmp_path, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert not processes_of(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="everything here runs as an ordinary user already")
def test_it_runs_as_an_ordinary_user(tmp_path: Path) -> None:
    """Root or not, the same platform; the one capability lets the ordinary user into the folders of this test."""
    user = pwd.getpwnam("nobody")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    os.chown(data_dir, user.pw_uid, user.pw_gid)
    code = "import sys; from waypost_sdk.command.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-P", "-c", code, "up", "--detach", "--json", "--http-port", "0", "--relay-port", "0"]
    for kind in ("relays", "gateways", "workers"):
        command += [f"--{kind}", "0"]
    setup = privilege.child_setup(signal.SIGTERM, user, read_search=True)
    started = subprocess.run(  # noqa: S603 - ours
        [*command, "--data-dir", str(data_dir)],
        preexec_fn=setup,
        cwd="/", capture_output=True, text=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    owners = {psutil.Process(entry["pid"]).uids().effective for entry in json.loads(started.stdout)["processes"]}
    stop_platform(data_dir)
    assert owners == {user.pw_uid}


def _waypost(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "waypost"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - ours


def _kill_everything(platform: Platform) -> None:
    supervisor = psutil.Process(platform.processes[0]["pid"])
    supervisor.suspend()  # so that it neither starts anything again nor ends anything in order
    everything = [*supervisor.children(recursive=True), supervisor]
    for process in everything:
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend goes with its postmaster
            process.kill()
    psutil.wait_procs(everything, timeout=10)
    assert not processes_of(platform.data_dir)
