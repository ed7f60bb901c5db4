"""`waypost triggers`, `waypost schedules` and `client.triggers` against the whole platform, run in this process."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from waypost_sdk import AsyncClient, InvalidError

from tests.sdk.test_tenancy_command import Waypost, waypost

__all__ = ["waypost"]  # a fixture


@pytest.fixture
def place(shared_environment: Any) -> str:
    return str(shared_environment.place)


def test_a_webhook_from_its_creation_to_its_end(waypost: Waypost, place: str) -> None:
    """Made with a secret that is told once, tested, looked at, paused, resumed, changed, rotated, deleted."""

    def run(*words: str, **more: Any) -> Any:
        return waypost("triggers", *words, WAYPOST_ENVIRONMENT=place, **more)

    made = run(
        "create", "--name", "invoices", "--function", "invoice.book", "--map", "body.data", "--tag", "linux"
    ).json
    assert made["verify"] == {"scheme": "standard"}
    assert made["secret"].startswith("whsec_")
    one = made["id"]
    shown = run("get", one).json
    assert (shown["name"], shown["secret"], shown["job"]["tags"]) == ("invoices", None, ["linux"])
    tested = run("test", one, "--body", '{"data": {"price": 12.50}}', "--header", "X-Kind=a")
    assert '"payload":{"price":12.50}' in tested.out
    assert tested.json["outcome"] == "accepted"
    assert run("test", one, "--body", "-", stdin='{"data": null}').json["payload"] is None
    assert {firing["job_id"] for firing in run("firings", one).json} >= {tested.json["job_id"]}
    assert run("firings", one, "--outcome", "stale").json == []
    assert run("pause", one).json["state"] == "paused"
    assert run("resume", one).json["state"] == "active"
    assert run("update", one, '{"name": "bills", "map": null}').json["map"] is None
    rotated = run("rotate-secret", one, "--overlap", "12h").json["secret"]
    assert rotated.startswith("whsec_")
    assert rotated != made["secret"]
    assert one in [trigger["id"] for trigger in run("list", "--kind", "webhook").json]
    assert run("delete", one).code == 0
    assert run("get", one).code != 0


def test_a_senders_own_secret_comes_from_a_file(waypost: Waypost, place: str, tmp_path: Path) -> None:
    """Never from the command line; without it Stripe's scheme is refused with a word why."""
    words = ("triggers", "create", "--name", "payments", "--function", "payment.book", "--scheme", "stripe")
    refused = waypost(*words, WAYPOST_ENVIRONMENT=place)
    assert refused.code == 2
    assert "send it as secret" in refused.err
    file = tmp_path / "secret"
    file.write_text("whsec_of_stripe_itself\n")
    made = waypost(*words, "--secret-file", str(file), WAYPOST_ENVIRONMENT=place)
    assert made.json["secret"] is None
    assert "whsec_of_stripe" not in made.out
    piped = waypost(*words, "--secret-file", "-", stdin="whsec_of_stripe_itself", WAYPOST_ENVIRONMENT=place)
    assert piped.code == 0


def test_schedules_have_a_command_of_their_own(waypost: Waypost, place: str) -> None:
    """By cron in a zone or by a span; listed without webhooks; what triggers can, they can."""

    def run(*words: str) -> Any:
        return waypost("schedules", *words, WAYPOST_ENVIRONMENT=place)

    nightly = run("create", "--name", "nightly", "--function", "report.build", "--cron", "30 3 * * *", "--timezone",
                  "Europe/Helsinki", "--overlap", "skip", "--catch-up", "last").json  # fmt: skip
    assert nightly["schedule"] == {"cron": "30 3 * * *", "timezone": "Europe/Helsinki"}
    assert (nightly["overlap"], nightly["catch_up"], len(nightly["next_fire_times"])) == ("skip", "last", 5)
    assert run("next", "30 3 * * *", "--timezone", "Europe/Helsinki").json == nightly["next_fire_times"]
    assert "minute" in run("next", "61 * * * *").err
    poll = run("create", "--name", "poll", "--function", "feed.read", "--every", "90m", "--jitter", "30s").json
    assert (poll["schedule"], poll["jitter_seconds"]) == ({"every_seconds": 5400}, 30)
    ids = [one["id"] for one in run("list").json]
    assert ids.index(poll["id"]) < ids.index(nightly["id"])
    assert {one["kind"] for one in run("list").json} == {"schedule"}
    assert run("test", poll["id"], "--body", '{"a": 1}').json["payload"] == {"a": 1}
    assert len(run("firings", poll["id"]).json) == 1
    assert run("pause", poll["id"]).json["state"] == "paused"
    assert run("resume", poll["id"]).json["state"] == "active"
    for one in (nightly, poll):
        assert run("delete", one["id"]).code == 0
    for words in ((), ("--cron", "* * * * *", "--every", "1m"), ("--every", "soon")):
        wrong = run("create", "--name", "x", "--function", "f", *words)
        assert wrong.code == 2
        assert "--" in wrong.err


async def test_triggers_from_python(platform: Any, shared_environment: Any) -> None:
    """The same by the client; lists iterate, times are datetimes, what is wrong names its field."""
    async with AsyncClient(platform.api_url, platform.admin_key, shared_environment.place) as sdk:
        hook = await sdk.triggers.create("webhook", "pushes", "repo.sync", verify="github")
        assert hook.url
        assert hook.secret
        clock = await sdk.triggers.create("schedule", "clock", {"function": "clock.tick"}, schedule="0 0 1 1 *")
        assert clock.next_fire_times[0] > datetime.now(UTC)
        assert {hook.id, clock.id} <= {one.id async for one in sdk.triggers.list()}
        tested = await sdk.triggers.test(hook.id, {"a": 1}, headers={"X-Kind": "b"}, query={"q": "1"})
        assert json.loads(json.dumps(tested.payload["query"])) == {"q": "1"}
        since = datetime.now(UTC) - timedelta(hours=1)
        firings = [one async for one in sdk.triggers.firings(hook.id, outcome="accepted", since=since)]
        assert [one.job_id for one in firings] == [tested.job_id]
        assert firings[0].at is not None
        with pytest.raises(InvalidError, match="cron"):
            await sdk.triggers.update(clock.id, {"schedule": {"cron": "61 * * * *"}})
        for one in (hook, clock):
            await sdk.triggers.delete(one.id)
