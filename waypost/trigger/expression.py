"""JMESPath over a webhook, bounded: an expression costs at most so many steps, whatever it says and is given.

JMESPath has no loops, but `[@, @]` and a pipe double a value, so that sixty characters can ask for more than there is
memory. So every step is counted, and so is everything in a value that a step made, each time that it stands in it: no
value within an evaluation has more parts than the budget, and no built-in is called with more. What costs more raises
`ExpensiveError`.

Numbers keep their text: `12.50` and 40-digit integers leave a `map` as they came, unless it calculates with them.
"""

from functools import lru_cache
from typing import Any

import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

from waypost import errors
from waypost.trigger.model import MAX_EXPRESSION_CHARACTERS

SMALL_BUDGET = 2_000  # steps that may be done in passing: 2 ms
FULL_BUDGET = 200_000  # a thread's: a quarter of a second on a shared core
MAX_TEXT = 4 << 20  # characters of a text that is made
_TEXT_STEP = 256  # so many characters count as one step

_GROWING = frozenset(
    {"multi_select_list", "multi_select_dict", "flatten", "projection", "filter_projection", "value_projection",
     "slice"}
)  # fmt: skip


class ExpensiveError(Exception):
    """The budget is used up."""


class Exact(float):
    """A number with a fraction or an exponent, and how it was written."""

    text: str

    def __new__(cls, text: str) -> "Exact":
        made = super().__new__(cls, text)
        made.text = text
        return made


Exact.__name__ = "float"  # jmespath goes by the name of a type

_decode = msgspec.json.Decoder(float_hook=Exact).decode


def _exact(value: Any) -> msgspec.Raw:
    if isinstance(value, Exact):
        return msgspec.Raw(value.text.encode())
    raise TypeError("not a JSON value")


_encode = msgspec.json.Encoder(enc_hook=_exact).encode


class Expression:
    """A compiled expression."""

    __slots__ = ("_tree", "text")

    def __init__(self, text: str, tree: Any) -> None:
        self.text, self._tree = text, tree

    def search(self, value: Any, budget: int) -> Any:
        """What it finds in `value` (of `read_document`).

        Raises ExpensiveError, and 422 `expression_failed` when a function of it got what it cannot use.
        """
        try:
            interpreter = _Counting(budget)
            found = interpreter.visit(self._tree, value)
            interpreter.charge(found)
        except ExpensiveError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a customer's expression does is the customer's to know
            raise failed(self.text, error) from None
        return found


def read_document(text: bytes) -> Any:
    """JSON as expressions see it."""
    return _decode(text)


def write_document(value: Any) -> bytes:
    """The JSON text of what an expression found; raises 422 `expression_failed`."""
    try:
        return _encode(value)
    except (TypeError, RecursionError, ValueError) as error:
        raise failed("map", error) from None


def is_true(value: Any) -> bool:
    """JMESPath's truth: not false, null, or empty. Zero is true."""
    return not (value is None or value is False or value == "" or value == [] or value == {})


def failed(text: str, error: Exception) -> errors.WaypostError:
    return errors.invalid("expression_failed", f"The expression {text[:60]!r} failed: {str(error)[:200]}.")


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """Raises ValueError that says what is wrong with it, and where."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION_CHARACTERS} characters")
    try:
        tree = Parser().parse(text).parsed
        _check_functions(tree)
    except RecursionError:
        raise ValueError("the expression is nested too deep") from None
    except JMESPathError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return Expression(text, tree)


def check_expression(text: str | None, path: str) -> None:
    """Raises 422 `invalid_expression`."""
    if text is None:
        return
    try:
        compile_expression(text)
    except ValueError as error:
        raise errors.invalid("invalid_expression", f"This is no JMESPath: {error}.", path) from None


def _check_functions(node: Any) -> None:
    if node["type"] == "function_expression":
        name = node["value"]
        if name not in Functions.FUNCTION_TABLE:
            raise ValueError(f"there is no function {str(name)[:60]!r}")
    for child in node["children"]:
        if isinstance(child, dict):
            _check_functions(child)


class _Counting(TreeInterpreter):  # type: ignore[misc]  # jmespath has no types
    """jmespath's own interpreter, with a budget."""

    def __init__(self, budget: int) -> None:
        super().__init__()
        self._left = budget

    def visit(self, node: Any, *arguments: Any, **named: Any) -> Any:
        self._spend(1)
        made = super().visit(node, *arguments, **named)
        if node["type"] in _GROWING:
            self.charge(made)
        return made

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        given = [self.visit(child, value) for child in node["children"]]
        for one in given:
            self.charge(one)
        if node["value"] == "join" and len(given) == 2:
            self._check_join(*given)
        made = self._functions.call_function(node["value"], given)
        self.charge(made)
        return made

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = (self.visit(child, value) for child in node["children"])
        self.charge(left)
        self.charge(right)
        compare = self.COMPARATOR_FUNC[node["value"]]
        if node["value"] in self._EQUALITY_OPS or _ordered(left, right):
            return compare(left, right)
        return None

    def charge(self, value: Any) -> None:
        """Count every part of a value, each as often as it stands in it. Ends as soon as the budget does."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            kind = type(one)
            if kind is str:
                self._spend(1 + len(one) // _TEXT_STEP)
            elif kind is list:
                self._spend(1 + len(one) // _TEXT_STEP)
                waiting += one[: self._left + 1]
            elif kind is dict:
                self._spend(1 + len(one))
                waiting += one.values()
            else:
                self._spend(1)

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise ExpensiveError

    def _check_join(self, glue: Any, pieces: Any) -> None:
        if isinstance(glue, str) and isinstance(pieces, list) and len(glue) * len(pieces) > MAX_TEXT:
            raise ExpensiveError


def _ordered(left: Any, right: Any) -> bool:
    """Two numbers, or two texts; jmespath's own lets a text meet a number, and Python then raises."""
    return (_is_number(left) and _is_number(right)) or (isinstance(left, str) and isinstance(right, str))


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
