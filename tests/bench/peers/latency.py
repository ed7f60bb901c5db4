"""What every peer's handler does: note how late it started. It runs in the peers' environment: no dependency."""

import os
import time

_FILE = os.open(os.environ["PEER_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "PEER_NOTES" in os.environ else -1


def note(at_ns: int) -> int:
    """Append the lateness in nanoseconds to the notes, and answer it."""
    late = time.time_ns() - at_ns
    if at_ns:
        os.write(_FILE, b"%d\n" % late)
    return late
