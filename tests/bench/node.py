"""A compute node of the bench, made with the SDK as a customer would: it notes how late each handler started.

Run as `python -P -m tests.bench.node REPORT FUNCTION MAX_IN_FLIGHT [TAG…]`; credential and relay come from WAYPOST_*.
At SIGTERM it drains and writes REPORT.bin: pairs of 64-bit integers (moment due, lateness), nanoseconds.
"""

import asyncio
import gc
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from waypost_sdk import Node


def main(report: Path, function: str, max_in_flight: int, tags: list[str]) -> None:
    seen = array("q")
    node = Node(tags=tags)

    @node.function(function, max_in_flight=max_in_flight)
    async def note(job: Any, payload: Any) -> dict[str, int]:
        now = time.time_ns()
        late = now - payload["at"]
        seen.extend((payload["at"], late))
        for number in range(payload.get("lines", 0)):
            job.log(f"{number:5} {'x' * 94}")
            if number % 20 == 19:
                await asyncio.sleep(0.001)  # as a handler that does something between its lines
        return {"late_ns": late}

    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    node.run()
    report.with_suffix(".bin").write_bytes(seen.tobytes())
    report.write_text("{}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
