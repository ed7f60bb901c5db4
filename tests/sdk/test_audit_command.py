"""`waypost audit` and `client.audit` against the whole platform."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from waypost_sdk import AsyncClient, ForbiddenError

from tests.sdk.conftest import output_of


def test_the_command_lists_and_exports(variables: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The environment's log by default, filters, the organization's; JSON Lines on stdout, CSV into a file."""
    listed = json.loads(output_of(capsys, "audit", "list", "--action", "environment.*"))
    assert [entry["action"] for entry in listed] == ["environment.provision", "environment.create"]
    wide = json.loads(output_of(capsys, "audit", "list", "--env", variables.slug, "--outcome", "done", "--limit", "1"))
    assert wide == listed[:1]
    lines = output_of(capsys, "audit", "export").splitlines()
    assert [json.loads(line)["id"] for line in lines][: len(listed)] == [entry["id"] for entry in listed]
    file = tmp_path / "audit.csv"
    assert output_of(capsys, "audit", "export", "--format", "csv", "-o", str(file)) == ""
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in lines]
    output_of(capsys, "audit", "list", "--from", "yesterday", code=2)


async def test_the_client_reads_what_it_may(platform: Any, environment: Any, client: Any) -> None:
    """Typed entries with their scope; ForbiddenError without the permission, for lists and exports."""
    made = (await client.post(f"{environment.path}/keys", json={"name": "viewer", "role": "viewer"})).json()
    async with AsyncClient(platform.api_url, platform.admin_key, environment.place) as sdk:
        found = [entry async for entry in sdk.audit.list(action="api_key.create")]
        assert [entry.target_id for entry in found] == [made["id"]]
        assert found[0].resource_scope.environment_id == environment.id
        exported = [line async for line in sdk.audit.export(target=f"api_key:{made['id']}", org_wide=True)]
        assert [json.loads(line)["id"] for line in exported] == [found[0].id]
    async with AsyncClient(platform.api_url, made["key"], environment.place) as viewer:
        with pytest.raises(ForbiddenError):
            [entry async for entry in viewer.audit.list()]
        with pytest.raises(ForbiddenError):
            [line async for line in viewer.audit.export()]
