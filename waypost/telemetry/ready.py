"""Tell whoever started this process that it serves, once, on a file descriptor.

The line is the whole protocol: a supervisor that reads it knows the addresses; one that reads end-of-file knows that
the start failed.
"""

import json
import os


def announce(address: str, internal_address: str, *, name: str | None = None, fd: int | None = None) -> bool:
    """Write one JSON line `{"name", "pid", "address", "internal_address"}` to the descriptor and close it.

    `fd` and `name` are those of WAYPOST_READY_FD and WAYPOST_PROCESS_NAME unless given. Answers False when there is no
    descriptor or its reader has gone: neither is a reason to stop serving.
    """
    if fd is None:
        text = os.environ.get("WAYPOST_READY_FD", "")
        if not text:
            return False
        fd = int(text)
    line = {
        "name": name or os.environ.get("WAYPOST_PROCESS_NAME", ""),
        "pid": os.getpid(),
        "address": address,
        "internal_address": internal_address,
    }
    try:
        with os.fdopen(fd, "w") as pipe:
            pipe.write(json.dumps(line) + "\n")
    except OSError:
        return False
    return True
