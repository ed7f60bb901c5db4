"""What `waypost up` hands on to its processes."""

from pathlib import Path

import pytest

from infra.local.folder import DataFolder
from infra.local.option import UpOptions
from infra.local.platform import Addresses, programs


def test_tunable_settings_are_handed_on_and_nothing_else_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller's WAYPOST_KEY or database never reaches a process; a setting with a default does, a port does not."""
    monkeypatch.setenv("WAYPOST_SLOW_POLL_SECONDS", "2")
    monkeypatch.setenv("WAYPOST_KEY", "wp_of_the_caller")
    monkeypatch.setenv("WAYPOST_DATABASE_URL", "postgresql://elsewhere")
    monkeypatch.setenv("WAYPOST_INTERNAL_PORT", "4711")
    monkeypatch.setenv("WAYPOST_READY_FD", "3")
    folder = DataFolder(tmp_path)
    folder.open()
    addresses = Addresses(http_port=1, relay_port=2, s3_endpoint="http://127.0.0.1:3", valkey_port=4)
    try:
        environments = [p.environment for p in programs(folder, UpOptions(data_dir=str(tmp_path)), addresses)]
    finally:
        folder.close()
    for environment in environments:
        assert environment["WAYPOST_SLOW_POLL_SECONDS"] == "2"
        assert "WAYPOST_KEY" not in environment
        assert "elsewhere" not in environment["WAYPOST_DATABASE_URL"]
        assert environment["WAYPOST_INTERNAL_PORT"] == "0"
        assert "WAYPOST_READY_FD" not in environment
    assert len(environments) == 3
