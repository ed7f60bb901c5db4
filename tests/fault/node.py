"""The compute node of the fault runs: its handler sometimes fails, and writes down every try that it runs.

Run as `python -P -m tests.fault.node JOURNAL SEED`. A line of JOURNAL is `job attempt number`, written in one append
when the handler starts, so that a kill leaves whole lines. A result names the attempt that made it.
"""

import asyncio
import os
import random
import sys
from typing import Any

from waypost_sdk import Node, NonRetryable

FUNCTION = "fault.work"
FAILS = 0.10
FAILS_FOR_GOOD = 0.01
SLOW = 0.02


def main(journal_path: str, seed: int) -> None:
    journal = os.open(journal_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    chance = random.Random(seed)
    node = Node(tags=["fault", "mem_gb=8"])

    @node.function(FUNCTION, max_in_flight=40)
    async def work(job: Any, payload: Any) -> dict[str, Any]:
        os.write(journal, f"{job.id} {job.attempt_id} {job.number}\n".encode())
        await asyncio.sleep(chance.uniform(0.5, 2.0) if chance.random() < SLOW else chance.uniform(0.0, 0.05))
        draw = chance.random()
        if draw < FAILS_FOR_GOOD:
            raise NonRetryable("unlucky", "This job fails for good.")
        if draw < FAILS:
            raise RuntimeError("this try fails")
        return {"attempt": f"{job.attempt_id:016x}", "key": payload["key"]}

    node.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
