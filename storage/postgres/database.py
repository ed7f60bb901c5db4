"""PostgreSQL as one process sees it: few pooled connections, and three ways to use one (decision 2).

`unit` is a transaction as the process's own role, `as_environment` one as an environment's role, `hot` a connection
with the planner pinned for the ledger's statements (decision 12). Refuses: a pool per environment, tenant-written SQL
(that runs on the environment's own login, because SQL can switch roles), and letting a session's state reach its next
user.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from waypost.errors import no_room, not_found, unavailable

Connection: TypeAlias = Any  # asyncpg has no usable types; see mypy's overrides

CONNECT_SECONDS = 5.0
ACQUIRE_SECONDS = 10.0
STATEMENT_SECONDS = 30  # of an environment's role; `SET ROLE` does not apply the role's own setting

_SESSION = {
    "jit": "off",
    "idle_in_transaction_session_timeout": "60s",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
}

# Plans that cannot flip when a table is empty or freshly vacuumed (decision 12).
_PINNED = {f"enable_{node}": "off" for node in ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin")} | {
    "plan_cache_mode": "force_generic_plan"
}

_CLEAN = "CLOSE ALL; UNLISTEN *; RESET ROLE; RESET ALL; SELECT pg_advisory_unlock_all()"

_AWAY = (
    asyncpg.PostgresConnectionError,  # SQLSTATE 08…
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
)


def role_name(environment_id: UUID) -> str:
    """The name of an environment's login role and of its schema: `env_<32 hex digits>`."""
    return f"env_{environment_id.hex}"


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what says that PostgreSQL is away or full into the 503 `unavailable`; faults of a statement pass through."""
    try:
        yield
    except asyncpg.InterfaceError as error:
        if not any(word in str(error) for word in ("clos", "terminat", "releas")):
            raise  # wrong use of the driver is our fault, not the server's
        raise unavailable("PostgreSQL") from error
    except asyncpg.InternalClientError as error:
        if "cannot switch to state" not in str(error):
            raise  # the server said good-bye on an idle connection whose socket is not closed yet
        raise unavailable("PostgreSQL") from error
    except asyncpg.DiskFullError as error:
        raise no_room("PostgreSQL") from error
    except _AWAY as error:
        raise unavailable("PostgreSQL") from error


class _Session(asyncpg.Connection):  # type: ignore[misc]
    """A connection that knows whether its state was put back in the round trip that ended its transaction, and what is
    to be sent together with the COMMIT of its unit of work (`with_commit`)."""

    __slots__ = ("clean", "last", "savepoints")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clean = False
        self.last: list[str] | None = None  # None outside of a unit
        self.savepoints = 0

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """As asyncpg's, which begins and ends transactions and savepoints by these very texts."""
        if not args:
            if query == "COMMIT;" and self.last:
                query, self.last = "".join(self.last) + query, None
            elif query.startswith("SAVEPOINT"):
                self.savepoints += 1
            elif query.startswith(("RELEASE SAVEPOINT", "ROLLBACK TO")):
                self.savepoints -= 1
        return await super().execute(query, *args, timeout=timeout)  # type: ignore[no-any-return]


async def with_commit(connection: Connection, statement: str) -> None:
    """Run a statement that answers nothing in the same round trip as the COMMIT of the unit that `connection` is of;
    at once where there is no such unit, or within a savepoint. Every value in it went through `literal`.

    A fault of the statement fails the COMMIT: the unit changes all or nothing, as ever.
    """
    session: Any = getattr(
        connection, "_con", connection
    )  # of the pool's proxy; isinstance takes all connections for ours
    last = getattr(session, "last", None)
    if last is not None and not session.savepoints:
        last.append(statement + ";")
    else:
        await connection.execute(statement)


def literal(value: str | int | None) -> str:
    """A value as SQL text (standard_conforming_strings is on). Raises ValueError for a NUL, which no text can hold."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    if "\0" in value:
        raise ValueError("a text in PostgreSQL holds no NUL")
    return "'" + value.replace("'", "''") + "'"


async def _reset(connection: _Session) -> None:
    """Before a connection returns to its pool; one that fails here is closed by the pool."""
    if not getattr(connection, "clean", False):
        await connection.execute(f"ROLLBACK; {_CLEAN}" if connection.is_in_transaction() else _CLEAN)
    connection.clean = False


async def _reset_hot(connection: _Session) -> None:
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


class _Hold:
    """A connection of a database's general pool is in use; tasks that were started meanwhile see when it is not."""

    __slots__ = ("database", "is_over")

    def __init__(self, database: "Database") -> None:
        self.database, self.is_over = database, False


_holds: ContextVar[tuple[_Hold, ...]] = ContextVar("_holds", default=())


