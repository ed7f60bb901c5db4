"""The selector grammar (native contract §3.1): one text in, one `Selector` out, and its canonical text.

    selector = key | "!" key | key ("=" | "!=") value
             | key (">" | ">=" | "<" | "<=") number | key "in" "(" value ("," value)* ")"

Keys and values are ASCII words without blanks, case-sensitive; numbers are plain decimals (`16`, `-2`, `0.5`; no
exponent). Blanks (space, tab) between the parts carry no meaning. Two texts that mean the same by this grammar have one
canonical text; nothing is proved across selectors (`n>1` beside `n>2` stays two). Matching is `waypost.route.decision`.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

import msgspec

MAX_SELECTOR_CHARACTERS = 512
MAX_KEY_CHARACTERS = 64
MAX_VALUE_CHARACTERS = 128
MAX_IN_VALUES = 32
MAX_TAGS = 64  # of one node

_BLANKS = re.compile(r"[ \t]*")
_KEY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:/-]*[A-Za-z0-9_])?")
_VALUE = re.compile(r"[A-Za-z0-9_.:/@+~%#$&;-]+")
_OPERATOR = re.compile(r"!=|>=|<=|=|>|<")
_IN = re.compile(r"in\b")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")


class Operator(StrEnum):
    """What a selector asks of a tag. A tag that the node lacks satisfies `NOT_HAS` and `NOT_EQUAL` only."""

    HAS = "has"
    NOT_HAS = "!"
    EQUAL = "="
    NOT_EQUAL = "!="
    GREATER = ">"
    GREATER_EQUAL = ">="
    LESS = "<"
    LESS_EQUAL = "<="
    IN = "in"


COMPARISONS = frozenset({Operator.GREATER, Operator.GREATER_EQUAL, Operator.LESS, Operator.LESS_EQUAL})


class Selector(msgspec.Struct, frozen=True):
    """One parsed, normalised selector. `values` is empty for (not) having, sorted for `IN`, else one value."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The canonical text: parsing it gives this selector again."""
        if self.operator is Operator.HAS:
            return self.key
        if self.operator is Operator.NOT_HAS:
            return f"!{self.key}"
        if self.operator is Operator.IN:
            return f"{self.key} in ({', '.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


class SelectorError(ValueError):
    """A selector or tag that does not parse: `message` says what was expected at the 0-based `position`."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position})")
        self.position = position
        self.message = message


def number(text: str) -> Decimal | None:
    """The exact value of a plain decimal, or None when `text` is not one (`1e3`, `NaN`, `0x10`, an empty text)."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


