"""`python -P -m gateway`: one gateway, configured by WAYPOST_… variables; SIGTERM stops it."""

import os
import sys

import uvloop

from gateway.process import run
from waypost.secret import SealError
from waypost.settings import SettingsError, gateway_settings, refuse
from waypost.telemetry import log


def main() -> None:
    try:
        settings = gateway_settings(os.environ)
    except SettingsError as error:
        refuse(error)
    log.configure(settings.log_format, settings.log_level, settings.process_name)
    try:
        uvloop.run(run(settings))
    except (SealError, OSError) as error:
        sys.stderr.write(f"{settings.process_name}: {error}\n")
        raise SystemExit(1) from None


main()