class Database:
    """The pools of one process. Connections are opened when first needed (10 ms and 3.7 MB each).

    Who holds a connection of the general pool may need a second one for a moment (a unit of work that reads as an
    environment). One is kept for these, beyond what `first` lets out: holders that wait for each other would
    stand still.
    """

    def __init__(self, general: Any, hot: Any, relaxed: Any, first: asyncio.Semaphore) -> None:
        self._general, self._hot, self._relaxed, self._first = general, hot, relaxed, first

    @classmethod
    async def open(cls, url: str, *, name: str, pool_size: int = 4, hot_size: int = 3) -> "Database":
        """Pools for `url`, the login of the process's own role; `name` is what pg_stat_activity shows.

        Does not connect: a server that is away shows at the first use.
        """

        def pool(size: int, more: dict[str, str], reset: Any) -> Any:
            return asyncpg.create_pool(
                url,
                min_size=0,
                max_size=size,
                timeout=CONNECT_SECONDS,
                max_inactive_connection_lifetime=300,
                connection_class=_Session,
                reset=reset,
                server_settings=_SESSION | {"application_name": name} | more,
            )

        general = await pool(pool_size + 1, {}, _reset)
        hot = await pool(hot_size, _PINNED, _reset_hot)
        relaxed = await pool(hot_size, _PINNED | {"synchronous_commit": "off"}, _reset_hot)
        return cls(general, hot, relaxed, asyncio.Semaphore(pool_size))

    @asynccontextmanager
    async def unit(self) -> AsyncIterator[Connection]:
        """A transaction as the process's role: committed at the end, rolled back on any error."""
        async with self._connection() as connection:
            session = _session(connection)
            session.last, session.savepoints = [], 0
            try:
                async with connection.transaction():
                    yield connection
            finally:
                session.last = None

    @asynccontextmanager
    async def as_environment(self, environment_id: UUID) -> AsyncIterator[Connection]:
        """A transaction as the environment's role, with its schema as search path: one round trip to begin, one to end.

        Row security shows this environment's rows only. `connection.transaction()` cannot be used inside (it is begun
        already). Raises 404 when the role does not exist: the environment is not provisioned, or is gone.
        """
        role = role_name(environment_id)
        async with self._connection() as connection:
            try:
                await _begin(connection, role)
                yield connection
            except BaseException:
                with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    await _end(connection, "ROLLBACK")
                raise
            await _end(connection, "COMMIT")

    @asynccontextmanager
    async def hot(self, *, synchronous_commit: bool = True) -> AsyncIterator[Connection]:
        """A connection for the ledger's own statements: no transaction begun (each statement commits by itself), the
        planner pinned, prepared statements kept. `synchronous_commit` False for claims, whose loss in a crash of the
        server the fence makes harmless (decision 12a). The user must not change the session's state.
        """
        async with _acquired(self._hot if synchronous_commit else self._relaxed) as connection:
            yield connection

    async def ping(self) -> None:
        """Raises `unavailable` when PostgreSQL cannot be reached; for readiness."""
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """One of the general pool."""
        holds = tuple(hold for hold in _holds.get() if not hold.is_over)
        if any(hold.database is self for hold in holds):
            async with _acquired(self._general) as connection:
                yield connection
            return
        try:
            async with asyncio.timeout(ACQUIRE_SECONDS):
                await self._first.acquire()
        except TimeoutError as error:
            raise unavailable("PostgreSQL") from error
        own = _Hold(self)
        _holds.set((*holds, own))
        try:
            async with _acquired(self._general) as connection:
                yield connection
        finally:
            own.is_over = True
            _holds.set(holds)
            self._first.release()

    async def close(self) -> None:
        """Wait for transactions in progress, at most 5 s, then close every connection."""
        pools = (self._general, self._hot, self._relaxed)
        try:
            async with asyncio.timeout(5):
                await asyncio.gather(*(pool.close() for pool in pools))
        except TimeoutError:
            for pool in pools:
                pool.terminate()


async def _begin(connection: Connection, role: str) -> None:
    """One simple query of four statements: one round trip, nothing prepared."""
    try:
        await connection.execute(
            f"BEGIN; SET LOCAL ROLE {role}; SET LOCAL search_path = {role}, pg_catalog; "
            f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'"
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError) as error:
        raise not_found("environment") from error


async def _end(connection: Connection, how: str) -> None:
    await connection.execute(f"{how}; {_CLEAN}")
    _session(connection).clean = True


def _session(connection: Connection) -> _Session:
    return connection._con  # type: ignore[no-any-return]  # noqa: SLF001 - the pool hands out a proxy with no accessor


@asynccontextmanager
async def _acquired(pool: Any) -> AsyncIterator[Connection]:
    with translate_errors():
        try:
            connection = await pool.acquire(timeout=ACQUIRE_SECONDS)
        except (OSError, TimeoutError) as error:
            raise unavailable("PostgreSQL") from error
        try:
            yield connection
        finally:
            await _release(pool, connection)


async def _release(pool: Any, connection: Connection) -> None:
    """Give the connection back. One whose reset fails is closed by the pool; that is no error of whoever used it."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await pool.release(connection)
