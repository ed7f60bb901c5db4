"""`waypost up` that cannot be: one sentence on stderr, an exit code of the contract, and everything as it was."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import folder
from tests.conftest import Platform, processes_of

COMMAND = (str(Path(sys.executable).parent / "waypost"), "up", "--detach", "--http-port", "0", "--relay-port", "0")


def up(data_dir: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "--data-dir", str(data_dir), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - ours


def refused(data_dir: Path, *words: str) -> tuple[int, str]:
    """Exit code and sentence; asserts that it is one line and that nothing was left running."""
    done = up(data_dir, *words)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert not processes_of(data_dir)
    return done.returncode, done.stderr


def fingerprint(root: Path) -> dict[str, str]:
    """Every file with its content; the lock is taken to look."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "lock")
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("version.json", {"layout": folder.LAYOUT + 1, "waypost": "99.0"}, 10, "was written by a newer Waypost (99.0"),
        ("thesis.tex", "mine", 8, "choose another folder with --data-dir"),
    ],
    ids=["a newer version", "other things"],
)
def test_a_folder_that_is_not_ours_to_use_is_left_as_it_is(
    tmp_path: Path, name: str, content: Any, code: int, words: str
) -> None:
    """Code 10 for a newer version, 8 for somebody's own files; not a byte changes."""
    (tmp_path / name).write_text(json.dumps(content))
    before = fingerprint(tmp_path)
    found, sentence = refused(tmp_path)
    assert (found, words in sentence) == (code, True), sentence
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("option", ["--http-port", "--relay-port"])
def test_a_port_in_use_is_code_8_and_names_its_option(tmp_path: Path, option: str) -> None:
    """Before anything is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, sentence = refused(tmp_path / "data", option, str(port))
    assert code == 8
    assert f"Port {port} of 127.0.0.1 is in use by another program: choose another with {option}" in sentence
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_wrong_setting_is_code_2_and_named_with_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whichever process it is; what had started is stopped again."""
    monkeypatch.setenv("WAYPOST_RESULTS_DAYS", "-3")
    code, sentence = refused(tmp_path / "data")
    assert (code, "WAYPOST_RESULTS_DAYS is '-3': must be a whole number from 1 to 3650" in sentence) == (2, True), (
        sentence
    )


def test_a_second_up_on_the_same_folder_is_code_8(platform: Platform) -> None:
    """It names the first one and how to stop it; that one goes on as it was."""
    supervisor, *others = platform.processes
    before = {entry["name"]: platform.process(entry["name"])["pid"] for entry in others}
    done = up(platform.data_dir)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (8, "", 1)
    assert f"already runs on {platform.data_dir} (process {supervisor['pid']}): stop it with" in done.stderr
    assert {name: platform.process(name)["pid"] for name in before} == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB, of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:  # noqa: S603
        pytest.skip("nobody may mount a disk here")
    yield place
    subprocess.run(["umount", str(place)], check=True)  # noqa: S603, S607


def test_a_full_disk_is_code_1_with_what_is_free_and_what_is_needed(small_disk: Path) -> None:
    """A real one, nearly full and to the last byte: nothing is begun, and there is no traceback."""
    code, sentence = refused(small_disk / "data")
    assert code == 1
    assert "MiB free, a start needs 200 MiB: make room or choose another folder with --data-dir." in sentence
    with (small_disk / "filler").open("wb") as filler:
        filler.write(b"\0" * 4096)
        os.posix_fallocate(filler.fileno(), 0, os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)
    code, sentence = refused(small_disk / "other")
    assert (code, "make room" in sentence) == (1, True), sentence
    assert not list(small_disk.rglob("postgres"))
