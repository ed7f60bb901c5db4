"""Settings of the three processes, read from the environment once, at the start.

Responsible for: one table of variables (`SETTINGS`), one frozen struct a process, and an error that names every wrong
variable with its value. Refuses: files, defaults hidden elsewhere, and showing a secret, in `repr` or in an error.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from waypost.limit.model import LIMITS, REQUESTS
from waypost.subscription.address import Network, read_subnets
from waypost.telemetry.model import LogFormat, LogLevel


class Secret(str):
    """Text that is used like any other but does not show itself in `repr`, hence in no log of a struct."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"


class SettingsError(Exception):
    """One or more variables are missing or wrong; `str` is one line a variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Setting(msgspec.Struct, frozen=True):
    """One variable: how its text is read, what it means, its default as text (None: it must be given)."""

    parse: Callable[[str], Any]
    meaning: str
    default: str | None = None
    secret: bool = False


def _url(*schemes: str) -> Callable[[str], Secret]:
    def parse(text: str) -> Secret:
        parts = urlsplit(text)
        if parts.scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        _ = parts.port  # raises ValueError when it is no port
        return Secret(text)

    return parse


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not text.isascii() or not text.replace(".", "", 1).isdigit() or not 0 < float(text) <= 86_400:
        raise ValueError("must be a number of seconds above 0, at most 86400")
    return float(text)


def _text(text: str) -> str:
    if not text or text != text.strip():
        raise ValueError("must not be empty or begin or end with blanks")
    return text


def _secret(text: str) -> Secret:
    return Secret(_text(text))


def _http(text: str) -> str:
    _url("http", "https")(text)
    return text.rstrip("/")


def _path(text: str) -> Path:
    path = Path(_text(text))
    if not path.is_file():
        raise ValueError("must be an existing file")
    return path


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _limits(text: str) -> dict[str, int]:
    """`nodes=500,waiting_jobs=100000`. Requests a second have settings of their own."""
    pairs = [pair.strip().partition("=") for pair in text.split(",")]
    found: dict[str, int] = {}
    for name, _, value in pairs:
        limit = LIMITS.get(name)
        if limit is None or name == REQUESTS or name in found:
            raise ValueError(f"{name!r} is not one limit of docs/limits.md, named once")
        found[name] = _number(limit.least, limit.most)(value)
    return found


_postgres = _url("postgresql", "postgres")

SETTINGS: dict[str, Setting] = {
    "database_url": Setting(_postgres, "PostgreSQL as this process's own role", secret=True),
    "provisioner_database_url": Setting(_postgres, "PostgreSQL as waypost_provisioner", secret=True),
    "valkey_url": Setting(_url("valkey", "redis", "unix"), "Valkey", secret=True),
    "s3_endpoint": Setting(_http, "S3 endpoint, without a path"),
    "s3_public_endpoint": Setting(_http, "S3 endpoint as callers reach it, for presigned addresses; else the same", ""),
    "s3_access_key": Setting(_text, "S3 key that may make buckets and users"),
    "s3_secret_key": Setting(_secret, "its secret", secret=True),
    "kek_file": Setting(_path, "file (0600) with the key-encryption keys, 32 bytes in base64url, one a line", ""),
    "kek": Setting(_secret, "the same keys, with commas between, instead of the file", "", secret=True),
    "http_host": Setting(_text, "address of the public HTTP listener", "127.0.0.1"),
    "http_port": Setting(_number(0, 65535), "its port; 0 = any free one", "8080"),
    "relay_host": Setting(_text, "address of the nodes' listener", "127.0.0.1"),
    "relay_port": Setting(_number(0, 65535), "its port; 0 = any free one", "9090"),
    "internal_port": Setting(_number(0, 65535), "port of /metrics, /healthz, /readyz; 0 = any free one", "0"),
    "relay_tls_cert": Setting(_path, "certificate chain (PEM) of the nodes' listener; empty = plaintext", ""),
    "relay_tls_key": Setting(_path, "its private key (PEM)", ""),
    "slow_poll_seconds": Setting(_seconds, "how often a relay looks at its queues without being woken", "5"),
    "probe_seconds": Setting(_seconds, "how often a relay probes each node; three silent times end its stream", "10"),
    "write_stall_seconds": Setting(_seconds, "how long one write may wait for a node that does not read", "10"),
    "node_grace_seconds": Setting(_seconds, "how long a lost node's attempts wait for word on a new stream", "10"),
    "drain_seconds": Setting(_seconds, "how long a relay that stops waits for what runs", "30"),
    "public_url": Setting(_http, "the API's address as clients are told it"),
    "relay_address": Setting(_text, "host:port of the relays as nodes are told it"),
    "rate_limit_per_second": Setting(_number(1, 10**9), "requests a second that one credential may make", "20000"),
    "rate_limit_burst": Setting(_number(1, 10**9), "requests that it may make at once after a pause", "40000"),
    "limits": Setting(_limits, "default limits that differ from the built-in ones, such as nodes=500,projects=20", ""),
    "delete_grace_seconds": Setting(
        _seconds, "how long running jobs of an environment that is deleted may go on", "60"
    ),
    "reconcile_seconds": Setting(_seconds, "how often workers look for what a crash left of environments", "300"),
    "results_days": Setting(_number(1, 3650), "days that payloads and results are kept after a job's end", "7"),
    "job_days": Setting(_number(30, 3650), "days that jobs are kept, by weeks; at least 30", "30"),
    "log_days": Setting(_number(1, 3650), "days that logs of attempts are kept after their job's end", "30"),
    "firing_days": Setting(_number(1, 3650), "days that firings of triggers are kept", "30"),
    "delivery_days": Setting(_number(1, 3650), "days that deliveries of subscriptions are kept after their end", "30"),
    "artifact_days": Setting(_number(1, 3650), "days that artifacts are kept that nothing refers to", "30"),
    "audit_days": Setting(_number(90, 3650), "days that audit entries are kept, by batches; at least 90", "365"),
    "audit_seal_seconds": Setting(_seconds, "how often the audit is sealed", "60"),
    "usage_seconds": Setting(_seconds, "how often usage is added up, and calls of the API are written down", "10"),
    "delivery_allow": Setting(
        read_subnets,
        "subnets that webhooks may be delivered to beside public addresses, such as 10.0.0.0/8,fd00::/8",
        "",
    ),
    "process_name": Setting(_text, "name of this process, such as gateway-1"),
    "ready_fd": Setting(_number(0, 1 << 20), "file descriptor told when the process serves; empty = none", ""),
    "log_format": Setting(_one_of("console", "json"), "how log lines look", "console"),
    "log_level": Setting(_one_of("debug", "info", "warning", "error"), "least level that is logged", "info"),
}


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every process has."""

    database_url: Secret
    valkey_url: Secret
    s3_endpoint: str
    kek_file: Path | None
    kek: Secret | None
    internal_port: int
    process_name: str
    ready_fd: int | None
    log_format: LogFormat
    log_level: LogLevel


