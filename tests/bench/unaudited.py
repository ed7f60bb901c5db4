"""A gateway that writes no audit entry for what operations change: what the audit costs is measured against it.

Run as `python -P -m tests.bench.unaudited` with a gateway's variables. For the bench only.
"""

import runpy
from typing import Any

from storage.postgres.tenancy import unit


async def _nothing(*_: Any) -> None:
    """In the place of the insert."""


if __name__ == "__main__":
    unit.insert_audit = _nothing
    runpy.run_module("gateway", run_name="__main__")
