"""`waypost usage` and `client.usage` against the whole platform."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from waypost_sdk import AsyncClient, InvalidError
from waypost_sdk.http.usage import usage_event

from tests.gateway.usage_ground import catch_up
from tests.sdk.conftest import output_of


async def test_the_command_counts_and_shows(
    platform: Any, variables: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One event, a file of them, the same again; JSON, groups, CSV, the organization's; bad words are exit code 2."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")  # it may end before the last event is counted, and so may the month
    assert json.loads(output_of(capsys, "usage", "send", "test.megapixels", "12.50", "--id", "a-1")) == {
        "accepted": 1,
        "duplicates": 0,
    }
    assert json.loads(output_of(capsys, "usage", "send", "test.megapixels", "12.50", "--id", "a-1"))["duplicates"] == 1
    file = tmp_path / "events.jsonl"
    events = [usage_event("test.megapixels", Decimal("0.000000000000000000000000000001")) for _ in range(1_001)]
    file.write_text("\n".join(map(json.dumps, events)) + "\n\n")
    assert json.loads(output_of(capsys, "usage", "send", "--file", str(file)))["accepted"] == 1_001
    await catch_up(platform)
    words = ("--meter", "test.megapixels", "--from", day)
    (found,) = json.loads(output_of(capsys, "usage", *words), parse_float=Decimal)
    assert Decimal(found["quantity"]) == Decimal("12.500000000000000000000000001001")
    groups = ("--group-by", "day,environment,meter", "--csv")
    rows = list(csv.DictReader(io.StringIO(output_of(capsys, "usage", *words, *groups))))
    assert {row["day"] for row in rows} <= {day, datetime.now(UTC).strftime("%Y-%m-%d")}
    assert {row["environment"] for row in rows} == {variables.slug}
    assert sum(Fraction(row["quantity"]) for row in rows) == Fraction("12.500000000000000000000000001001")
    wide = json.loads(output_of(capsys, "usage", "--org-wide", "--group-by", "environment", *words))
    assert variables.id in {one["environment_id"] for one in wide}
    output_of(capsys, "usage", "--group-by", "month", code=2)
    output_of(capsys, "usage", "--from", "yesterday", code=2)
    output_of(capsys, "usage", "send", code=2)
    output_of(capsys, "usage", "send", "job.attempts", code=2)
    file.write_text("{")
    output_of(capsys, "usage", "send", "--file", str(file), code=2)


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
