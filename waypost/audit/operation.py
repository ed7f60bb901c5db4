"""Checking the whole audit: every entry against its batch, every batch against the chain and its copy elsewhere."""

from collections.abc import Callable, Iterable
from uuid import UUID

import msgspec

from waypost import clock
from waypost.audit.decision import BEGINNING, check_batch, first_difference, gone_entries, link, rightly_gone
from waypost.audit.model import Anchor, Fault, Finding, Seal, Sweep
from waypost.audit.port import Chain, Copies
from waypost.errors import WaypostError

PAGE = 20  # batches read at once
SURPLUS = 1_000  # entries read beyond what a batch should hold, to name one that was added


class Verified(msgspec.Struct):
    """What was looked at, and the first thing that is not as it was sealed."""

    batches: int = 0
    entries: int = 0
    swept: int = 0  # of these, not there any more: an environment keeps them for fewer days
    first: int = 0  # number of the first batch looked at
    last: int = 0
    root: str = ""  # of the last one
    not_copied: int = 0  # batches that are not in the object store yet
    unsealed: int = 0  # entries that no batch covers yet
    finding: Finding | None = None


Told = Callable[[Verified], None]


async def verify(chain: Chain, copies: Copies, *, start: int = 1, told: Told = lambda _: None) -> Verified:
    """Recompute everything from batch `start` on; `told` hears of every batch. Stops at the first finding."""
    seen = Verified()
    try:
        await _verify(chain, copies, start, seen, told)
    except WaypostError as error:
        if error.code != "seal_unreadable":
            raise
        seen.finding = Finding(Fault.ALTERED, error.extra["batch"], None, error.detail)
    return seen


async def _verify(chain: Chain, copies: Copies, start: int, seen: Verified, told: Told) -> None:
    anchor = await chain.anchor()
    if start <= anchor.number + 1:
        after = anchor
        seen.finding = await _check_anchor(chain, copies, anchor)
    else:
        before = await chain.batches(start - 2, 1)
        if not before or before[0][0].number != start - 1:
            seen.finding = _missing(start - 1, "the table")
            return
        after = link(before[0][0])
    if seen.finding is None:
        after = await _check_batches(chain, copies, after, seen, told)
    if seen.finding is None:
        seen.unsealed = await chain.unsealed(after.until)


async def _check_anchor(chain: Chain, copies: Copies, anchor: Anchor) -> Finding | None:
    """Whether the chain begins where the object store says; a copy of the anchor may be one step behind."""
    copy = await copies.anchor() or BEGINNING
    if copy != anchor:
        kept = await copies.batch(anchor.number) if anchor.number > copy.number else None
        if kept is None or link(kept) != anchor:
            return Finding(
                Fault.MISSING,
                copy.number + 1,
                None,
                f"The table begins after batch {anchor.number}, the object store after batch {copy.number}: "
                "batches between the two were removed, or where the chain begins was altered.",
            )
    older = await chain.entries(BEGINNING.until, anchor.until, 1)
    if older:
        entry = older[0].id
        return Finding(Fault.ADDED, anchor.number, entry, f"Entry {entry} was added to batches that retention dropped.")
    return None


async def _check_batches(chain: Chain, copies: Copies, after: Anchor, seen: Verified, told: Told) -> Anchor:
    """Walk the table's batches and the copies side by side; answers the end of the chain."""
    kept = copies.batches(after.number)
    copy = await anext(kept, None)
    while page := await chain.batches(after.number, PAGE):
        for batch, is_stored in page:
            if copy is not None and copy.number < batch.number:
                seen.finding = _missing(copy.number, "the table")
                return after
            own = copy if copy is not None and copy.number == batch.number else None
            if own is None and is_stored:  # it may have been copied since the copies were listed
                own = await copies.batch(batch.number)
            if own is None and (is_stored or copy is not None):
                seen.finding = _missing(batch.number, "the object store")
                return after
            seen.finding = await _check_one(chain, batch, after, own, seen)
            if seen.finding is not None:
                return after
            after = link(batch)
            _count(seen, batch, is_copied=own is not None)
            told(seen)
            if copy is not None and own is copy:
                copy = await anext(kept, None)
    if copy is not None:
        seen.finding = _missing(copy.number, "the table")
    return after


async def _check_one(chain: Chain, batch: Seal, after: Anchor, copy: Seal | None, seen: Verified) -> Finding | None:
    finding = check_batch(batch, after, copy)
    if finding is not None:
        return finding
    found = await chain.entries(after.until, batch.until, batch.count + SURPLUS)
    gone = gone_entries(batch, found)
    excused = _excused(gone, await chain.sweeps(gone)) if gone else frozenset()
    seen.swept += len(excused)
    return first_difference(batch, found, excused)


def _excused(gone: Iterable[UUID], sweeps: Iterable[Sweep]) -> frozenset[UUID]:
    now = clock.now()
    return frozenset(gone) & frozenset(one for sweep in sweeps for one in rightly_gone(sweep, now))


def _count(seen: Verified, batch: Seal, *, is_copied: bool) -> None:
    seen.first = seen.first or batch.number
    seen.last, seen.root = batch.number, batch.root.hex()
    seen.batches += 1
    seen.entries += batch.count
    seen.not_copied += not is_copied


def _missing(number: int, where: str) -> Finding:
    return Finding(Fault.MISSING, number, None, f"Batch {number} is missing in {where}.")
