"""What content is, by its own bytes, and whether that fits what the artifact says it is."""

import codecs
from collections.abc import Callable, Mapping
from typing import IO, Any

import msgspec
import puremagic

from functions.artifact.unpack import UnsafeError, unpack
from waypost.artifact.bundle import KNOWN, Description, describe_bundle
from waypost.artifact.model import ArtifactType, Reason
from waypost.artifact.spec import SpecError, canonical_pairs

HEAD_BYTES = 64 << 10
MAX_DOCUMENT_BYTES = 16 << 20  # of what is made into objects
MAX_CHECKED_BYTES = 64 << 20  # of JSON and text: larger content of these types is refused
OCTETS = "application/octet-stream"
_JSON, _TEXT, _ZIP, _GZIP, _TAR = (
    "application/json",
    "text/plain",
    "application/zip",
    "application/gzip",
    "application/x-tar",
)
_SAME = {"application/x-gzip": _GZIP, "application/x-zip-compressed": _ZIP, "image/jpg": "image/jpeg"}
# Types that content of has a signature of its own: declared, the signature must be there.
_SIGNED = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", _ZIP, _GZIP, _TAR, "video/mp4"}
)
_REPORT_GROUPS = ("report", "schema", "policy", "counts")


def content_type(head: bytes, declared: str | None = None) -> str:
    """The media type of content that begins so; `declared` decides where several fit, and for kinds of text."""
    wanted = _plain(declared)
    possible = [_plain(match.mime_type) for match in _matches(head) if match.mime_type]
    if wanted in possible:
        return wanted
    for signature, kind in ((b"PK\x03\x04", _ZIP), (b"PK\x05\x06", _ZIP), (b"\x1f\x8b", _GZIP)):
        if head.startswith(signature):
            return kind
    if _is_text(head):
        if head.lstrip()[:1] in (b"{", b"["):
            return _JSON
        return wanted if wanted.startswith("text/") else _TEXT
    return possible[0] if possible else OCTETS


def mismatch(declared: str | None, found: str) -> Reason | None:
    """Why content that is declared as one thing and is another is rejected; None when it may be."""
    wanted = _plain(declared)
    if wanted not in _SIGNED or wanted == found:
        return None
    return Reason("content_type_mismatch", f"The content was declared as {wanted} and is {found}.")


def needs_content(kind: str) -> bool:
    """Whether all of the content is looked at, beyond its hash and its beginning."""
    return kind in _LOOKS


def describe(kind: str, found: str, file: IO[bytes], size_bytes: int) -> Description:
    """Look at the whole content of an artifact of such a type, from a file's beginning. Blocks; may take seconds."""
    return _LOOKS[ArtifactType(kind)](found, file, size_bytes)


def _bundle(found: str, file: IO[bytes], size_bytes: int) -> Description:
    if found not in (_ZIP, _GZIP, _TAR):
        return _rejected("not_an_archive", f"An incident bundle is a zip, tar or gzipped tar archive, not {found}.")
    try:
        return describe_bundle(unpack(file, size_bytes, KNOWN))
    except UnsafeError as error:
        return Description((error.reason,), {}, None)


def _json(_: str, file: IO[bytes], size_bytes: int) -> Description:
    """One JSON value; what is large is not made into objects."""
    if size_bytes > MAX_CHECKED_BYTES:
        return _rejected("content_too_large", f"JSON of at most {MAX_CHECKED_BYTES} bytes is taken.")
    try:
        text = file.read()
        _check_utf8(memoryview(text))
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _rejected("not_json", f"The content is not JSON: {str(error)[:200]}.")
    return Description((), {}, None)


def _check_utf8(text: memoryview) -> None:
    """Raises UnicodeDecodeError; never holds the text as characters, which may take four times its bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), HEAD_BYTES):
        decoder.decode(text[start : start + HEAD_BYTES])
    decoder.decode(b"", final=True)


def _audit(found: str, file: IO[bytes], size_bytes: int) -> Description:
    if size_bytes > MAX_DOCUMENT_BYTES:
        return _rejected("content_too_large", f"A replay audit has at most {MAX_DOCUMENT_BYTES} bytes.")
    looked = _json(found, file, size_bytes)
    if looked.reasons:
        return looked
    file.seek(0)
    try:
        audit = msgspec.json.decode(file.read(), type=_ReplayAudit)
    except msgspec.ValidationError as error:
        return _rejected("invalid_file", f"The content is no replay audit: {str(error)[:200]}.")
    if audit.audit_v != 1:
        return _rejected("invalid_file", f"The replay audit has version {audit.audit_v}; this platform reads 1.")
    return Description((), {"fields": {"replay_mode": audit.policy.mode}}, None)


class _Policy(msgspec.Struct):
    mode: str


class _ReplayAudit(msgspec.Struct):
    audit_v: int
    policy: _Policy
    input: dict[str, Any]
    actions: list[Any]


def _report(_: str, file: IO[bytes], size_bytes: int) -> Description:
    """kv/v1 text with the groups that every DataGuard report has (governance contract §8.2)."""
    if size_bytes > MAX_DOCUMENT_BYTES:
        return _rejected("content_too_large", f"A DataGuard report has at most {MAX_DOCUMENT_BYTES} bytes.")
    try:
        lines = canonical_pairs(file.read()).decode().splitlines()
    except SpecError as error:
        return _rejected("not_key_value", f"The content is not key-value text: {error}.")
    groups = {line.partition("=")[0].partition(".")[0] for line in lines}
    if missing := [name for name in _REPORT_GROUPS if name not in groups]:
        return _rejected("group_missing", f"The report has no group {', '.join(missing)}.")
    return Description((), {"groups": sorted(groups)}, None)


_LOOKS: Mapping[ArtifactType, Callable[[str, IO[bytes], int], Description]] = {
    ArtifactType.INCIDENT_BUNDLE: _bundle,
    ArtifactType.PAYLOAD: _json,
    ArtifactType.SNAPSHOT: _json,
    ArtifactType.REPLAY_AUDIT: _audit,
    ArtifactType.DATAGUARD_REPORT: _report,
}


def _rejected(code: str, message: str) -> Description:
    return Description((Reason(code, message),), {}, None)


def _matches(head: bytes) -> list[Any]:
    if not head:
        return []
    try:
        return puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return []


def _is_text(head: bytes) -> bool:
    """Whether it is UTF-8 without control characters; the end of the head may cut a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def _plain(kind: str | None) -> str:
    name = (kind or "").partition(";")[0].strip().lower()
    return _SAME.get(name, name)
