"""Settings: what is given is read, what is wrong is named, secrets stay hidden."""

from pathlib import Path

import pytest

from waypost import settings
from waypost.settings import SETTINGS, SettingsError, gateway_settings, relay_settings, variable, worker_settings


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    kek = tmp_path / "kek"
    kek.write_text("x")
    return {
        "WAYPOST_DATABASE_URL": "postgresql://waypost_gateway:hush-hush@/waypost?host=/run/pg",
        "WAYPOST_PROVISIONER_DATABASE_URL": "postgresql://waypost_provisioner:hush-hush@/waypost?host=/run/pg",
        "WAYPOST_VALKEY_URL": "valkey://user:hush-hush@127.0.0.1:6390/0",
        "WAYPOST_S3_ENDPOINT": "http://127.0.0.1:8333/",
        "WAYPOST_S3_ACCESS_KEY": "admin",
        "WAYPOST_S3_SECRET_KEY": "hush-hush",
        "WAYPOST_KEK_FILE": str(kek),
        "WAYPOST_PUBLIC_URL": "http://127.0.0.1:8080",
        "WAYPOST_RELAY_ADDRESS": "127.0.0.1:9090",
        "WAYPOST_PROCESS_NAME": "gateway-1",
    }


def test_each_process_reads_its_own_settings(given: dict[str, str]) -> None:
    """The documented defaults hold, and a trailing slash of an address does not matter."""
    gateway, relay, worker = gateway_settings(given), relay_settings(given), worker_settings(given)
    assert (gateway.http_host, gateway.http_port, gateway.ready_fd) == ("127.0.0.1", 8080, None)
    assert (relay.relay_port, relay.internal_port, relay.log_format) == (9090, 0, "console")
    assert worker.s3_endpoint == "http://127.0.0.1:8333"
    assert worker.s3_secret_key == "hush-hush"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WAYPOST_HTTP_PORT", "eighty"),
        ("WAYPOST_HTTP_PORT", "65536"),
        ("WAYPOST_HTTP_PORT", "-1"),
        ("WAYPOST_S3_ENDPOINT", "127.0.0.1:8333"),
        ("WAYPOST_KEK_FILE", "/nowhere/kek"),
        ("WAYPOST_LOG_LEVEL", "loud"),
        ("WAYPOST_READY_FD", "x"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(given: dict[str, str], name: str, value: str) -> None:
    """One line that holds variable and value."""
    with pytest.raises(SettingsError) as caught:
        gateway_settings(given | {name: value})
    assert len(caught.value.problems) == 1
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_every_wrong_variable_is_named_at_once() -> None:
    """Nobody has to start a process ten times to learn of ten faults."""
    with pytest.raises(SettingsError) as caught:
        worker_settings({"WAYPOST_LOG_FORMAT": "xml"})
    for name in ("WAYPOST_DATABASE_URL", "WAYPOST_KEK_FILE", "WAYPOST_LOG_FORMAT", "WAYPOST_S3_SECRET_KEY"):
        assert name in str(caught.value)


def test_a_secret_is_never_shown(given: dict[str, str]) -> None:
    """Neither the repr of the settings nor the error about a wrong secret holds it."""
    assert "hush-hush" not in repr(worker_settings(given))
    with pytest.raises(SettingsError) as caught:
        gateway_settings(given | {"WAYPOST_DATABASE_URL": "mysql://me:hush-hush@there/db"})
    assert "hush-hush" not in str(caught.value)
    assert "WAYPOST_DATABASE_URL" in str(caught.value)


def test_a_wrong_setting_ends_the_process_with_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """What a process does with a SettingsError."""
    with pytest.raises(SystemExit) as caught:
        settings.refuse(SettingsError(["WAYPOST_X is 'y': must be z"]))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "WAYPOST_X is 'y': must be z\n"


def test_every_field_has_a_documented_variable() -> None:
    """A field without a row in the table, or a row that nobody reads, is a mistake."""
    kinds = (settings.GatewaySettings, settings.RelaySettings, settings.WorkerSettings)
    fields = {field for kind in kinds for field in kind.__struct_fields__}
    assert fields == set(SETTINGS)
    assert all(setting.meaning for setting in SETTINGS.values())
    assert variable("http_port") == "WAYPOST_HTTP_PORT"
