"""`waypost usage` and `client.usage` against the whole platform."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from waypost_sdk import AsyncClient, InvalidError
from waypost_sdk.command.main import main
from waypost_sdk.http.usage import usage_event

from tests.gateway.usage_ground import catch_up


@pytest.fixture
def variables(platform: Any, environment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The variables of a command for a fresh environment."""
    monkeypatch.setenv("WAYPOST_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("WAYPOST_URL", platform.api_url)
    monkeypatch.setenv("WAYPOST_KEY", platform.admin_key)
    monkeypatch.setenv("WAYPOST_ENVIRONMENT", environment.place)
    return environment


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["usage", *words])
    captured = capsys.readouterr()
    assert ended.value.code == code, captured.err
    return captured.out


async def test_the_command_counts_and_shows(
    platform: Any, variables: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One event, a file of them, the same again; JSON, groups, CSV, the organization's; bad words are exit code 2."""
    assert json.loads(run(capsys, "send", "test.megapixels", "12.50", "--id", "a-1")) == {
        "accepted": 1,
        "duplicates": 0,
    }
    assert json.loads(run(capsys, "send", "test.megapixels", "12.50", "--id", "a-1"))["duplicates"] == 1
    file = tmp_path / "events.jsonl"
    events = [usage_event("test.megapixels", Decimal("0.000000000000000000000000000001")) for _ in range(1_001)]
    file.write_text("\n".join(map(json.dumps, events)) + "\n\n")
    assert json.loads(run(capsys, "send", "--file", str(file)))["accepted"] == 1_001
    await catch_up(platform)
    (found,) = json.loads(run(capsys, "--meter", "test.megapixels"), parse_float=Decimal)
    assert Decimal(found["quantity"]) == Decimal("12.500000000000000000000000001001")
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    words = ("--meter", "test.megapixels", "--group-by", "day,environment,meter", "--csv", "--from", today)
    (row,) = csv.DictReader(io.StringIO(run(capsys, *words)))
    assert (row["day"], row["environment"]) == (today, variables.slug)
    wide = json.loads(run(capsys, "--org-wide", "--group-by", "environment", "--meter", "test.megapixels"))
    assert variables.id in {one["environment_id"] for one in wide}
    run(capsys, "--group-by", "month", code=2)
    run(capsys, "--from", "yesterday", code=2)
    run(capsys, "send", code=2)
    run(capsys, "send", "job.attempts", code=2)
    file.write_text("{")
    run(capsys, "send", "--file", str(file), code=2)


async def test_the_client_counts_and_sums(platform: Any, environment: Any) -> None:
    """Decimals as they are; floats are refused here, what the platform refuses is an InvalidError."""
    async with AsyncClient(platform.api_url, platform.admin_key, environment.place) as sdk:
        earlier = datetime.now(UTC) - timedelta(hours=30)
        assert (await sdk.usage.count("test.metres", "1.1", time=earlier, subject="ship-7")).accepted == 1
        assert (await sdk.usage.send([usage_event("test.metres", 3), usage_event("test.metres")])).accepted == 2
        with pytest.raises(TypeError):
            await sdk.usage.count("test.metres", 0.1)  # type: ignore[arg-type]
        with pytest.raises(InvalidError):
            await sdk.usage.count("test.metres", "much")
        await catch_up(platform)
        since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
        (found,) = await sdk.usage.sums(since=since, meter="test.metres")
        assert (found.quantity, found.adjustment) == (Decimal("5.1"), Decimal("1.1"))
        assert len(await sdk.usage.sums(since=since, meter=["test.metres"], group_by=["hour"])) == 2
