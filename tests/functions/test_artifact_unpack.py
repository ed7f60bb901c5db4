"""Archives of every wicked kind: nothing of them is believed, and each is refused with its reason."""

import gzip
import io
import json
import resource
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable

import pytest

from functions.artifact.content import content_type, describe, mismatch
from functions.artifact.unpack import MAX_MEMBER_BYTES, MAX_MEMBERS, UnsafeError, unpack
from waypost.artifact.bundle import KNOWN
from waypost.artifact.model import ArtifactType

FILES = {"spec.kv": b"a=1\n", "runtime.json": b"{}", "logs/other.txt": b"x"}


def tar_of(
    files: dict[str, bytes], *, packed: bool = True, edit: Callable[[tarfile.TarInfo], None] | None = None
) -> bytes:
    """A tar, gzipped unless told not to be; `edit` changes each header."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if packed else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if edit is not None:
                edit(info)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_of(files: dict[str, bytes], mode: int = 0o644 | stat.S_IFREG) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    return unpack(io.BytesIO(data), len(data), KNOWN)


def refusal(data: bytes) -> str:
    with pytest.raises(UnsafeError) as error:
        unpacked(data)
    return error.value.reason.code


MAKERS = {"tar.gz": tar_of, "tar": lambda files: tar_of(files, packed=False), "zip": zip_of}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("folder", ["", "bundle-12/", "./"])
def test_an_archive_gives_its_known_files(make: Callable[[dict[str, bytes]], bytes], folder: str) -> None:
    """Of every kind, with a folder around them or without."""
    found = unpacked(make({folder + name: data for name, data in FILES.items()}))
    assert found == {"spec.kv": b"a=1\n", "runtime.json": b"{}"}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    "name",
    [
        "../spec.kv",
        "a/../../spec.kv",
        "/etc/passwd",
        "..",
        "a\\..\\b",
        "C:/x",
        "C:x",
        "a\nb",
        "x" * 300,
        "a/" * 9 + "b",
    ],
)
def test_a_path_that_leads_out_is_refused(make: Callable[[dict[str, bytes]], bytes], name: str) -> None:
    """Whatever system would understand it so."""
    assert refusal(make({"spec.kv": b"a=1", name: b"x"})) == "unsafe_path"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_a_device_is_refused(kind: bytes) -> None:
    """In a tar."""

    def edit(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    assert refusal(tar_of({"spec.kv": b""}, edit=edit)) == "unsafe_member"


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_in_a_zip_is_refused(mode: int) -> None:
    """By the mode that its directory tells."""
    assert refusal(zip_of({"spec.kv": b"/etc/passwd"}, mode | 0o777)) == "unsafe_member"


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_name_that_comes_twice_is_refused(make: Callable[[dict[str, bytes]], bytes]) -> None:
    """Also written in another way: one reader would take the first, another one the last."""
    assert refusal(make({"a/spec.kv": b"1", "a//./spec.kv": b"2"})) == "repeated_member"


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_too_many_members_are_refused(make: Callable[[dict[str, bytes]], bytes]) -> None:
    """One over the limit."""
    assert refusal(make({f"f{number}": b"" for number in range(MAX_MEMBERS + 1)})) == "too_many_members"
    assert unpacked(make({f"f{number}": b"" for number in range(MAX_MEMBERS)})) == {}


def test_a_million_members_cost_neither_memory_nor_time() -> None:
    """A zip's directory is read only when it is small; a tar is left after a thousand."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    directory = entry * 1_000_000
    lying = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 3, 3, len(directory), 0, 0)
    header = tarfile.TarInfo("x").tobuf()
    many = gzip.compress(header * 200_000, 1)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    assert refusal(directory + lying) == "too_many_members"
    assert refusal(many) in ("repeated_member", "too_many_members", "archive_ratio")
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """Ten thousand times its size: gzip, and zip whose headers lie about it or do not."""
    zeros = bytes(MAX_MEMBER_BYTES)
    began = time.process_time()
    assert refusal(gzip.compress(gzip.compress(zeros * 8)))  # not a tar once it is unpacked
    assert refusal(tar_of({"spec.kv": zeros})) == "archive_ratio"
    assert refusal(zip_of({"spec.kv": zeros})) == "archive_ratio"
    small = bytearray(zip_of({"spec.kv": zeros}))
    at = small.rfind(b"PK\1\2")
    struct.pack_into("<L", small, at + 24, 10)  # its directory says ten bytes
    assert refusal(bytes(small)) in ("archive_damaged", "archive_ratio")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_member_that_is_too_large_is_refused(make: Callable[[dict[str, bytes]], bytes]) -> None:
    """One byte over the limit, of what does not pack."""
    noise = b"".join(bytes((number * 7919 + shift) % 251 for shift in range(64)) for number in range(4_096))
    large = (noise * (MAX_MEMBER_BYTES // len(noise) + 1))[: MAX_MEMBER_BYTES + 1]
    assert refusal(make({"spec.kv": large})) in ("member_too_large", "archive_ratio")


def test_a_header_that_claims_much_is_not_believed() -> None:
    """An extended header of a gigabyte, a sparse file of a terabyte."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    assert refusal(info.tobuf() + bytes(4096)) == "archive_damaged"
    sparse = tarfile.TarInfo("spec.kv")
    sparse.type = tarfile.GNUTYPE_SPARSE
    assert refusal(sparse.tobuf(tarfile.GNU_FORMAT) + bytes(2048)) in ("unsafe_member", "archive_damaged")


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_archive_cut_anywhere_is_refused_or_whole(make: Callable[[dict[str, bytes]], bytes]) -> None:
    """Never a file that is shorter than it was."""
    whole = make({name: data * 500 for name, data in FILES.items()})
    good = unpacked(whole)
    for tenth in range(10):
        cut = whole[: len(whole) * tenth // 10]
        try:
            found = unpacked(cut)
        except UnsafeError:
            continue
        assert found.items() <= good.items()


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\3\4", b"\x1f\x8b", b"\x1f\x8b\x08" + bytes(50), b"x" * 5000, b"\0" * 5000]
)
def test_what_is_no_archive_is_refused_or_empty(data: bytes) -> None:
    """Without any other error."""
    try:
        assert unpacked(data) == {}
    except UnsafeError as error:
        assert error.reason.code == "archive_damaged"  # noqa: PT017 - either may be


def test_an_encrypted_zip_is_refused() -> None:
    """It cannot be looked at."""
    locked = bytearray(zip_of({"spec.kv": b"a=1"}))
    struct.pack_into("<H", locked, locked.rfind(b"PK\1\2") + 8, 1)
    assert refusal(bytes(locked)) == "unsafe_member"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@pytest.mark.parametrize(
    ("head", "declared", "found"),
    [
        (PNG, None, "image/png"),
        (PNG, "image/jpeg", "image/png"),
        (b"", None, "text/plain"),
        (b'{"a": 1}', None, "application/json"),
        (b"a,b\n1,2\n", "text/csv", "text/csv"),
        ("héllo".encode(), None, "text/plain"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", None, "application/pdf"),
        (gzip.compress(b"x", mtime=0), "application/x-gzip", "application/gzip"),
        (zip_of({"a": b"x"}), None, "application/zip"),
        (bytes(range(256)) * 4, None, "application/octet-stream"),
        (b"x" * (64 << 10), None, "text/plain"),
    ],
)
def test_content_is_known_by_its_own_bytes(head: bytes, declared: str | None, found: str) -> None:
    """What was declared decides only between what it can be."""
    assert content_type(head, declared) == found


def test_content_that_is_not_what_was_declared_is_rejected() -> None:
    """For types with a signature; what merely has another name is none of our business."""
    reason = mismatch("image/png", content_type(b"MZ" + bytes(200), "image/png"))
    assert reason is not None
    assert reason.code == "content_type_mismatch"
    assert mismatch("image/png; q=1", "image/png") is None
    assert mismatch("application/x-own", "text/plain") is None
    assert mismatch(None, "image/png") is None


REPORT = b"report.id=1\nschema.name=x\npolicy.mode=y\ncounts.rows=3\n"
AUDIT = {"audit_v": 1, "policy": {"mode": "dry_run"}, "input": {}, "actions": []}


@pytest.mark.parametrize(
    ("kind", "data", "codes"),
    [
        (ArtifactType.PAYLOAD, b'{"a": 12.50}', []),
        (ArtifactType.PAYLOAD, b"{", ["not_json"]),
        (ArtifactType.PAYLOAD, b'"\xff"', ["not_json"]),
        (ArtifactType.PAYLOAD, b"[" * 100_000, ["not_json"]),
        (ArtifactType.PAYLOAD, b'"' + b"x" * (64 << 10) + "é".encode()[:1] + b'"', ["not_json"]),
        (ArtifactType.PAYLOAD, b'"' + b"x" * ((64 << 10) - 2) + "é".encode() + b'"', []),
        (ArtifactType.SNAPSHOT, b"nothing", ["not_json"]),
        (ArtifactType.REPLAY_AUDIT, json.dumps(AUDIT).encode(), []),
        (ArtifactType.REPLAY_AUDIT, b"{}", ["invalid_file"]),
        (ArtifactType.REPLAY_AUDIT, json.dumps(AUDIT | {"audit_v": 2}).encode(), ["invalid_file"]),
        (ArtifactType.DATAGUARD_REPORT, REPORT, []),
        (ArtifactType.DATAGUARD_REPORT, REPORT.replace(b"counts.rows=3\n", b""), ["group_missing"]),
        (ArtifactType.DATAGUARD_REPORT, b"\x00\x01", ["not_key_value"]),
        (ArtifactType.INCIDENT_BUNDLE, PNG, ["not_an_archive"]),
    ],
)
def test_each_type_holds_what_it_says(kind: ArtifactType, data: bytes, codes: list[str]) -> None:
    """Else it is rejected, with the reason."""
    found = describe(kind, content_type(data), io.BytesIO(data), len(data))
    assert [reason.code for reason in found.reasons] == codes
