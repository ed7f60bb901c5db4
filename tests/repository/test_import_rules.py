"""The import contracts of pyproject.toml hold, and a violation of any direction is noticed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "waypost": ROOT,
    "storage": ROOT,
    "jobs": ROOT,
    "functions": ROOT,
    "gateway": ROOT,
    "relay": ROOT,
    "infra": ROOT,
    "waypost_contracts": ROOT / "proto",
    "waypost_sdk": ROOT / "sdk",
}

VIOLATIONS = [
    ("waypost/violation.py", "import storage", "Imports point one way"),
    ("gateway/violation.py", "import functions", "Imports point one way"),
    ("waypost/violation.py", "import asyncpg", "The core has no framework and no driver"),
    ("jobs/violation.py", "import asyncpg", "Databases and buckets stay in storage"),
    ("gateway/violation.py", "import sqlalchemy", "The gateway starts without ORM and AWS libraries"),
    ("waypost_sdk/violation.py", "import waypost", "The SDK knows the contracts only"),
    ("relay/violation.py", "import waypost_sdk", "No server package imports the SDK"),
    ("storage/violation.py", "import litestar", "HTTP serving stays in the gateway"),
    ("gateway/violation.py", "import dramatiq", "Dramatiq stays in jobs and functions"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and their contracts, where they may be broken."""
    folder = tmp_path_factory.mktemp("copy")
    for name, parent in PACKAGES.items():
        shutil.copytree(parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environ = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)  # noqa: S603


def test_the_packages_keep_the_import_rules(copy: Path) -> None:
    """The tree as it stands breaks no contract."""
    answer = check(copy)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(("place", "line", "contract"), VIOLATIONS)
def test_a_violation_breaks_its_contract(copy: Path, place: str, line: str, contract: str) -> None:
    """One import in the wrong direction fails the check and is told by the contract's name."""
    module = copy / place
    module.write_text(f"{line}\n")
    try:
        answer = check(copy)
    finally:
        module.unlink()
    assert answer.returncode == 1
    assert f"{contract} BROKEN" in answer.stdout
