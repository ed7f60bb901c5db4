"""`waypost migrate` on a running platform: what it prints, and its exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import Platform


def waypost(*arguments: str | Path) -> Any:
    command = [sys.executable, "-P", "-m", "waypost_sdk.command.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own command


def test_a_check_lists_control_and_every_environment(platform: Platform, environment: Any) -> None:
    """JSON where nobody looks: versions found and needed; exit code 0 when all are current, also of applying."""
    for option in ("--check", "--apply"):
        done = waypost("migrate", option, "--data-dir", platform.data_dir)
        found = json.loads(done.stdout)
        assert (done.returncode, found["control"]["state"]) == (0, "current"), done.stderr
        assert found["control"]["version"] == found["control"]["needed"]
        (own,) = [one for one in found["environments"] if one["id"] == environment.id]
        assert (own["slug"], own["state"], own["version"]) == (environment.slug, "current", own["needed"])


def test_wrong_use_is_said_with_its_exit_code(tmp_path: Path) -> None:
    """Neither or both options: 2. Nothing running: 7. Nobody there: 9."""
    assert waypost("migrate").returncode == 2
    assert waypost("migrate", "--check", "--apply").returncode == 2
    nothing = waypost("migrate", "--check", "--data-dir", tmp_path)
    assert (nothing.returncode, "Nothing is running" in nothing.stderr) == (7, True)
    away = waypost("migrate", "--check", "--url", f"postgresql://waypost_owner:secret@/waypost?host={tmp_path}")
    assert away.returncode == 9
    assert "secret" not in away.stderr
    assert "Traceback" not in away.stderr
