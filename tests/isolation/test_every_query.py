"""Every SQL text of the project, asked by the wrong role: refused by PostgreSQL, or the answer of an empty database.

The texts are found by walking the code (`statement.texts`), so a new one is asked too. That the walk finds them, and
that the right role is not refused, is tested as well: a test that refuses everything shows nothing.
"""

import itertools
import re
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from tests.isolation.closed_ground import ClosedGround
from tests.isolation.statement import BUILT, texts

REFUSED = asyncpg.InsufficientPrivilegeError
TEXTS = sorted(set(texts()))
MAX_TRIES = 16  # choices of parameters a statement
# Where a text stands that only makes sense before the schema is there, or in a session of the owner.
_OWNERS = ("storage/postgres/version.py", "storage/postgres/migration.py", "storage/postgres/revision.py")


def _names_secured(text: str, tables: list[str]) -> bool:
    return any(re.search(rf"\bcontrol\.{table}\b", text) for table in tables)


def test_the_walk_finds_the_statements() -> None:
    """Those that we know of, and nothing that cannot be asked as it stands."""
    places = {where for where, _ in TEXTS}
    for known in (
        "storage/postgres/ledger/claim.sql",
        "storage/postgres/ledger/job_record.sql",
        "storage/postgres/ledger/queue_counts.sql",
        "storage/postgres/tenancy/secret.py:_READ",
        "gateway/idempotency.py:_KEEP",
    ):
        assert known in places
    assert len(TEXTS) > 150
    assert set(BUILT) <= places, "a place in BUILT holds no statement any more"
    unready = [where for where, text in TEXTS if "{}" in text]
    assert not unready, f"put what runs there into BUILT of tests/isolation/statement.py: {unready}"


async def test_without_a_role_every_statement_is_refused(closed: ClosedGround) -> None:
    """A login that is neither a process nor an environment."""
    await closed.admin.execute("create role nobody_yet login; grant connect on database waypost to nobody_yet")
    async with closed.login("nobody_yet") as nobody:
        for where, text in TEXTS:
            if where.startswith(_OWNERS):
                continue
            assert await _is_refused(nobody, text), where


async def _is_refused(connection: Any, text: str) -> bool:
    try:
        await connection.execute(f"explain (generic_plan) {text}")
    except REFUSED:
        return True
    return False


async def test_an_environment_asks_for_another_and_gets_nothing(closed: ClosedGround) -> None:
    """With the other's ids as parameters, in every choice, the answer is that for ids that nobody has; or an error."""
    secured = [(where, text) for where, text in TEXTS if _names_secured(text, closed.tables)]
    assert len(secured) > 60
    foreign = await _known_ids(closed, closed.second)
    answered = 0
    async with closed.environment(closed.first) as own:
        for where, text in secured:
            for chosen, unknown in await _choices(own, text, foreign):
                outcome, nothing = await _ask(own, text, chosen, unknown)
                assert outcome == nothing, (where, text, chosen)
                answered += isinstance(outcome, list)
    assert answered > 100, "statements that an environment's role may run are among them"


async def test_the_same_questions_find_ones_own(closed: ClosedGround) -> None:
    """The control: with its own ids the environment's role finds rows with many of the statements."""
    found = set()
    own_ids = await _known_ids(closed, closed.first)
    async with closed.environment(closed.first) as own:
        for where, text in TEXTS:
            if not _names_secured(text, closed.tables):
                continue
            for chosen, _ in await _choices(own, text, own_ids):
                (rows,) = await _ask(own, text, chosen)
                if str(closed.first) in repr(chosen) and isinstance(rows, list) and rows:
                    found.add(where)
    assert len(found) >= 5, found


async def _known_ids(closed: ClosedGround, environment: UUID) -> dict[str, list[Any]]:
    """What there is of an environment, by type: its own id, ids of its rows, routes, functions."""
    jobs = await closed.admin.fetch("select id from control.job where environment_id = $1", environment)
    routes = await closed.admin.fetch("select id, function from control.route where environment_id = $1", environment)
    labels = await closed.admin.fetch(
        "select label, job_id from control.job_label where environment_id = $1", environment
    )
    return {
        "uuid": [environment, jobs[0][0], labels[0][1]],
        "int4": [routes[0]["id"], 1000],
        "int8": [1000],
        "text": [routes[0]["function"], labels[0]["label"]],
    }


async def _choices(connection: Any, text: str, known: dict[str, list[Any]]) -> list[tuple[list[Any], list[Any]]]:
    """Pairs of parameters: with known ids, and the same with ids that nobody has."""
    try:
        kinds = [kind.name for kind in (await connection.prepare(text)).get_parameters()]
    except REFUSED:
        return [([], [])]  # refused already: `_ask` says so again
    except asyncpg.PostgresError as error:
        raise AssertionError(f"cannot be run at all: {text}") from error
    stranger = {known_id: uuid4() for known_id in known["uuid"]} | {text: f"none-{text}" for text in known["text"]}
    stranger |= {known["int4"][0]: 77_777}
    if not kinds:
        return [([], [])]
    values = itertools.islice(itertools.product(*(_values(kind, known) for kind in kinds)), MAX_TRIES)
    return [(list(chosen), [_swapped(value, stranger) for value in chosen]) for chosen in values]


def _values(kind: str, known: dict[str, list[Any]]) -> list[Any]:
    element = kind.removesuffix("[]").removeprefix("_")
    plain: list[Any] = {
        "uuid": known["uuid"],
        "int4": known["int4"],
        "int2": [1],
        "int8": known["int8"],
        "text": known["text"],
        "varchar": known["text"],
        "bool": [True],
        "float8": [0.0],
        "bytea": [b"x"],
        "jsonb": ["{}"],
        "json": ["{}"],
        "timestamptz": [datetime(2100, 1, 1, tzinfo=UTC)],
        "date": [date(2100, 1, 1)],
        "interval": [None],
        "xid8": [0],
        '"char"': [b"x"],
    }.get(element, [None])
    if kind != element:
        return [plain]
    return plain


def _swapped(value: Any, stranger: dict[Any, Any]) -> Any:
    if isinstance(value, list):
        return [_swapped(item, stranger) for item in value]
    return stranger.get(value, value) if isinstance(value, UUID | str | int) and not isinstance(value, bool) else value


async def _ask(connection: Any, text: str, *choices: list[Any]) -> list[Any]:
    """For each choice the rows as tuples, or the error's kind; in one transaction (one `now()`), and undone."""
    outcomes: list[Any] = []
    whole = connection.transaction()
    await whole.start()
    for values in choices:
        transaction = connection.transaction()
        await transaction.start()
        try:
            outcomes.append([tuple(row) for row in await connection.fetch(text, *values)])
        except asyncpg.PostgresError as error:
            outcomes.append(type(error).__name__)
        await transaction.rollback()
    await whole.rollback()
    return outcomes
