"""Tasks in the background of a process, ended by whoever started them."""

import asyncio
import contextlib


async def stop(task: asyncio.Task[None] | None) -> None:
    """Cancel it and return when it has ended; what it failed with is raised. None: it was never started."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
