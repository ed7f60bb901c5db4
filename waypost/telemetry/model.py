"""Words of telemetry that settings share: log formats and levels."""

from typing import Literal

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