class GatewaySettings(ProcessSettings, frozen=True, kw_only=True):
    """The public HTTP API."""

    http_host: str
    http_port: int
    public_url: str
    relay_address: str
    rate_limit_per_second: int
    rate_limit_burst: int
    results_days: int
    job_days: int
    log_days: int
    firing_days: int
    delivery_days: int
    artifact_days: int
    audit_days: int
    usage_seconds: float = 10.0
    s3_public_endpoint: str | None = None
    limits: dict[str, int] | None = None


class RelaySettings(ProcessSettings, frozen=True, kw_only=True):
    """The nodes' listener. `public_url` is where tokens come from."""

    relay_host: str
    relay_port: int
    relay_tls_cert: Path | None
    relay_tls_key: Path | None
    slow_poll_seconds: float
    probe_seconds: float
    write_stall_seconds: float
    node_grace_seconds: float
    drain_seconds: float
    public_url: str
    limits: dict[str, int] | None = None


class WorkerSettings(ProcessSettings, frozen=True, kw_only=True):
    """Platform functions and timers; the only process that may make roles, buckets and users."""

    provisioner_database_url: Secret
    s3_access_key: str
    s3_secret_key: Secret
    delete_grace_seconds: float
    reconcile_seconds: float
    results_days: int
    job_days: int
    log_days: int
    firing_days: int
    delivery_days: int
    artifact_days: int
    audit_days: int
    audit_seal_seconds: float
    usage_seconds: float = 10.0
    delivery_allow: tuple[Network, ...] | None = None
    limits: dict[str, int] | None = None


def variable(field: str) -> str:
    """The environment variable of a setting: `http_port` → `WAYPOST_HTTP_PORT`."""
    return f"WAYPOST_{field.upper()}"


_S = TypeVar("_S", bound=ProcessSettings)


def _read(kind: type[_S], environ: Mapping[str, str]) -> _S:
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in kind.__struct_fields__:
        setting, name = SETTINGS[field], variable(field)
        text = environ.get(name) or setting.default
        if text is None:
            problems.append(f"{name} is not set: {setting.meaning}")
        elif text == "":
            values[field] = None
        else:
            try:
                values[field] = setting.parse(text)
            except ValueError as error:
                shown = "(not shown)" if setting.secret else repr(text)
                problems.append(f"{name} is {shown}: {error}")
    if len({"kek_file", "kek"} & values.keys()) == 2 and (values["kek_file"] is None) == (values["kek"] is None):
        problems.append("either WAYPOST_KEK_FILE or WAYPOST_KEK must be given: where the key-encryption keys are")
    if problems:
        raise SettingsError(problems)
    return kind(**values)


def gateway_settings(environ: Mapping[str, str]) -> GatewaySettings:
    """The gateway's settings; raises SettingsError."""
    return _read(GatewaySettings, environ)


def relay_settings(environ: Mapping[str, str]) -> RelaySettings:
    """A relay's settings; raises SettingsError."""
    return _read(RelaySettings, environ)


def worker_settings(environ: Mapping[str, str]) -> WorkerSettings:
    """A worker's settings; raises SettingsError."""
    return _read(WorkerSettings, environ)


def refuse(error: SettingsError) -> NoReturn:
    """Say what is wrong on stderr, one line a variable, and exit with code 2."""
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2)
