"""Expressions of triggers, where the loop must not wait: small ones in passing, all others in a thread of their own.

The budget is counted in steps (waypost.trigger.expression), so what an expression may cost does not depend on the
machine's load. One thread: two would fight the loop for the interpreter's lock.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from waypost.errors import Category, WaypostError, invalid
from waypost.trigger.expression import FULL_BUDGET, SMALL_BUDGET, ExpensiveError, Expression

MAX_WAITING = 64


class Evaluator:
    """Made once a process, ended by `close`."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="expression")
        self._waiting = 0

    async def search(self, expression: Expression, value: Any) -> Any:
        """What the expression finds. Raises 422 `expression_failed`, `expression_too_expensive`, 503 when too many
        expensive ones wait."""
        try:
            return expression.search(value, SMALL_BUDGET)
        except ExpensiveError:
            return await self._in_thread(expression, value)

    async def _in_thread(self, expression: Expression, value: Any) -> Any:
        if self._waiting >= MAX_WAITING:
            detail = "Too many expensive expressions are being evaluated; repeat the request."
            raise WaypostError("busy", detail, Category.UNAVAILABLE, retryable=True, retry_after_seconds=1)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, expression.search, value, FULL_BUDGET)
        except ExpensiveError:
            detail = f"The expression {expression.text[:60]!r} costs more than {FULL_BUDGET} steps on this document."
            raise invalid("expression_too_expensive", detail) from None
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
