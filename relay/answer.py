"""What a node may answer: results and failures, checked (native contract §3.1).

A result is any JSON up to 1 MiB, kept exactly as it came. An answer that breaks a rule fails the attempt for good: the
same function would break it again.
"""

from typing import Any

import msgspec

from waypost.job.model import NO_DETAILS, JobError

MAX_RESULT_BYTES = 1 << 20
MAX_CODE_CHARACTERS = 100
MAX_MESSAGE_CHARACTERS = 4_000
MAX_DETAILS_BYTES = 16 << 10

_json = msgspec.json.Decoder(msgspec.Raw)


class UnreadableAnswer(Exception):  # noqa: N818 - it carries the error
    """The answer counts as this failure instead."""

    def __init__(self, error: JobError) -> None:
        super().__init__(error.message)
        self.error = error


def read_result(result: bytes) -> bytes:
    """The result's JSON text; an empty one is `null`. UnreadableAnswer when too large or no JSON."""
    if len(result) > MAX_RESULT_BYTES:
        raise UnreadableAnswer(
            JobError(
                "result_too_large",
                f"The result has {len(result)} bytes; at most {MAX_RESULT_BYTES} are kept. Store it as an artifact.",
            )
        )
    if not result:
        return b"null"
    if not _is_json(result):
        raise UnreadableAnswer(JobError("result_not_json", "The result is not JSON text in UTF-8."))
    return bytes(result)


def read_failure(failure: Any) -> JobError:
    """A node's `Failure` as its reader sees it, cut to size. An answer with neither result nor failure is one too."""
    if failure is None:
        return JobError("answer_empty", "The node answered with neither a result nor a failure.")
    details = bytes(failure.details)
    kept = msgspec.Raw(details) if details and len(details) <= MAX_DETAILS_BYTES and _is_json(details) else NO_DETAILS
    return JobError(
        failure.code[:MAX_CODE_CHARACTERS] or "failed",
        failure.message[:MAX_MESSAGE_CHARACTERS],
        bool(failure.retryable),
        kept,
    )


def _is_json(text: bytes) -> bool:
    try:
        _json.decode(text)
        if not text.isascii():
            text.decode("utf-8")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True
