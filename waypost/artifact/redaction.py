"""Taking secrets out of what a process says of itself: its variables, its arguments, the text of its status.

A name that sounds like a secret hides its value whatever that is; a value that looks like one is hidden under any name.
Better too much than too little: what is hidden is still in the artifact's content, for who may read that.
"""

import re
from collections.abc import Iterable

REDACTED = "[redacted]"

_NAME = re.compile(
    r"key|secret|token|passw|passphrase|pwd|credential|auth|cookie|session|private|signature|salt|dsn|webhook|"
    r"conn(ection)?_?str|database_url|cert|bearer|jwt|otp|pin$|pass$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"[0-9]{1,6}|true|false|yes|no|on|off|", re.IGNORECASE)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\bwp[en]?_[A-Za-z0-9_]{8,}|\bwh(sec|sk)_[A-Za-z0-9+/=_-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(gh[pousr]|github_pat|xox[abprs]|sk|pk|rk|glpat|npm)[_-][A-Za-z0-9_-]{16,}"
    r"|\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"
    r"|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@",
    re.IGNORECASE,
)
_LONG = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_OPTION = re.compile(r"(--?[A-Za-z0-9][A-Za-z0-9_-]*)(=(.*))?", re.DOTALL)


def redact_pair(name: str, value: str) -> str:
    """The value of a variable as it may be shown."""
    return REDACTED if _secret_name(name, value) or _looks_secret(value) else value


def redact_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line as it may be shown: `--token x`, `--token=x`, `TOKEN=x`, and values that look like secrets."""
    shown: list[str] = []
    hide = False
    for argument in arguments:
        option = _OPTION.fullmatch(argument)
        name, equals, value = argument.partition("=")
        if hide and option is None:
            shown.append(REDACTED)
        elif equals and _secret_name(name, value):
            shown.append(f"{name}={REDACTED}")
        else:
            shown.append(REDACTED if _looks_secret(argument) else argument)
        hide = option is not None and not equals and _NAME.search(name) is not None
    return shown


def redact_text(text: str) -> str:
    """Free text without what looks like a secret."""
    return _LONG.sub(lambda found: REDACTED if _mixed(found[0]) else found[0], _VALUE.sub(REDACTED, text))


def _secret_name(name: str, value: str) -> bool:
    return _NAME.search(name) is not None and _HARMLESS.fullmatch(value) is None


def _looks_secret(value: str) -> bool:
    return redact_text(value) != value


def _mixed(text: str) -> bool:
    """Whether a long run of letters and digits looks drawn by lot: paths and words rarely have digits among them."""
    if "/" in text and not re.search(r"[+=]", text) and text.count("/") > 1:
        return False
    digits = sum(character.isdigit() for character in text)
    return digits >= 4 and any(character.isalpha() for character in text)
