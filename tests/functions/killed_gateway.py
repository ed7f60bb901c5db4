"""A gateway that is killed between the two writes of an artifact: `python -P -m tests.functions.killed_gateway WHERE`.

WHERE is `before_row` (the object is there) or `before_object` (the row says it is gone, the object is still there) or
`before_job` (a large payload is there). Variables come as JSON on stdin; `ready <port>` goes to stdout.
"""

import asyncio
import os
import signal
import sys
from typing import Any

import msgspec

from gateway.http import Listener
from gateway.process import reserved_port
from gateway.services import Services
from gateway.surface import edge
from gateway.v1 import artifact
from jobs.submission import GroupCommitter
from storage.postgres.artifact import change
from waypost.settings import GatewaySettings, gateway_settings


async def _die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


async def main(where: str, settings: GatewaySettings) -> None:
    """Serve until the moment comes."""
    if where == "before_row":
        change.keep = _die  # type: ignore[assignment]
    elif where == "before_object":
        artifact.collect = _die  # type: ignore[assignment]
    else:
        GroupCommitter.submit = _die  # type: ignore[method-assign]
    services = await Services.open(settings)
    with reserved_port("127.0.0.1", 0) as port:
        listener = Listener(edge(services))
        await listener.start("127.0.0.1", port)
        sys.stdout.write(f"ready {port}\n")
        sys.stdout.flush()
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], gateway_settings(msgspec.json.decode(sys.stdin.buffer.readline()))))
