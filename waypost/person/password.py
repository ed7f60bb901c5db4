"""Passwords as argon2id hashes. Blocking: about 30 ms of a core and 19 MiB each, so callers bound how many run at once.

Parameters of OWASP's password storage cheat sheet (19 MiB, 2 passes, 1 lane); a hash with others is made anew at the
next log-in. Refuses to tell an unknown person from a wrong password by the work that is done.
"""

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)

# Of a text that is nobody's password; verified where there is no person, so that it takes as long.
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$iG7zpFSCmsUCYWZdb0T2bA$w06W4cx7XKDKkriJRcolNd7CaPyz7htVLBj9Y1jGvns"


def hash_password(password: str) -> str:
    """What is kept of a normalised password."""
    return _hasher.hash(password)


def verify_password(kept: str | None, password: str) -> bool:
    """Whether the normalised password is the one whose hash was kept; None (no person, or one without a password) does
    the same work and is False."""
    try:
        _hasher.verify(DUMMY_HASH if kept is None else kept, password)
    except (VerificationError, InvalidHashError):
        return False
    return kept is not None


def is_outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(kept)
