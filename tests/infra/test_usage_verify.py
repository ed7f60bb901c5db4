"""`waypost admin usage verify` on a running platform."""

import json
import subprocess
from typing import Any

from tests.bench.stack import WAYPOST


def test_the_command_says_how_many_sums_it_looked_at(platform: Any) -> None:
    """JSON where stdout is no terminal; the exit code says whether every sum is right. (Other tests take rows of this
    platform away on purpose, so here either may be.)"""
    command = [WAYPOST, "admin", "usage", "verify", "--hours", "2", "--data-dir", str(platform.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["intact"] else 1), done.stderr
    assert answer["days"]["differences"] == 0
    assert answer["hours"]["differences"] == 0 or answer["hours"]["first"]["meter"] in done.stderr
    refused = subprocess.run([*command, "--hours", "0"], capture_output=True, timeout=60, check=False)  # noqa: S603
    assert refused.returncode == 2
