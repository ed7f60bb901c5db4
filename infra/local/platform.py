"""The platform's own processes: what each is told in its environment (see waypost.settings)."""

import os
import signal
import sys

import msgspec

from infra.local.folder import DataFolder
from infra.local.option import UpOptions
from infra.local.privilege import child_setup
from infra.local.program import Program
from waypost.settings import SETTINGS, variable

HOST = "127.0.0.1"
_OURS = {"WAYPOST_READY_FD", "WAYPOST_KEK", "WAYPOST_KEK_FILE"}
_PYTHON = {"PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"}
_MODULES = {"gateway": "gateway", "relay": "relay", "worker": "functions"}


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is; fixed before anything starts."""

    http_port: int
    relay_port: int
    s3_endpoint: str
    valkey_port: int

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    @property
    def relay_address(self) -> str:
        return f"{HOST}:{self.relay_port}"


def programs(folder: DataFolder, options: UpOptions, addresses: Addresses) -> list[Program]:
    """Workers first: they are what the first environment waits for."""
    counts = {"worker": options.workers, "gateway": options.gateways, "relay": options.relays}
    return [
        _program(folder, options, addresses, kind, f"{kind}-{number}")
        for kind, count in counts.items()
        for number in range(1, count + 1)
    ]


def _program(folder: DataFolder, options: UpOptions, addresses: Addresses, kind: str, name: str) -> Program:
    return Program(
        name=name,
        kind=kind,
        # -P: a folder named `storage` or `jobs` where the user happens to be is not ours (decision 32).
        arguments=(sys.executable, "-P", "-m", _MODULES[kind]),
        environment=_inherited() | _shared(folder, options, addresses, kind, name) | _own(folder, addresses, kind),
        folder=folder.root,
        setup=child_setup(signal.SIGTERM, batch=kind != "gateway"),  # who answers people goes first
        start_seconds=60,
    )


def _inherited() -> dict[str, str]:
    """The caller's environment without what would lead the processes elsewhere; tunable settings are handed on."""
    tunable = {variable(field) for field, setting in SETTINGS.items() if setting.default is not None} - _OURS
    return {
        name: value
        for name, value in os.environ.items()
        if name in tunable or not (name.startswith("WAYPOST_") or name in _PYTHON)
    }


def _shared(folder: DataFolder, options: UpOptions, addresses: Addresses, kind: str, name: str) -> dict[str, str]:
    passwords = folder.passwords()
    return {
        "WAYPOST_PROCESS_NAME": name,
        "WAYPOST_DATABASE_URL": _database(folder, f"waypost_{kind}"),
        "WAYPOST_VALKEY_URL": f"valkey://{kind}:{passwords[f'valkey_{kind}']}@{HOST}:{addresses.valkey_port}/0",
        "WAYPOST_S3_ENDPOINT": addresses.s3_endpoint,
        **folder.kek_variables(),
        "WAYPOST_PUBLIC_URL": addresses.api_url,
        "WAYPOST_RELAY_ADDRESS": addresses.relay_address,
        "WAYPOST_INTERNAL_PORT": "0",
        "WAYPOST_LOG_FORMAT": "json" if options.json_lines else "console",
        "WAYPOST_LOG_LEVEL": options.log_level,
    }


def _own(folder: DataFolder, addresses: Addresses, kind: str) -> dict[str, str]:
    passwords = folder.passwords()
    if kind == "gateway":
        return {"WAYPOST_HTTP_HOST": HOST, "WAYPOST_HTTP_PORT": str(addresses.http_port)}
    if kind == "relay":
        return {"WAYPOST_RELAY_HOST": HOST, "WAYPOST_RELAY_PORT": str(addresses.relay_port)}
    return {
        "WAYPOST_PROVISIONER_DATABASE_URL": _database(folder, "waypost_provisioner"),
        "WAYPOST_S3_ACCESS_KEY": passwords["s3_access_key"],
        "WAYPOST_S3_SECRET_KEY": passwords["s3_secret_key"],
    }


def _database(folder: DataFolder, role: str) -> str:
    return f"postgresql://{role}:{folder.passwords()[role]}@/waypost?host={folder.socket_dir}"
