"""What checking the audit needs: the chain as the database has it, and the object store's copies."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol
from uuid import UUID

from waypost.audit.model import Anchor, Position, Seal, Sweep, WrittenEntry


class Chain(Protocol):
    """The database's side."""

    async def anchor(self) -> Anchor:
        """Where the chain begins."""

    async def batches(self, after: int, limit: int) -> Sequence[tuple[Seal, bool]]:
        """Batches with a greater number, in order; each with whether it is said to be in the object store."""

    async def entries(self, after: Position, until: Position, limit: int) -> Sequence[WrittenEntry]:
        """Entries after one position, up to and including another, in order."""

    async def sweeps(self, gone: Sequence[UUID]) -> Sequence[Sweep]:
        """Every sweep that is said to have taken one of these entries, whole."""

    async def unsealed(self, after: Position) -> int:
        """How many entries come after that position."""


class Copies(Protocol):
    """The object store's side. Reading a copy raises `seal_unreadable` when it is no batch."""

    def batches(self, after: int) -> AsyncIterator[Seal]:
        """Batches with a greater number, in order."""

    async def batch(self, number: int) -> Seal | None: ...

    async def anchor(self) -> Anchor | None: ...
