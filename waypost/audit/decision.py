"""Sealing and checking, without I/O: what is hashed of an entry, how batches are chained, what differs.

An entry's hash covers every column by name, so that a row which says anything else, or stands anywhere else, differs.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from waypost.audit.model import SWEEP_ACTION, Anchor, Fault, Finding, Position, Seal, Sweep, WrittenEntry
from waypost.ids import NIL, instant_of

HASH_BYTES = 32
SLOT_BYTES = 16 + HASH_BYTES  # of `Seal.entries`
LAST_ID = UUID(int=(1 << 128) - 1)
LEAST_DAYS = 90  # that every entry is kept, whatever is set
CLOCK_SLACK = timedelta(days=1)  # between the clocks that made ids and Postgres'
BEGINNING = Anchor(0, bytes(HASH_BYTES), Position(0, NIL))

_ENTRY = b"waypost.audit.entry.1\n"
_BATCH = b"waypost.audit.batch.1\n"

_encode = msgspec.json.Encoder(order="deterministic").encode


def _microseconds(instant: datetime) -> int:
    elapsed = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def entry_hash(entry: WrittenEntry) -> bytes:
    """SHA-256 over the entry's columns as JSON: names sorted, the instant in whole microseconds since 1970."""
    document = msgspec.structs.asdict(entry) | {"at": _microseconds(entry.at)}
    return hashlib.sha256(_ENTRY + _encode(document)).digest()


def slots_of(entries: Iterable[WrittenEntry]) -> bytes:
    """Id and hash of each, in order: what a seal keeps of them."""
    return b"".join(entry.id.bytes + entry_hash(entry) for entry in entries)


def root_of(seal: Seal) -> bytes:
    """The root that these fields give."""
    document = [
        seal.number,
        *([place.transaction, place.id] for place in (seal.first, seal.last, seal.until)),
        seal.count,
        _microseconds(seal.first_at),
        _microseconds(seal.last_at),
        seal.content.hex(),
        seal.previous.hex(),
    ]
    return hashlib.sha256(_BATCH + _encode(document)).digest()


def seal(entries: Sequence[WrittenEntry], *, after: Anchor, until: Position) -> Seal:
    """The next batch after `after`: at least one entry, in the order of positions, all of them up to `until`."""
    slots = slots_of(entries)
    unrooted = Seal(
        number=after.number + 1,
        first=entries[0].position,
        last=entries[-1].position,
        until=until,
        count=len(entries),
        first_at=min(entry.at for entry in entries),
        last_at=max(entry.at for entry in entries),
        entries=slots,
        content=hashlib.sha256(slots).digest(),
        previous=after.root,
        root=b"",
    )
    return msgspec.structs.replace(unrooted, root=root_of(unrooted))


def link(batch: Seal) -> Anchor:
    """What the next batch hangs on."""
    return Anchor(batch.number, batch.root, batch.until)


def check_batch(batch: Seal, after: Anchor, copy: Seal | None) -> Finding | None:
    """Whether a batch follows `after`, is whole in itself, and is what the object store has of it."""

    def altered(sentence: str) -> Finding:
        return Finding(Fault.ALTERED, batch.number, None, sentence)

    if batch.number != after.number + 1:
        lost = after.number + 1
        return Finding(Fault.MISSING, lost, None, f"Batch {lost} is missing: after it comes batch {batch.number}.")
    if copy is not None and copy != batch:
        whose = "the object store's copy" if root_of(copy) != copy.root else "the table's row"
        return altered(f"Batch {batch.number} is not what the object store has: {whose} was altered.")
    if batch.previous != after.root:
        return altered(f"Batch {batch.number} does not follow on batch {after.number}: one of the two was altered.")
    if hashlib.sha256(batch.entries).digest() != batch.content or root_of(batch) != batch.root:
        return altered(f"The row of batch {batch.number} was altered: its hashes do not agree.")
    return None


def swept_digest(entries: Iterable[UUID]) -> str:
    """Of the ids of entries that were taken together: what the entry that tells of it says of them."""
    return hashlib.sha256(b"".join(sorted(one.bytes for one in entries))).hexdigest()


def gone_entries(batch: Seal, found: Iterable[WrittenEntry]) -> list[UUID]:
    """Entries that were sealed and are not there."""
    present = {entry.id for entry in found}
    return [identifier for identifier, _ in _split(batch.entries) if identifier not in present]


def rightly_gone(sweep: Sweep, now: datetime) -> frozenset[UUID]:
    """Entries that a sweep took as it may: all of those that it told of, and none that was young."""
    told = sweep.entry
    if told is None or told.action != SWEEP_ACTION or (told.details or {}).get("digest") != swept_digest(sweep.swept):
        return frozenset()
    before = min(told.at, now) - timedelta(days=LEAST_DAYS) + CLOCK_SLACK
    return frozenset(one for one in sweep.swept if instant_of(one) < before)


def first_difference(
    batch: Seal, found: Sequence[WrittenEntry], excused: Collection[UUID] = frozenset()
) -> Finding | None:
    """The first entry in order that was altered, is missing and not `excused`, or was added since it was sealed."""
    slots = slots_of(found)
    sealed = [slot for slot in _split(batch.entries) if slot[0] not in excused]
    if slots == b"".join(identifier.bytes + digest for identifier, digest in sealed):
        return None
    present = _split(slots)
    for place in range(max(len(sealed), len(present))):
        was = sealed[place] if place < len(sealed) else None
        now = present[place] if place < len(present) else None
        if was == now:
            continue
        if now is not None and now[0] not in {identifier for identifier, _ in sealed}:
            return _finding(batch, Fault.ADDED, now[0])
        if was is not None and was[0] not in {identifier for identifier, _ in present}:
            return _finding(batch, Fault.MISSING, was[0])
        return _finding(batch, Fault.ALTERED, (was or now)[0])  # type: ignore[index]  # one of them is there
    return None


def _split(slots: bytes) -> list[tuple[UUID, bytes]]:
    return [
        (UUID(bytes=slots[start : start + 16]), slots[start + 16 : start + SLOT_BYTES])
        for start in range(0, len(slots), SLOT_BYTES)
    ]


def _finding(batch: Seal, fault: Fault, entry: UUID) -> Finding:
    word = {Fault.ALTERED: "was altered", Fault.MISSING: "is missing", Fault.ADDED: "was added"}[fault]
    return Finding(fault, batch.number, entry, f"Entry {entry} of batch {batch.number} {word} after it was sealed.")
