"""What `waypost admin backup` and `restore` refuse, each with one sentence, and nothing made or left."""

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from infra.local.admin import restoring
from infra.local.admin.archive import DATABASE, KEK, MANIFEST, OBJECTS, ROLES, Manifest, Reader, Writer
from infra.local.command import register
from infra.local.folder import DataFolder
from infra.local.problem import ExitCode, LocalError
from storage.postgres.version import CONTROL_VERSION, ENVIRONMENT_VERSION
from tests.conftest import processes_of
from waypost import clock
from waypost.secret import KeyEncryptionKey

FORMS = pytest.mark.parametrize("name", ["backup", "backup.tar"])


def make(target: Path, kek: KeyEncryptionKey, *, key_text: bytes | None = None, **more: Any) -> Path:
    """A small backup, whole as far as anybody can tell without restoring it."""
    writer = Writer.create(target)
    for name, content in (
        (DATABASE, os.urandom(3_000_000)),
        (ROLES, b'{"roles": [], "memberships": []}'),
        (OBJECTS, os.urandom(5_000)),
    ):
        with writer.part(name) as sink:
            sink.write(content)
    if key_text is not None:
        with writer.part(KEK) as sink:
            sink.write(key_text)
    facts = {
        "form": 1,
        "waypost": "0.1.0",
        "made_at": clock.now(),
        "postgres": "18.0",
        "transaction": 1,
        "control_version": CONTROL_VERSION,
        "environment_versions": {ENVIRONMENT_VERSION: 1},
        "kek_ids": [kek.id],
        "database_bytes": 1,
        "object_bytes": 1,
        "buckets": [],
        "counts": {},
        "parts": writer.parts,
    }
    return writer.finish(Manifest(**(facts | more)))


@pytest.fixture
def kek_file(tmp_path: Path) -> Path:
    KeyEncryptionKey.create(tmp_path / "kek")
    return tmp_path / "kek"


@pytest.fixture
def kek(kek_file: Path) -> KeyEncryptionKey:
    return KeyEncryptionKey.load(kek_file)


def refused(tmp_path: Path, source: Path, kek_file: Path | None, code: ExitCode, *words: str) -> None:
    """The command ends with the code and one sentence that holds the words; the target was not made."""
    target = tmp_path / "target"
    arguments = ["admin", "restore", "--from", str(source), "--data-dir", str(target)]
    done = waypost(*arguments, *(("--kek", str(kek_file)) if kek_file else ()))
    assert done.exit_code == code, done.output
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("waypost: ")
    assert all(word in sentence for word in words), sentence
    assert not target.exists()


def waypost(*arguments: str) -> Any:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, arguments, catch_exceptions=False, env={"WAYPOST_KEK_FILE": ""})


@FORMS
def test_a_whole_backup_passes(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path, name: str) -> None:
    """Else the others would prove nothing. Its parts are read as they were written, and nobody else may read them."""
    source = make(tmp_path / name, kek)
    reader, key = restoring.check(source, kek_file, Silent())
    reader.close()
    assert key.decode().strip() == kek_file.read_text().strip()
    files = [source] if source.is_file() else [source, *source.iterdir()]
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_the_key_in_a_backup_opens_it(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path) -> None:
    """With --with-key no file needs to be named; a named one that is another key is refused all the same."""
    source = make(tmp_path / "backup.tar", kek, key_text=kek_file.read_bytes())
    reader, key = restoring.check(source, None, Silent())
    reader.close()
    assert key.decode().strip() == kek_file.read_text().strip()
    KeyEncryptionKey.create(tmp_path / "other")
    refused(tmp_path, source, tmp_path / "other", ExitCode.CREDENTIALS, kek.id)


@FORMS
def test_a_backup_that_was_never_finished_is_none(
    tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path, name: str
) -> None:
    """A killed one has parts but no manifest: as a folder it is refused, as a file it never got its name."""
    writer = Writer.create(tmp_path / name)
    with writer.part(DATABASE) as sink:
        sink.write(b"half")
    left = tmp_path / name if name == "backup" else tmp_path / f"{name}.partial"
    assert left.exists()
    refused(tmp_path, left, kek_file, ExitCode.OTHER, str(left))
    refused(tmp_path, tmp_path / "nowhere", kek_file, ExitCode.NOT_FOUND, "no backup")


