"""What `waypost up` is asked for."""

import os
from pathlib import Path

import msgspec

DEFAULT_FOLDER = ".waypost"


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Ports: 0 = any free one. `json_lines` is the form of the log lines."""

    data_dir: str  # absolute; text, so that it passes as JSON to a process of its own
    http_port: int = 8080
    relay_port: int = 9090
    relays: int = 1
    gateways: int = 1
    workers: int = 1
    json_lines: bool = False
    log_level: str = "info"


def data_dir(given: Path | None) -> Path:
    """`--data-dir`, else WAYPOST_DATA_DIR, else `.waypost` here; absolute."""
    return (given or Path(os.environ.get("WAYPOST_DATA_DIR") or DEFAULT_FOLDER)).expanduser().resolve()
