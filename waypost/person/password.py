"""Passwords as argon2id hashes. Blocking: about 30 ms of a core and 19 MiB each, so callers bound how many run at once.

Parameters of OWASP's password storage cheat sheet (19 MiB, 2 passes, 1 lane); a hash with others is made anew at the
next log-in. Refuses to tell an unknown person from a wrong password by the work that is done.
"""

from functools import cache

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)


@cache
def dummy_hash() -> str:
    """A hash of something that nobody types, to be verified where there is no person: that takes as long."""
    return _hasher.hash("no person has this password")


def hash_password(password: str) -> str:
    """What is kept of a normalised password."""
    return _hasher.hash(password)


def verify_password(kept: str | None, password: str) -> bool:
    """Whether the normalised password is the one whose hash was kept; None (no person, or one without a password) does
    the same work and is False."""
    try:
        _hasher.verify(dummy_hash() if kept is None else kept, password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(kept)
