"""Errors on the command line: a sentence on stderr and an exit code. This is the only place that maps errors to codes.

0 ok · 1 other · 2 usage · 3 credentials · 4 forbidden · 7 not found · 8 conflict · 9 server · 10 version
"""

import os
import sys

from waypost_sdk import configuration
from waypost_sdk.errors import (
    ConfigurationError,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    InvalidError,
    LimitedError,
    MalformedError,
    NodeRefusedError,
    NotAvailableError,
    NotFoundError,
    ServerError,
    TooLargeError,
    WaypostError,
)

OK, OTHER, USAGE, CREDENTIALS, FORBIDDEN, NOT_FOUND, CONFLICT, SERVER, VERSION = 0, 1, 2, 3, 4, 7, 8, 9, 10

_CODES: tuple[tuple[type[WaypostError], int], ...] = (  # the first that fits
    (CredentialsError, CREDENTIALS),
    (ForbiddenError, FORBIDDEN),
    (NotFoundError, NOT_FOUND),
    (ConflictError, CONFLICT),
    (NotAvailableError, VERSION),
    (ServerError, SERVER),
    (LimitedError, SERVER),
    (ConfigurationError, USAGE),
    (InvalidError, USAGE),
    (MalformedError, USAGE),
    (TooLargeError, USAGE),
)
_STRANGE = frozenset({"unreadable_answer", "http_404", "http_502"})  # not in the platform's words
_NODE_REFUSALS = {
    "permission_denied": FORBIDDEN,
    "unauthenticated": CREDENTIALS,
    "bad_node_credential": CREDENTIALS,
    "unimplemented": VERSION,
}


class UsageError(ConfigurationError):
    """The command was given something that cannot be right."""

    def __init__(self, detail: str) -> None:
        super().__init__("usage", detail)


def exit_code(error: WaypostError) -> int:
    """The exit code of an error."""
    if isinstance(error, NodeRefusedError):
        return _NODE_REFUSALS.get(error.code, OTHER)
    return next((code for kind, code in _CODES if isinstance(error, kind)), OTHER)


def report(error: WaypostError) -> int:
    """Say on stderr what went wrong, and give the exit code."""
    place = f" (request {error.request_id})" if error.request_id else ""
    sys.stderr.write(f"waypost: {error.detail} [{error.code}]{place}\n")
    for problem in error.problems:
        if problem.get("message") != error.detail:
            sys.stderr.write(f"  {problem.get('path') or '/'}: {problem.get('message')} [{problem.get('code')}]\n")
    if advice := _advice(error):
        sys.stderr.write(f"  {advice}\n")
    return exit_code(error)


def _advice(error: WaypostError) -> str:
    """What the person can do about it, where that is not in the platform's own sentence."""
    if error.code == "bad_node_credential":
        return "Are WAYPOST_CLIENT_ID and WAYPOST_CLIENT_SECRET right? Another one: waypost node-credentials create"
    if error.status == 401 and error.code != "invalid_login":
        return _credential_advice()
    if isinstance(error, ForbiddenError):
        return "What this credential may do, and why: waypost whoami"
    if error.status == 412:
        return "Read it again; --if-match takes the `etag` of its JSON."
    if isinstance(error, LimitedError) and error.retry_after_seconds:
        return f"It asks to wait {error.retry_after_seconds:g} s: --retry-seconds says how long the command may."
    if error.code == "connection_failed" or error.code in _STRANGE:
        return "Is the address right, and does the platform run?"
    return ""


def _credential_advice() -> str:
    """Sign in again where the credential came from a context; else where it came from."""
    if os.environ.get(configuration.VARIABLES["key"]):
        return "The key comes from the variable WAYPOST_KEY."
    try:
        name = configuration.current_name(configuration.read(configuration.file_path()))
    except ConfigurationError:  # everything came from arguments and variables
        name = None
    return f"Sign in again: waypost login{f' --context {name}' if name else ''}"
