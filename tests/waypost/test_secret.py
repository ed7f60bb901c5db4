"""Sealing: what is sealed opens only with its key, in its place."""

from pathlib import Path

import pytest

from waypost.secret import DataKey, KeyEncryptionKey, SealError


def test_what_is_sealed_opens_only_in_its_place() -> None:
    """The place is bound: bytes moved to another row do not open, nor with another key, nor damaged."""
    key = DataKey(DataKey.generate())
    sealed = key.seal("job:1:payload", b"hello")
    assert key.open("job:1:payload", sealed) == b"hello"
    assert key.seal("job:1:payload", b"hello") != sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for place, what in (("job:2:payload", sealed), ("job:1:payload", flipped), ("job:1:payload", sealed[:20])):
        with pytest.raises(SealError):
            key.open(place, what)
    with pytest.raises(SealError):
        DataKey(DataKey.generate()).open("job:1:payload", sealed)


def test_a_key_file_is_private_and_survives(tmp_path: Path) -> None:
    """Created 0600 and never overwritten; refused when others may read it; the id follows the key."""
    path = tmp_path / "kek"
    made = KeyEncryptionKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = KeyEncryptionKey.load(path)
    assert loaded.id == made.id
    assert loaded.unwrap("p", made.wrap("p", b"k" * 32)) == b"k" * 32
    with pytest.raises(FileExistsError):
        KeyEncryptionKey.create(path)
    path.chmod(0o640)
    with pytest.raises(SealError, match="0600"):
        KeyEncryptionKey.load(path)


@pytest.mark.parametrize("text", ["", "c2hvcnQ", "not base64!", "é" * 43])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """Short, empty, or not base64url."""
    path = tmp_path / "kek"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(SealError):
        KeyEncryptionKey.load(path)


def test_a_key_never_shows_itself(tmp_path: Path) -> None:
    """Neither kind has its bytes in its repr."""
    assert repr(DataKey(b"s" * 32)) == "DataKey(…)"
    assert repr(KeyEncryptionKey.create(tmp_path / "k")) == "KeyEncryptionKey(…)"