class _Reader:
    """A cursor over one selector's text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.skip()

    def skip(self) -> None:
        match = _BLANKS.match(self.text, self.position)
        self.position = match.end() if match else self.position

    def take(self, pattern: re.Pattern[str]) -> str | None:
        """The text that `pattern` matches here, with the blanks after it consumed; None leaves the cursor."""
        match = pattern.match(self.text, self.position)
        if match is None:
            return None
        self.position = match.end()
        self.skip()
        return match.group()

    def accept(self, literal: str) -> bool:
        found = self.text.startswith(literal, self.position)
        if found:
            self.position += len(literal)
            self.skip()
        return found

    def word(self, pattern: re.Pattern[str], limit: int, what: str) -> str:
        start = self.position
        word = self.take(pattern)
        if word is None:
            raise SelectorError(start, f"Expected {what}, found {self.here()}")
        if len(word) > limit:
            raise SelectorError(start, f"This is {len(word)} characters long; {what} has at most {limit}")
        return word

    def here(self) -> str:
        return repr(self.text[self.position]) if self.position < len(self.text) else "the end"

    def end(self) -> None:
        if self.position < len(self.text):
            raise SelectorError(self.position, f"Expected the end of the selector, found {self.here()}")


@lru_cache(maxsize=8192)
def parse_selector(text: str) -> Selector:
    """One selector, normalised: numbers without needless zeros, `in` values sorted without repeats, `in (a)` as `=a`.

    Raises SelectorError with the position of the first character that does not fit.
    """
    if len(text) > MAX_SELECTOR_CHARACTERS:
        raise SelectorError(MAX_SELECTOR_CHARACTERS, f"A selector has at most {MAX_SELECTOR_CHARACTERS} characters")
    reader = _Reader(text)
    negated = reader.accept("!")
    key = reader.word(_KEY, MAX_KEY_CHARACTERS, "a tag name")
    if negated:
        selector = Selector(key, Operator.NOT_HAS)
    elif reader.take(_IN):
        selector = _membership(reader, key)
    elif operator := reader.take(_OPERATOR):
        selector = _relation(reader, key, Operator(operator))
    else:
        selector = Selector(key, Operator.HAS)
    reader.end()
    return selector


def _relation(reader: _Reader, key: str, operator: Operator) -> Selector:
    start = reader.position
    value = reader.word(_VALUE, MAX_VALUE_CHARACTERS, "a value")
    if operator in COMPARISONS:
        if not _NUMBER.fullmatch(value):
            raise SelectorError(start, f"Expected a number such as 16 or 0.5 after '{operator}', found {value!r}")
        value = _plain(value)
    return Selector(key, operator, (value,))


def _membership(reader: _Reader, key: str) -> Selector:
    if not reader.accept("("):
        raise SelectorError(reader.position, f"Expected '(' after 'in', found {reader.here()}")
    values: set[str] = set()
    count = 0
    while True:
        count += 1
        if count > MAX_IN_VALUES:
            raise SelectorError(reader.position, f"'in' takes at most {MAX_IN_VALUES} values")
        values.add(reader.word(_VALUE, MAX_VALUE_CHARACTERS, "a value"))
        if reader.accept(")"):
            break
        if not reader.accept(","):
            raise SelectorError(reader.position, f"Expected ',' or ')', found {reader.here()}")
    ordered = tuple(sorted(values))
    return Selector(key, Operator.IN if len(ordered) > 1 else Operator.EQUAL, ordered)


def _plain(text: str) -> str:
    """A number's one spelling: no plus sign, no needless zeros, no minus zero."""
    whole, _, fraction = text.lstrip("+-").partition(".")
    digits = whole.lstrip("0") or "0"
    fraction = fraction.rstrip("0")
    plain = f"{digits}.{fraction}" if fraction else digits
    return f"-{plain}" if text.startswith("-") and plain != "0" else plain


def canonical(texts: Sequence[str]) -> tuple[str, ...]:
    """The canonical texts of a set of selectors: normalised, without repeats, sorted. The key of a route.

    Raises SelectorError for the first one that does not parse. 0.3 µs for a set seen before, some 10 µs for a new one.
    """
    return _canonical(tuple(texts))


@lru_cache(maxsize=4096)
def _canonical(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({parse_selector(text).text for text in texts}))


def parse_tags(tags: Sequence[str]) -> dict[str, str]:
    """What a node says it has: `["gpu", "mem_gb=24"]` → `{"gpu": "", "mem_gb": "24"}`.

    Raises SelectorError for a tag that is neither `key` nor `key=value`, or when one key has two values.
    """
    if len(tags) > MAX_TAGS:
        raise SelectorError(0, f"There are {len(tags)} tags; a node has at most {MAX_TAGS}")
    parsed: dict[str, str] = {}
    for tag in tags:
        key, value = _parse_tag(tag)
        if parsed.setdefault(key, value) != value:
            raise SelectorError(0, f"The tag {key!r} is given twice with different values")
    return parsed


def _parse_tag(text: str) -> tuple[str, str]:
    reader = _Reader(text)
    key = reader.word(_KEY, MAX_KEY_CHARACTERS, "a tag name")
    value = reader.word(_VALUE, MAX_VALUE_CHARACTERS, "a value") if reader.accept("=") else ""
    if reader.position < len(text):
        raise SelectorError(reader.position, f"Expected a tag such as gpu or mem_gb=24, found {reader.here()}")
    return key, value


def tag_text(key: str, value: str) -> str:
    """The inverse of `parse_tags` for one tag."""
    return f"{key}={value}" if value else key