def test_what_a_killed_backup_left_is_written_over_by_the_next(tmp_path: Path, kek: KeyEncryptionKey) -> None:
    """Not while the other still writes: that one is refused."""
    target = tmp_path / "backup.tar"
    writer = Writer.create(target)
    with writer.part(DATABASE) as sink:
        sink.write(b"half" * 1_000_000)
    with pytest.raises(LocalError, match="being written") as caught:
        Writer.create(target)
    assert caught.value.code is ExitCode.CONFLICT
    del writer, sink  # its process is gone
    reader = Reader.open(make(target, kek))
    reader.verify(lambda _: None)
    reader.close()
    assert list(tmp_path.glob("backup*")) == [target]


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, 3_000_900, -1024, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path, kept: int) -> None:
    """Cut anywhere: in a header, in a part, before the manifest or in it."""
    source = make(tmp_path / "backup.tar", kek)
    content = source.read_bytes().rstrip(b"\0")
    source.write_bytes(content[:kept])
    refused(tmp_path, source, kek_file, ExitCode.OTHER, str(source))


@pytest.mark.parametrize("part", [DATABASE, ROLES, OBJECTS])
def test_a_part_that_differs_is_named(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path, part: str) -> None:
    """One bit, a missing end, a missing part."""
    source = make(tmp_path / "backup", kek)
    path = source / part
    content = path.read_bytes()
    for altered, word in (
        (bytes([content[0] ^ 1]) + content[1:], "SHA-256"),
        (content[:-1], "bytes"),
        (content + b"x", "bytes"),
    ):
        path.write_bytes(altered)
        refused(tmp_path, source, kek_file, ExitCode.OTHER, part, word)
    path.unlink()
    refused(tmp_path, source, kek_file, ExitCode.OTHER, part, "missing")


def test_what_is_no_backup_is_refused(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path) -> None:
    """Another file, another folder, a manifest that is no JSON or of nothing we know."""
    (tmp_path / "text.tar").write_text("hello")
    refused(tmp_path, tmp_path / "text.tar", kek_file, ExitCode.OTHER, "tar")
    (tmp_path / "folder").mkdir()
    refused(tmp_path, tmp_path / "folder", kek_file, ExitCode.OTHER, "no manifest")
    source = make(tmp_path / "backup", kek)
    for text in (b"", b"not json", b"[]", b"{}", b'{"form": "x"}'):
        (source / MANIFEST).write_bytes(text)
        refused(tmp_path, source, kek_file, ExitCode.OTHER, "manifest")


@pytest.mark.parametrize(
    "newer", [{"form": 2}, {"control_version": "9999"}, {"environment_versions": {"0001": 5, "9999": 1}}]
)
@FORMS
def test_a_newer_version_is_refused(
    tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path, name: str, newer: dict[str, Any]
) -> None:
    """Of the backup's form, of the control schema, of any environment's; the sentence says which Waypost to use."""
    source = make(tmp_path / name, kek, **newer, waypost="7.8.9")
    refused(tmp_path, source, kek_file, ExitCode.VERSION, "7.8.9")


def test_a_form_that_nobody_knows_yet_may_look_different(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path) -> None:
    """Nothing but `form` is read of a newer manifest."""
    source = make(tmp_path / "backup", kek)
    (source / MANIFEST).write_bytes(msgspec.json.encode({"form": 2, "waypost": "9", "everything": "else"}))
    refused(tmp_path, source, kek_file, ExitCode.VERSION, "newer Waypost (9)")


def test_a_wrong_or_missing_key_is_refused(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path) -> None:
    """Named by its id; a key file that others may read is none; the key's text is in no answer."""
    source = make(tmp_path / "backup.tar", kek)
    refused(tmp_path, source, None, ExitCode.CREDENTIALS, kek.id, "--kek")
    other = KeyEncryptionKey.create(tmp_path / "other")
    refused(tmp_path, source, tmp_path / "other", ExitCode.CREDENTIALS, kek.id, other.id)
    kek_file.chmod(0o644)
    refused(tmp_path, source, kek_file, ExitCode.CREDENTIALS, "read by others")
    kek_file.chmod(0o600)
    kek_file.write_text("no key\n")
    refused(tmp_path, source, kek_file, ExitCode.CREDENTIALS, "key-encryption key")


def test_a_key_file_with_more_than_one_key_opens_what_any_of_them_wrapped(
    tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path
) -> None:
    """As during a rotation: the new key first, the old one after it."""
    other = KeyEncryptionKey.create(tmp_path / "other")
    source = make(tmp_path / "backup.tar", kek, kek_ids=sorted([kek.id, other.id]))
    refused(tmp_path, source, kek_file, ExitCode.CREDENTIALS, other.id)
    (tmp_path / "other").write_text((tmp_path / "other").read_text() + kek_file.read_text())
    reader, key = restoring.check(source, tmp_path / "other", Silent())
    reader.close()
    assert len(key.split()) == 2


def test_a_folder_that_holds_anything_is_not_restored_into(
    tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path
) -> None:
    """Exit code 8, and what lay there is as it was."""
    source = make(tmp_path / "backup.tar", kek)
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_text("kept")
    done = waypost("admin", "restore", "--from", str(source), "--data-dir", str(target), "--kek", str(kek_file))
    assert done.exit_code == ExitCode.CONFLICT
    assert "not empty" in done.stderr
    assert (target / "mine").read_text() == "kept"


