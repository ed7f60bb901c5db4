"""Contexts and credentials on disk: what is written, who can read it, what stays, and where a secret may go."""

import json
import os
import stat
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail, null
from waypost_sdk import Client, ConfigurationError, NotFoundError, configuration, context, credential, private_file
from waypost_sdk.errors import MissingCredentialError

sys.path.insert(0, str(Path(__file__).parent))
import fake_keyring

URL = "http://127.0.0.1:9"
FILE = """\
# mine: do not touch
current = "work"   # the usual one

[contexts.work]
url = "https://waypost.example.com"  # behind the VPN
key = "wp_kept"

[other-tool]
answer = 42
list = [
    1,  # one
]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of the test's own, not there yet; no variables, and no keyring unless the test sets one."""
    for name in (*configuration.VARIABLES.values(), "WAYPOST_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "waypost" / "config.toml"))
    monkeypatch.setenv("FAKE_KEYRING", str(tmp_path / "keyring.json"))
    return tmp_path / "waypost" / "config.toml"


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """What a machine without one has."""
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    yield
    keyring.set_keyring(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_change_keeps_comments_order_and_what_is_not_ours(config):
    """Only the lines that were meant differ afterwards."""
    config.parent.mkdir()
    config.write_text(FILE)
    context.save("work", {"environment": "acme/shop/dev"}, make_current=False)
    context.save("local", {"url": URL})
    text = config.read_text()
    assert 'url = "https://waypost.example.com"  # behind the VPN\n' in text
    assert "# mine: do not touch\n" in text
    assert "    1,  # one\n" in text
    assert "# the usual one" in text
    context.use("work")
    context.delete("local")
    context.save("work", {"environment": None})
    assert tomllib.loads(config.read_text()) == tomllib.loads(FILE)
    assert [line for line in FILE.splitlines() if line and line not in config.read_text()] == []


def test_what_is_written_only_its_owner_can_read(config):
    """A new file is 0600 in a 0700 folder; one that others could read no longer is afterwards."""
    context.save("local", {"url": URL})
    assert (mode(config), mode(config.parent)) == (0o600, 0o700)
    config.chmod(0o644)
    context.save("local", {"environment": "a/b/c"})
    assert mode(config) == 0o600
    credential.keep("local", URL, "wp_secret")
    assert mode(credential.file_path()) == 0o600
    assert {path.name for path in config.parent.iterdir()} == {"config.toml", "credentials.toml"}


def test_a_symbolic_link_stays_one(config, tmp_path):
    """Who keeps the file elsewhere finds it written there."""
    real = tmp_path / "dotfiles.toml"
    real.write_text(FILE)
    config.parent.mkdir()
    config.symlink_to(real)
    context.use("work")
    context.save("local", {"url": URL})
    assert config.is_symlink()
    assert "local" in tomllib.loads(real.read_text())["contexts"]


class MyNull:
    """Nothing that TOML could hold."""


def test_a_change_that_fails_leaves_the_old_file_and_nothing_else(config):
    """Half of a file is never seen, nor is a temporary one left."""
    config.parent.mkdir()
    config.write_text(FILE)
    with pytest.raises(ConfigurationError, match="MyNull"), private_file.edit(config) as document:
        document["current"] = MyNull()
    config.with_name("broken.toml").write_text("not = [toml")
    with pytest.raises(ConfigurationError, match="is no TOML"), private_file.edit(config.with_name("broken.toml")):
        pass
    assert config.read_text() == FILE
    assert {path.name for path in config.parent.iterdir()} == {"config.toml", "broken.toml"}


def test_two_writers_at_once_lose_nothing(config):
    """Each sees what the other wrote."""
    threads = [threading.Thread(target=context.save, args=(f"c{n}", {"url": URL})) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(context.names()) == sorted(f"c{n}" for n in range(20))


def test_several_contexts_live_side_by_side(config):
    """Each has its own credential; the variable picks one, else the current one counts."""
    for name, secret in (("one", "wp_first"), ("two", "wp_second")):
        place, _ = credential.keep(name, URL, secret)
        context.save(name, {"url": URL, "environment": "a/b/c", "credential": place})
    assert configuration.resolve(url=None, key=None) == {"url": URL, "key": "wp_second"}
    context.use("one")
    assert configuration.resolve(url=None, key=None)["key"] == "wp_first"
    os.environ["WAYPOST_CONTEXT"] = "two"
    try:
        assert configuration.resolve(url=None, key=None)["key"] == "wp_second"
    finally:
        del os.environ["WAYPOST_CONTEXT"]
    with pytest.raises(NotFoundError, match="it has: one, two"):
        context.use("three")
    with pytest.raises(ConfigurationError, match="letters"):
        context.check_name("a b")


def test_a_keyring_is_used_where_there_is_one(config):
    """The fake one gets the secret, no file does, and forgetting takes it away."""
    keyring.set_keyring(fake_keyring.FakeKeyring())
    assert credential.keep("local", URL, "wp_secret")[0] == credential.KEYRING
    context.save("local", {"url": URL, "credential": "keyring"})
    assert json.loads(Path(os.environ["FAKE_KEYRING"]).read_text()) == {f"waypost local@{URL}": "wp_secret"}
    assert "wp_secret" not in config.read_text()
    assert not credential.file_path().exists()
    with Client() as client:
        assert client._driver._client.headers["authorization"] == "Bearer wp_secret"
    assert credential.forget("keyring", "local", URL)
    assert not credential.forget("keyring", "local", URL)
    with pytest.raises(MissingCredentialError, match="waypost login --context local"):
        Client()


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (fail.Keyring, "no keyring"),
        (null.Keyring, "no keyring"),
        (fake_keyring.LockedKeyring, "locked"),
        (fake_keyring.ForgetfulKeyring, "did not keep it"),
    ],
)
def test_without_a_keyring_that_keeps_it_the_secret_goes_into_a_file(backend, reason, config):
    """The person is told where it is and why; moving to a keyring later takes it out of the file."""
    keyring.set_keyring(backend())
    place, told = credential.keep("local", URL, "wp_secret")
    assert (place, mode(credential.file_path())) == ("file", 0o600)
    assert str(credential.file_path()) in told
    assert reason in told
    assert credential.recall("file", "local", URL) == "wp_secret"
    keyring.set_keyring(fake_keyring.FakeKeyring())
    assert credential.keep("local", URL, "wp_secret")[0] == "keyring"
    assert "wp_secret" not in credential.file_path().read_text()


def test_a_kept_credential_is_sent_to_its_own_address_only(config):
    """Neither an argument, nor a variable, nor a changed file makes it go elsewhere."""
    place, _ = credential.keep("local", URL, "wp_secret")
    context.save("local", {"url": URL, "credential": place})
    with pytest.raises(MissingCredentialError, match="is not sent to https://evil"):
        Client("https://evil.example.com")
    context.save("local", {"url": "https://evil.example.com"})
    with pytest.raises(MissingCredentialError, match="waypost login"):
        Client()


def test_a_locked_keyring_says_so(config):
    """Reading fails with the keyring's own reason, not with a missing key."""
    keyring.set_keyring(fake_keyring.LockedKeyring())
    context.save("local", {"url": URL, "credential": "keyring"})
    with pytest.raises(ConfigurationError, match="the collection is locked"):
        Client()


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://", "//x", "http://[::1", "waypost"])
def test_an_address_that_cannot_be_one_is_said_before_anything_is_sent(url, config):
    """An address without http:// is a mistake, not a server that is away."""
    with pytest.raises(ConfigurationError, match="is not an address"):
        Client(url, "wp_key")
