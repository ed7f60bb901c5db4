"""Why the platform cannot be started, stopped or shown: one sentence and the command's exit code.

The codes are those of the native contract §8; a start problem never leaves anything behind that was not there before.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    OTHER = 1
    USAGE = 2
    CREDENTIALS = 3
    FORBIDDEN = 4
    NOT_FOUND = 7
    CONFLICT = 8
    SERVER = 9
    VERSION = 10


class LocalError(Exception):
    """One clear sentence for the person at the terminal."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.OTHER) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
