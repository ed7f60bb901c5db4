"""Which days are in force, and what an environment may set. Pure."""

from collections.abc import Mapping

from waypost.errors import Problem, WaypostError, invalid
from waypost.retention.model import KINDS, Retention, Source


def in_force(operator: Mapping[str, int], environment: Mapping[str, int]) -> Retention:
    """The operator's days, and the environment's where they are fewer."""
    days, sources = dict(operator), dict.fromkeys(operator, Source.OPERATOR)
    for name, value in environment.items():
        if name in days and value < days[name]:
            days[name], sources[name] = value, Source.ENVIRONMENT
    return Retention(days, sources)


def changed_days(
    kept: Mapping[str, int], changes: Mapping[str, int | None], operator: Mapping[str, int]
) -> dict[str, int]:
    """The environment's own days after some are set and some (None) taken back.

    Raises 422 with a problem for each fault at `/retention/<name>`: `unknown_retention`, `out_of_range`,
    `retention_above_ceiling`.
    """
    problems = [problem for name, value in changes.items() if (problem := _fault(name, value, operator)) is not None]
    if problems:
        raise _refused(problems)
    merged = dict(kept) | {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in merged.items() if changes.get(name, value) is not None}


def _fault(name: str, value: int | None, operator: Mapping[str, int]) -> Problem | None:
    kind = KINDS.get(name)
    path = f"/retention/{name.replace('~', '~0').replace('/', '~1')}"
    if kind is None:
        return Problem(path, "unknown_retention", f"Nothing of this name is kept; there are {', '.join(KINDS)}.")
    if value is None:
        return None
    if value < kind.least:
        return Problem(path, "out_of_range", f"{name} is a number of days from {kind.least} on.")
    if value > operator[name]:
        detail = f"{name} is at most {operator[name]} on this platform; its operator can raise that."
        return Problem(path, "retention_above_ceiling", detail)
    return None


def _refused(problems: list[Problem]) -> WaypostError:
    return invalid(problems[0].code, problems[0].message, problems[0].path, *problems[1:])
