"""Which limit is in force, what may be set, and the refusal that names a limit and its value. Pure."""

from collections.abc import Mapping

from waypost.errors import Category, Problem, WaypostError, conflict, invalid
from waypost.limit.model import LIMITS, Level, Limits, Source


def defaults(changed: Mapping[str, int]) -> dict[str, int]:
    """Every limit's default: what the settings changed, else the built-in value."""
    return {name: changed.get(name, limit.default) for name, limit in LIMITS.items()}


def in_force(
    default: Mapping[str, int], organization: Mapping[str, int], environment: Mapping[str, int] | None = None
) -> Limits:
    """The values that count. The organization's value stands in for the default; the environment's counts where it is
    lower: it can give up some of what it may use, never take more."""
    values, sources = dict(default), dict.fromkeys(default, Source.DEFAULT)
    for name, value in organization.items():
        if name in values:
            values[name], sources[name] = value, Source.ORGANIZATION
    for name, value in (environment or {}).items():
        if name in values and LIMITS[name].level is Level.ENVIRONMENT and value <= values[name]:
            values[name], sources[name] = value, Source.ENVIRONMENT
    return Limits(values, sources)


def changed_overrides(
    kept: Mapping[str, int],
    changes: Mapping[str, int | None],
    *,
    ceiling: Mapping[str, int] | None = None,
    level: Level | None = None,
) -> dict[str, int]:
    """The overrides after some are set and some (None) taken back.

    `level`: only limits of it may be named. `ceiling`: what may not be exceeded. Raises 422 with a problem for each
    fault at `/limits/<name>`: `unknown_limit`, `out_of_range`, `limit_above_ceiling`.
    """
    problems = [
        problem
        for name, value in changes.items()
        if (problem := _fault(name, value, None if ceiling is None else ceiling.get(name), level)) is not None
    ]
    if problems:
        raise invalid_limits(problems)
    merged = dict(kept) | {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in merged.items() if changes.get(name, value) is not None}


def _fault(name: str, value: int | None, ceiling: int | None, level: Level | None) -> Problem | None:
    limit = LIMITS.get(name)
    path = f"/limits/{name.replace('~', '~0').replace('/', '~1')}"
    if limit is None or (level is not None and limit.level is not level):
        known = ", ".join(n for n, one in LIMITS.items() if level is None or one.level is level)
        return Problem(path, "unknown_limit", f"There is no limit of this name here; there are {known}.")
    if value is None:
        return None
    if not limit.least <= value <= limit.most:
        return Problem(path, "out_of_range", f"{name} is from {limit.least} to {limit.most}.")
    if ceiling is not None and value > ceiling:
        detail = f"{name} is at most {ceiling} for the environments of this organization; an operator can raise that."
        return Problem(path, "limit_above_ceiling", detail)
    return None


def invalid_limits(problems: list[Problem]) -> WaypostError:
    """A 422 that carries the code of its first problem."""
    return invalid(problems[0].code, problems[0].message, problems[0].path, *problems[1:])


def require_room(name: str, limit: int, used: int, more: int = 1) -> None:
    """Return if `more` fit beside what is used; raises 409 `quota_exceeded` naming limit and value."""
    if used + more > limit:
        raise conflict(
            "quota_exceeded",
            f"The limit {name} is {limit} and {used} are in use; remove some, or ask an operator to raise it.",
            limit=name,
            value=limit,
            used=used,
        )


def payload_over_limit(size_bytes: int, limit: int) -> WaypostError:
    """413: the environment's own limit of payloads."""
    return WaypostError(
        "payload_too_large",
        f"The payload has {size_bytes} bytes and the limit payload_bytes of this environment is {limit}. Upload it as"
        " an artifact and name the artifact instead.",
        Category.TOO_LARGE,
        extra={"limit": "payload_bytes", "value": limit},
    )
