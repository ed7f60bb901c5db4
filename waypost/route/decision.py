"""Who may run what: matching of selectors with tags, who serves a job, what a credential allows. Pure; no I/O.

The relay routes with these functions and the gateway explains with the same ones (native contract §3.4), so an
explanation cannot differ from what routing does. Among eligible nodes the choice is the relay's, by `free_slots`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from operator import ge, gt, le, lt

from waypost.route.model import NodeView
from waypost.route.selector import (
    Operator,
    Selector,
    SelectorError,
    canonical,
    number,
    parse_selector,
    parse_tags,
    tag_text,
)

__all__ = [
    "Operator",
    "Predicate",
    "Selector",
    "SelectorError",
    "allowed",
    "canonical",
    "compile_selectors",
    "first_excluding",
    "first_refused",
    "free_slots",
    "matches",
    "most_excluding",
    "parse_allowance",
    "parse_selector",
    "parse_tags",
    "serves",
    "tag_text",
]

MAX_ALLOWANCES = 64
MAX_ALLOWANCE_CHARACTERS = 200

Predicate = Callable[[Mapping[str, str]], bool]

_COMPARE = {Operator.GREATER: gt, Operator.GREATER_EQUAL: ge, Operator.LESS: lt, Operator.LESS_EQUAL: le}
_ALLOWANCE = re.compile(r"[A-Za-z0-9_.:/@+*~%#$&;=-]+")


# --- selectors and tags ---------------------------------------------------------------------------------------------


def matches(selectors: Sequence[str], tags: Mapping[str, str]) -> bool:
    """Whether all selectors hold. An absent tag satisfies `!k` and `k!=v`; a tag that is no number, no comparison.

    Raises SelectorError for a selector that does not parse.
    """
    return compile_selectors(tuple(selectors))(tags)


@lru_cache(maxsize=4096)
def compile_selectors(selectors: tuple[str, ...]) -> Predicate:
    """A function of a node's tags that tells whether all selectors hold, compiled once a set."""
    tests = tuple(_compile(parse_selector(text)) for text in selectors)
    if not tests:
        return lambda tags: True
    if len(tests) == 1:
        return tests[0]

    def every(tags: Mapping[str, str]) -> bool:
        for test in tests:  # noqa: SIM110 - a generator would cost more than the tests
            if not test(tags):
                return False
        return True

    return every


def _compile(selector: Selector) -> Predicate:
    key, operator = selector.key, selector.operator
    if operator is Operator.HAS:
        return lambda tags: key in tags
    if operator is Operator.NOT_HAS:
        return lambda tags: key not in tags
    if operator is Operator.IN:
        values = frozenset(selector.values)
        return lambda tags: tags.get(key) in values
    value = selector.values[0]
    if operator is Operator.EQUAL:
        return lambda tags: tags.get(key) == value
    if operator is Operator.NOT_EQUAL:
        return lambda tags: tags.get(key) != value
    return _comparison(selector)


def _comparison(selector: Selector) -> Predicate:
    key, bound, compare = selector.key, Decimal(selector.values[0]), _COMPARE[selector.operator]

    def holds(tags: Mapping[str, str]) -> bool:
        text = tags.get(key)
        if text is None:
            return False
        value = _tag_number(text)
        return value is not None and compare(value, bound)

    return holds


_tag_number = lru_cache(maxsize=4096)(number)


def first_excluding(selectors: Sequence[str], tags: Mapping[str, str]) -> str | None:
    """The first selector that these tags do not satisfy, or None when all hold."""
    return next((text for text in selectors if not compile_selectors((text,))(tags)), None)


def most_excluding(selectors: Sequence[str], tag_sets: Iterable[Mapping[str, str]]) -> tuple[str, int] | None:
    """The selector that the most tag sets fail (the first of equals), and how many; None when nobody fails one."""
    excluded: Counter[str] = Counter()
    for tags in tag_sets:
        excluded.update(text for text in selectors if not compile_selectors((text,))(tags))
    if not excluded:
        return None
    worst = max(selectors, key=lambda text: excluded[text])
    return worst, excluded[worst]


# --- nodes ----------------------------------------------------------------------------------------------------------


def serves(node: NodeView, function: str, selectors: Sequence[str]) -> bool:
    """Whether routing may give this node a job of `function` with these selectors, free or not. A draining node: no."""
    return not node.draining and function in node.functions and compile_selectors(tuple(selectors))(node.tags)


def free_slots(node: NodeView, function: str) -> int:
    """How many more jobs of `function` this node takes now: bounded by the node and by the function. Never negative.

    Where a view does not tell how a node's work is spread over several functions, only the node's bound is exact.
    """
    if node.draining or function not in node.functions:
        return 0
    busy = node.in_flight if len(node.functions) == 1 else node.busy.get(function, 0)
    return max(0, min(node.max_in_flight - node.in_flight, node.functions[function] - busy))


# --- what a credential allows ---------------------------------------------------------------------------------------


def parse_allowance(patterns: Sequence[str]) -> tuple[str, ...]:
    """Validated patterns of a credential, such as `gpu`, `region=*` or `image.*`; `*` stands for any characters.

    Raises SelectorError; its message names the pattern.
    """
    if len(patterns) > MAX_ALLOWANCES:
        raise SelectorError(0, f"There are {len(patterns)} patterns; a credential has at most {MAX_ALLOWANCES}")
    for pattern in patterns:
        if not 0 < len(pattern) <= MAX_ALLOWANCE_CHARACTERS or not _ALLOWANCE.fullmatch(pattern):
            raise SelectorError(
                0,
                f"{pattern!r} is no pattern; write one such as gpu, region=* or image.*,"
                f" of at most {MAX_ALLOWANCE_CHARACTERS} characters",
            )
    return tuple(dict.fromkeys(patterns))


def first_refused(patterns: Sequence[str] | None, names: Iterable[str]) -> str | None:
    """The first name (a tag's text or a function) that no pattern allows, or None. No list (None) allows everything.

    `gpu` allows the bare tag only; `region=*` any value of region; `image.*` all functions below image, not `image`.
    """
    if patterns is None:
        return None
    test = _allowance(tuple(patterns))
    return next((name for name in names if not test(name)), None)


def allowed(patterns: Sequence[str] | None, names: Iterable[str]) -> bool:
    """Whether the patterns allow every name."""
    return first_refused(patterns, names) is None


@lru_cache(maxsize=1024)
def _allowance(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    plain = frozenset(pattern for pattern in patterns if "*" not in pattern)
    wild = [tuple(pattern.split("*")) for pattern in patterns if "*" in pattern]
    return lambda name: name in plain or any(_fits(name, pieces) for pieces in wild)


def _fits(name: str, pieces: tuple[str, ...]) -> bool:
    """Whether `name` is the pieces in order with anything between them. Linear: no pattern can make it slow."""
    first, *middle, last = pieces
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    position, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
