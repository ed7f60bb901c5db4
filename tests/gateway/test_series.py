"""`GET E/queue/series`: the last minutes of an environment or a function, as charts want them."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest


async def test_an_hour_of_minutes_without_gaps(client, environment):
    """Oldest first, the last one not over yet; a submission is in it at once, and an empty minute has no times."""
    for _ in range(3):
        await client.post(f"{environment.path}/jobs", json={"function": "text.count"})
    answer = await client.get(f"{environment.path}/queue/series")
    assert answer.status_code == 200, answer.text
    assert answer.json()["function"] is None
    minutes = answer.json()["minutes"]
    at = [datetime.fromisoformat(minute["at"]) for minute in minutes]
    assert [after - before for before, after in itertools.pairwise(at)] == [timedelta(minutes=1)] * 59
    assert datetime.now(UTC) - at[-1] < timedelta(minutes=2)
    assert sum(minute["submitted"] for minute in minutes) == 3
    assert (minutes[-1]["waiting"], minutes[-1]["running"]) == (3, 0)
    assert (minutes[0]["waiting"], minutes[0]["start_p50_ms"], minutes[0]["runs_seen"]) == (0, None, 0)


async def test_of_one_function_and_fewer_minutes(client, environment):
    """Another function's jobs are not in it; a function that nobody asked for yet has empty minutes."""
    await client.post(f"{environment.path}/jobs", json={"function": "text.count"})
    query = {"function": "text.count", "minutes": "5"}
    own = (await client.get(f"{environment.path}/queue/series", params=query)).json()
    assert (own["function"], len(own["minutes"])) == ("text.count", 5)
    assert sum(minute["submitted"] for minute in own["minutes"]) == 1
    other = (await client.get(f"{environment.path}/queue/series", params={"function": "no.body"})).json()
    assert sum(minute["submitted"] for minute in other["minutes"]) == 0


@pytest.mark.parametrize("query", ["minutes=0", "minutes=61", "minutes=x", "function=No", "hours=1"])
async def test_what_cannot_be_asked_is_refused(client, shared_environment, query):
    """By name of the parameter."""
    answer = await client.get(f"{shared_environment.path}/queue/series?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "/" + query.partition("=")[0]
