"""`make demo` on a small folder: the same run as on the standard library, the kill and the proof included."""

import os
import subprocess
import sys
from pathlib import Path

from waypost_sdk import Job

from infra.local.demo import input_files
from infra.local.demo_report import Run, examine
from tests.conftest import processes_of


def test_the_demo_proves_that_every_acknowledged_job_ended_once(tmp_path: Path) -> None:
    """Exit code 0, a relay killed and back, all files measured, nothing left running."""
    folder = tmp_path / "input"
    folder.mkdir()
    for number in range(40):
        (folder / f"part_{number}.py").write_text("def f():\n" + "    x = 1\n" * (number + 1))
    (folder / "not_python.txt").write_text("for for for")
    (folder / ".hidden").write_text("")
    command = [sys.executable, "-P", "-m", "infra.local.demo", "--dir", str(folder)]
    ran = subprocess.run(  # noqa: S603 - our own module
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=150, env=_environment(tmp_path)
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "kill -9 relay-" in ran.stdout
    assert "is back after" in ran.stdout
    assert "41 acknowledged jobs for 41 files" in ran.stdout
    assert "Every acknowledged job reached exactly one end." in ran.stdout
    assert not processes_of(tmp_path)
    assert not list(tmp_path.glob("waypost-demo-*"))


def test_the_demo_measures_the_standard_library_by_default() -> None:
    """About 1,800 sources; installed packages are not part of it."""
    files = input_files(None)
    assert 1_000 < len(files) < 3_000
    assert {path.suffix for path in files} == {".py"}
    assert not [path for path in files if "site-packages" in path.parts]


def test_the_proof_fails_when_a_job_is_lost_doubled_or_wrong(tmp_path: Path) -> None:
    """The check has teeth: each kind of loss turns it over."""
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")

    def job(job_id: str, state: str = "completed", size: int = 6) -> Job:
        return Job(id=job_id, state=state, attempt=1, result={"path": str(path), "size_bytes": size})

    def proven(listed: list[str], jobs: list[Job], repeated: dict[str, str] | None = None) -> bool:
        run = Run({"1": path}, listed, jobs, {}, repeated or {}, [0.1], 1.0)
        return examine(run).proven

    assert proven(["1"], [job("1")], {str(path): "1"})
    assert not proven([], [])  # acknowledged and gone
    assert not proven(["1", "2"], [job("1"), job("2")])  # one too many
    assert not proven(["1"], [job("1", "running")])  # no end
    assert not proven(["1"], [job("1", "dead_letter")])
    assert not proven(["1"], [job("1", size=7)])  # an answer about something else
    assert not proven(["1"], [job("1")], {str(path): "2"})  # the repeat made a second job


def _environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"TMPDIR": str(tmp_path), "COLUMNS": "160"}
