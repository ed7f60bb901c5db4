"""`python -P -m relay`: one relay process, configured by the environment."""

import asyncio
import os
import sys

from relay import process
from waypost.errors import WaypostError
from waypost.secret import SealError
from waypost.settings import SettingsError, refuse, relay_settings
from waypost.telemetry import log


def main() -> int:
    """Serve until told to stop; 2 for wrong settings, 1 when something that is needed is missing."""
    try:
        settings = relay_settings(os.environ)
    except SettingsError as error:
        refuse(error)
    log.configure(settings.log_format, settings.log_level, settings.process_name)
    try:
        asyncio.run(process.run(settings))
    except (OSError, SealError, WaypostError) as error:
        sys.stderr.write(f"relay: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
