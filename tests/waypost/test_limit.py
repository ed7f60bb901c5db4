"""Which of several values of a limit counts, what may be set, and the refusals."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.limit.decision import changed_overrides, defaults, in_force, require_room
from waypost.limit.model import LIMITS, Level, Source
from waypost.settings import SETTINGS

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
_values = st.dictionaries(st.sampled_from(sorted(LIMITS)), st.integers(0, 10**9))


def test_the_settings_stand_in_for_the_built_in_default() -> None:
    """And the operator's value for both."""
    assert defaults({"nodes": 7})["nodes"] == 7
    assert defaults({})["nodes"] == LIMITS["nodes"].default
    found = in_force(defaults({"nodes": 7}), {"nodes": 900})
    assert (found["nodes"], found.sources["nodes"]) == (900, Source.ORGANIZATION)


@given(_values, _values, _values)
def test_an_environment_never_has_more_than_its_organization_allows(
    settings: dict[str, int], organization: dict[str, int], environment: dict[str, int]
) -> None:
    """Whatever is kept on the three; and every limit has a value with a source."""
    most = in_force(defaults(settings), organization)
    found = in_force(defaults(settings), organization, environment)
    assert set(found.values) == set(found.sources) == set(LIMITS)
    assert all(found[name] <= most[name] for name in LIMITS)
    own = {name for name, source in found.sources.items() if source is Source.ENVIRONMENT}
    assert all(found[name] == environment[name] and LIMITS[name].level is Level.ENVIRONMENT for name in own)


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"nope": 1}, "/limits/nope", "unknown_limit"),
        ({"a/b~": 1}, "/limits/a~1b~0", "unknown_limit"),
        ({"projects": 1}, "/limits/projects", "unknown_limit"),
        ({"nodes": -1}, "/limits/nodes", "out_of_range"),
        ({"submissions_per_second": 0}, "/limits/submissions_per_second", "out_of_range"),
        ({"routes": 255}, "/limits/routes", "out_of_range"),
        ({"nodes": 11}, "/limits/nodes", "limit_above_ceiling"),
    ],
)
def test_what_an_environment_cannot_set_is_refused(changes: dict[str, int | None], path: str, code: str) -> None:
    """422 at the limit's name."""
    with pytest.raises(WaypostError) as caught:
        changed_overrides({}, changes, ceiling=defaults({"nodes": 10}), level=Level.ENVIRONMENT)
    assert (caught.value.problems[0].path, caught.value.code) == (path, code)


def test_every_fault_is_told_at_once() -> None:
    """One problem a limit."""
    with pytest.raises(WaypostError) as caught:
        changed_overrides({}, {"nope": 1, "nodes": -1, "waiting_jobs": 5}, level=Level.ENVIRONMENT)
    assert [problem.path for problem in caught.value.problems] == ["/limits/nope", "/limits/nodes"]


def test_only_what_is_named_changes_and_none_takes_it_back() -> None:
    """The rest stays."""
    assert changed_overrides({"nodes": 3, "waiting_jobs": 4}, {"nodes": None, "stored_bytes": 5}) == {
        "waiting_jobs": 4,
        "stored_bytes": 5,
    }
    assert changed_overrides({"nodes": 3}, {}) == {"nodes": 3}


def test_the_last_place_can_be_taken_and_no_further() -> None:
    """409 that names limit and value."""
    require_room("projects", 3, 2)
    with pytest.raises(WaypostError) as caught:
        require_room("projects", 3, 3)
    assert caught.value.code == "quota_exceeded"
    assert caught.value.extra == {"limit": "projects", "value": 3, "used": 3}


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_the_page_has_every_limit_with_its_default(name: str) -> None:
    """docs/limits.md says what it counts, at which level, and the default."""
    limit = LIMITS[name]
    row = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    assert f"| {limit.level.value} | {limit.meaning} | {limit.default:,} |" in row


def test_limits_are_read_from_the_settings() -> None:
    """Name and value, with commas between."""
    assert SETTINGS["limits"].parse("nodes=500, projects=20") == {"nodes": 500, "projects": 20}


@pytest.mark.parametrize(
    "text",
    ["nodes", "nodes=", "nodes=-1", "nodes=x", "nope=1", "nodes=1,nodes=2", "routes=10", "requests_per_second=1"],
)
def test_wrong_limits_in_the_settings_are_refused(text: str) -> None:
    """Requests a second have settings of their own."""
    with pytest.raises(ValueError, match=r"must be a whole number|is not one limit"):
        SETTINGS["limits"].parse(text)
