"""What is installed is pinned: versions, hashes, and no word of where it came from (decision 37)."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
_PIN = re.compile(r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+( ; .+)?", re.IGNORECASE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_its_hashes(path: Path) -> None:
    """And no address of an index: whoever installs says where from."""
    text = path.read_text().replace("\\\n", "")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines
    for line in lines:
        pin, *hashes = re.split(r"\s+--hash=", line)
        assert _PIN.fullmatch(pin.strip()), line
        assert hashes, line
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", found) for found in hashes), line
    assert "://" not in text


def test_the_consoles_lock_has_hashes_and_no_addresses() -> None:
    """Every package but our own."""
    packages = json.loads((ROOT / "console" / "package-lock.json").read_text())["packages"]
    found = {name: package for name, package in packages.items() if name and not package.get("link")}
    assert found
    assert not [name for name, package in found.items() if "resolved" in package]
    assert not [name for name, package in found.items() if not package.get("integrity", "").startswith("sha512-")]


def test_the_makefile_installs_from_the_pinned_files_only() -> None:
    """With their hashes required; our own distributions without asking for anything more."""
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert all(
        "--require-hashes -r requirements/" in line or "--no-deps --no-build-isolation" in line for line in installs
    )