def test_a_restore_that_was_killed_is_begun_again_and_starts_no_platform(tmp_path: Path) -> None:
    """Its folder is not taken for a data folder; the next restore clears it; a finished one is a data folder."""
    folder = DataFolder(tmp_path / "data")
    folder.open_empty()
    (folder.root / "postgres").mkdir()
    folder.close()
    with pytest.raises(LocalError, match="interrupted") as caught:
        DataFolder(folder.root).open()
    assert caught.value.code is ExitCode.CONFLICT
    again = DataFolder(folder.root)
    again.open_empty()
    assert not (folder.root / "postgres").exists()
    with pytest.raises(LocalError, match="already runs"):
        DataFolder(folder.root).open_empty()
    again.finish_filling()
    again.close()
    DataFolder(folder.root).open()


@FORMS
def test_a_backup_never_writes_over_anything(tmp_path: Path, kek: KeyEncryptionKey, name: str) -> None:
    """Neither over another backup nor into a folder with something in it."""
    source = make(tmp_path / name, kek)
    before = sorted(path.stat().st_mtime_ns for path in [source, *source.rglob("*")])
    with pytest.raises(LocalError) as caught:
        Writer.create(source)
    assert caught.value.code is ExitCode.CONFLICT
    assert sorted(path.stat().st_mtime_ns for path in [source, *source.rglob("*")]) == before


@FORMS
def test_a_failed_backup_leaves_nothing(tmp_path: Path, name: str) -> None:
    """The folder that was there stays, empty; one that was made goes."""
    (tmp_path / "there").mkdir()
    for target in (tmp_path / name, tmp_path / "there"):
        writer = Writer.create(target)
        with writer.part(DATABASE) as sink:
            sink.write(b"half")
        writer.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


@FORMS
def test_a_part_that_is_taken_back_is_written_anew(tmp_path: Path, kek: KeyEncryptionKey, name: str) -> None:
    """A dump that failed half way is tried again; what it wrote is not in the backup."""
    writer = Writer.create(tmp_path / name)
    with contextlib.suppress(RuntimeError), writer.part(DATABASE) as sink:
        sink.write(b"wrong" * 10_000)
        raise RuntimeError
    writer.retract(DATABASE)
    with writer.part(DATABASE) as sink:
        sink.write(b"right")
    manifest = msgspec.structs.replace(_manifest(make(tmp_path / "other", kek)), parts=writer.parts)
    reader = Reader.open(writer.finish(manifest))
    reader.verify(lambda _: None)
    with reader.part(DATABASE) as file:
        assert file.read() == b"right"
    reader.close()


def test_a_restore_that_fails_half_way_leaves_an_empty_folder(
    tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path
) -> None:
    """Here the dump is none, though its checksum is right: exit code 9 with the reason, and no server is left."""
    source, target = make(tmp_path / "backup.tar", kek), tmp_path / "target"
    done = waypost("admin", "restore", "--from", str(source), "--data-dir", str(target), "--kek", str(kek_file))
    assert (done.exit_code, "pg_restore failed" in done.stderr) == (ExitCode.SERVER, True), done.output
    assert list(target.iterdir()) == []
    assert processes_of(target) == []


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, kek: KeyEncryptionKey, kek_file: Path) -> None:
    """The manifest says how much a restore may need."""
    source = make(tmp_path / "backup.tar", kek, database_bytes=1 << 60)
    refused(tmp_path, source, kek_file, ExitCode.OTHER, "free")


def test_nothing_running_is_said(tmp_path: Path) -> None:
    """Exit code 7, and how to start it."""
    done = waypost("admin", "backup", "--data-dir", str(tmp_path / "no"), "--to", str(tmp_path / "backup"))
    assert done.exit_code == ExitCode.NOT_FOUND
    assert "waypost up" in done.stderr
    assert not (tmp_path / "backup").exists()


def _manifest(source: Path) -> Manifest:
    return msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)


class Silent(restoring.Progress):
    """Says nothing."""

    def tell(self, text: str) -> None:
        pass

    def done(self, text: str) -> None:
        pass


def test_a_setting_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cluster, exit code 2; the logins that were given are not shown."""
    monkeypatch.setenv("WAYPOST_DATABASE_URL", "postgresql://waypost_worker:hidden@127.0.0.1:1/waypost")
    done = waypost("admin", "backup", "--to", str(tmp_path / "backup"))
    assert (done.exit_code, "WAYPOST_S3_ENDPOINT is not set" in done.stderr) == (ExitCode.USAGE, True)
    assert "hidden" not in done.output
    assert not (tmp_path / "backup").exists()
