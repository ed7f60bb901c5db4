"""What an incident bundle must hold (governance contract §8.2), what is found in it, and what of that may be shown.

Works on the bundle's own files by name, already unpacked. Every fault becomes a reason; nothing is raised. Variables
and arguments of the process are shown redacted only.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from waypost import document
from waypost.artifact.model import Reason
from waypost.artifact.redaction import redact_arguments, redact_pair, redact_text
from waypost.artifact.spec import SpecError, canonical_spec, spec_hash
from waypost.errors import WaypostError

SPEC = "spec.kv"
REQUIRED = (SPEC, "spec_validation.json", "runtime.json", "policy_audit.json", "environment.json")
CONDITIONAL = ("runtime_config.txt", "single_ring_snapshot.json", "lane_graph_state.json")
KNOWN = frozenset((*REQUIRED, *CONDITIONAL))
MAX_FIELD_CHARACTERS = 200


class SpecValidation(msgspec.Struct):
    """`spec_validation.json`."""

    ok: bool
    description: str | None = None
    error: str | None = None


class Crate(msgspec.Struct):
    name: str
    version: str


class Runtime(msgspec.Struct):
    """`runtime.json`."""

    crate: Crate


class PolicyAudit(msgspec.Struct):
    """`policy_audit.json`."""

    ok: bool
    policy_version: int
    mode: str
    enforced: bool
    stage_failure_policy: str
    spec_path: str
    runtime_crate: Crate
    lane_path: str | None = None
    wait: Any = None
    spec: Any = None
    error: Any = None


class ProcessEnvironment(msgspec.Struct):
    """`environment.json`."""

    pid: int
    args: list[str]
    env: list[tuple[str, str]]
    cwd: str | None = None
    proc_status: str | None = None


class Description(msgspec.Struct, frozen=True):
    """What a bundle is: reasons to reject it (none: it is good), what may be shown, what can be searched for."""

    reasons: tuple[Reason, ...]
    facts: dict[str, Any]
    spec_hash: str | None


def describe_bundle(files: Mapping[str, bytes]) -> Description:
    """Look at a bundle's known files by name."""
    reasons = [Reason("file_missing", f"The bundle has no {name}.") for name in REQUIRED if name not in files]
    facts: dict[str, Any] = {}
    for name, look in _LOOKS.items():
        if name in files:
            try:
                facts |= look(files[name])
            except (WaypostError, msgspec.ValidationError, _FaultError) as error:
                why = error.detail if isinstance(error, WaypostError) else str(error)
                reasons.append(Reason("invalid_file", f"{name}: {why}"[:500]))
    found = None
    if SPEC in files:
        try:
            found = spec_hash(canonical_spec(files[SPEC]))
        except SpecError as error:
            reasons.append(Reason("invalid_spec", f"{SPEC}: {error}."[:500]))
    facts["files"] = sorted(files)
    facts["fields"] = _fields(facts)
    return Description(tuple(reasons), facts, found)


class _FaultError(Exception):
    pass


def _validation(text: bytes) -> dict[str, Any]:
    found = _read(text, SpecValidation)
    if (found.description if found.ok else found.error) is None:
        raise _FaultError(f"ok is {str(found.ok).lower()}, so it needs {'a description' if found.ok else 'an error'}")
    return {"validation": {"ok": found.ok, "message": redact_text((found.description or found.error or "")[:2_000])}}


def _runtime(text: bytes) -> dict[str, Any]:
    crate = _read(text, Runtime).crate
    return {"runtime": {"name": crate.name, "version": crate.version}}


def _policy(text: bytes) -> dict[str, Any]:
    found = _read(text, PolicyAudit)
    if found.policy_version != 1:
        raise _FaultError(f"policy_version is {found.policy_version}; this platform reads version 1")
    if found.stage_failure_policy != "stop_pipeline":
        raise _FaultError("stage_failure_policy is stop_pipeline in version 1")
    if (found.spec if found.ok else found.error) is None:
        raise _FaultError("it has a spec when it is ok, an error when it is not")
    return {
        "policy": {
            "ok": found.ok,
            "mode": found.mode,
            "enforced": found.enforced,
            "error": None if found.ok else redact_text(str(found.error)[:2_000]),
        }
    }


def _environment(text: bytes) -> dict[str, Any]:
    found = _read(text, ProcessEnvironment)
    if (names := [name for name, _ in found.env]) != sorted(names):
        raise _FaultError("env is not sorted by key")
    return {
        "environment": {
            "pid": found.pid,
            "cwd": None if found.cwd is None else redact_text(found.cwd),
            "args": redact_arguments(found.args),
            "env": [[name, redact_pair(name, value)] for name, value in found.env],
            "proc_status": None if found.proc_status is None else redact_text(found.proc_status[:20_000]),
        }
    }


def _any_json(text: bytes) -> dict[str, Any]:
    document.verify(text)
    return {}


def _any_text(text: bytes) -> dict[str, Any]:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise _FaultError(f"byte {error.start} is not UTF-8") from None
    return {}


_LOOKS: Mapping[str, Callable[[bytes], dict[str, Any]]] = {
    "spec_validation.json": _validation,
    "runtime.json": _runtime,
    "policy_audit.json": _policy,
    "environment.json": _environment,
    "runtime_config.txt": _any_text,
    "single_ring_snapshot.json": _any_json,
    "lane_graph_state.json": _any_json,
}


def _read(text: bytes, kind: type[Any]) -> Any:
    """Readers ignore fields that they do not know (governance contract §8.2)."""
    document.verify(text)
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise _FaultError(str(error)) from None


def _fields(facts: Mapping[str, Any]) -> dict[str, str]:
    """What lists can be narrowed by, as text."""
    runtime, policy, validation = facts.get("runtime", {}), facts.get("policy", {}), facts.get("validation", {})
    found = {
        "runtime": runtime.get("name"),
        "runtime_version": runtime.get("version"),
        "policy_mode": policy.get("mode"),
        "policy_ok": _said(policy.get("ok")),
        "spec_ok": _said(validation.get("ok")),
    }
    return {name: value[:MAX_FIELD_CHARACTERS] for name, value in found.items() if value is not None}


def _said(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
