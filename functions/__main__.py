"""`python -P -m functions`: one worker. Exit codes: 0 stopped, 1 it cannot start, 2 a setting is wrong."""

import asyncio
import os
import sys

from waypost.errors import WaypostError
from waypost.secret import SealError
from waypost.settings import SettingsError, refuse, worker_settings
from waypost.telemetry.log import configure, get_logger


def main() -> int:
    try:
        settings = worker_settings(os.environ)
    except SettingsError as error:
        refuse(error)
    configure(settings.log_format, settings.log_level, settings.process_name)
    from functions.worker import Worker

    async def run() -> None:
        await Worker(settings).run()

    try:
        asyncio.run(run())
    except WaypostError as error:
        get_logger("functions").error("worker.cannot_start", code=error.code, detail=error.detail)
        return 1
    except SealError as error:
        get_logger("functions").error("worker.cannot_start", detail=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
