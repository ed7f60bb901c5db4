"""A compute node that measures files: size, lines, tokens, SHA-256, and the longest function of a Python source.

export WAYPOST_URL=… WAYPOST_RELAY=… WAYPOST_CLIENT_ID=… WAYPOST_CLIENT_SECRET=…
python examples/measure.py lane=a mem_gb=8     # its tags
"""

import ast
import hashlib
import io
import sys
import threading
import tokenize
import warnings
from pathlib import Path

import msgspec
from waypost_sdk import Node, NonRetryable, RunningJob

# Python 3.11 counts the depth of its parser over all threads, and fails when two parse at once
# (https://github.com/python/cpython/issues/106905). The filter of warnings is shared as well.
_PARSING = threading.Lock()

node = Node(tags=sys.argv[1:], max_in_flight=4)


class Request(msgspec.Struct):
    path: str


class LongestFunction(msgspec.Struct):
    name: str
    lines: int
    line: int  # where it begins


class Measure(msgspec.Struct):
    """`tokens` and `longest_function` are null for what Python's own parser does not read; `unreadable` says why."""

    path: str
    size_bytes: int
    lines: int
    sha256: str
    tokens: int | None = None
    longest_function: LongestFunction | None = None
    unreadable: str | None = None


@node.function("file.measure", max_in_flight=4)
def measure(job: RunningJob, payload: Request) -> Measure:
    """Measure one file. Safe to run twice: it only reads."""
    try:
        content = Path(payload.path).read_bytes()
    except FileNotFoundError as error:
        raise NonRetryable("no_such_file", str(error)) from error
    found = Measure(payload.path, len(content), len(content.splitlines()), hashlib.sha256(content).hexdigest())
    try:
        found.tokens = sum(1 for _ in tokenize.tokenize(io.BytesIO(content).readline))
        found.longest_function = longest_function(content)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError) as error:
        # Some sources are wrong on purpose: the standard library tests its own parser with them.
        found.unreadable = f"{type(error).__name__}: {error}"
    return found


def longest_function(content: bytes) -> LongestFunction | None:
    """The function or method with the most lines; None when there is none."""
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escapes and comparisons are the author's business
        tree = ast.parse(content)
    functions = [part for part in ast.walk(tree) if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        return None
    longest = max(functions, key=lambda part: (part.end_lineno or part.lineno) - part.lineno)
    return LongestFunction(longest.name, (longest.end_lineno or longest.lineno) - longest.lineno + 1, longest.lineno)


if __name__ == "__main__":
    node.run()
