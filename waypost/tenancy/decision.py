"""Rules of names. A slug never looks like an id: it is at most 22 characters, an id has 36.

A name is for people: it is kept in NFC, without outer blanks, and otherwise shown as it was given, whatever it looks
like. What tells things apart is the id and the slug, which is ASCII. Refused is what nobody can see: controls,
bidirectional controls, zero-width and unassigned characters.
"""

import re
import unicodedata
from collections.abc import Mapping

from waypost import errors
from waypost.tenancy.model import Setting

SLUG = re.compile(r"[a-z][a-z0-9-]{0,21}")
MAX_SLUG_CHARACTERS = 22
MAX_NAME_CHARACTERS = 100
MAX_DESCRIPTION_CHARACTERS = 2_000
SETTING_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
MAX_SETTINGS = 64
MAX_SETTING_CHARACTERS = 1_000
MAX_SETTING_NUMBER = 2**53 - 1  # what every JSON reader keeps exactly

# Control, format (bidirectional, zero-width, joiners), surrogate, private, unassigned; line and paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Invisible too, in categories of things that can be seen: grapheme joiner, fillers, the blank braille cell, variation
# selectors but the two that choose between text and emoji.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
_VARIATION = range(0xE0100, 0xE01F0)


def is_slug(text: str) -> bool:
    """Whether `text` matches `^[a-z][a-z0-9-]{0,21}$`."""
    return SLUG.fullmatch(text) is not None


def slug_from_name(name: str) -> str:
    """A slug that resembles a name: `Größe & Co.` → `grosse-co`. A name without letters gives `x-…` or `x`."""
    folded = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", folded).strip("-")
    if not slug[:1].isalpha():
        slug = f"x-{slug}" if slug else "x"
    return slug[:MAX_SLUG_CHARACTERS].rstrip("-")


def is_seen(text: str) -> bool:
    """Whether every character can be seen, or is an ordinary blank or mark between those that can."""
    return not any(
        unicodedata.category(c) in _UNSEEN or c in _INVISIBLE or "\ufe00" <= c <= "\ufe0d" or ord(c) in _VARIATION
        for c in text
    )


def checked_name(name: str, path: str = "/name") -> str:
    """The name in NFC without outer blanks; raises 422 `invalid_name` when it is empty, too long, begins with a
    combining mark, or holds a character that nobody sees."""
    kept = unicodedata.normalize("NFC", name.strip())
    if not 1 <= len(kept) <= MAX_NAME_CHARACTERS or not is_seen(kept) or unicodedata.category(kept[0])[0] == "M":
        raise errors.invalid(
            "invalid_name",
            f"A name has 1 to {MAX_NAME_CHARACTERS} characters that can be seen: no control, zero-width or"
            " bidirectional-control characters, and no combining mark at its beginning.",
            path,
        )
    return kept


def checked_description(text: str) -> str:
    """A description in NFC: like a name, but it may be empty and have lines; raises 422 `invalid_description`."""
    kept = unicodedata.normalize("NFC", text.strip())
    if len(kept) > MAX_DESCRIPTION_CHARACTERS or not is_seen(kept.replace("\n", "").replace("\t", "")):
        raise errors.invalid(
            "invalid_description",
            f"A description has at most {MAX_DESCRIPTION_CHARACTERS} characters that can be seen, line feeds and tabs.",
            "/description",
        )
    return kept


def checked_settings(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """An organization's own settings; raises 422 `invalid_setting` at the first one that cannot be kept."""
    for name, value in settings.items():
        path = f"/settings/{name.replace('~', '~0').replace('/', '~1')}"
        if not SETTING_NAME.fullmatch(name):
            raise errors.invalid("invalid_setting", f"A setting's name matches ^{SETTING_NAME.pattern}$.", path)
        if isinstance(value, str) and (len(value) > MAX_SETTING_CHARACTERS or not is_seen(value)):
            detail = f"A setting's text has at most {MAX_SETTING_CHARACTERS} characters that can be seen."
            raise errors.invalid("invalid_setting", detail, path)
        if isinstance(value, int) and abs(value) > MAX_SETTING_NUMBER:
            raise errors.invalid("invalid_setting", f"A number is between ±{MAX_SETTING_NUMBER}.", path)
    if len(settings) > MAX_SETTINGS:
        raise errors.invalid("invalid_setting", f"There are at most {MAX_SETTINGS} settings.", "/settings")
    return dict(settings)


def checked_slug(slug: str | None, name: str) -> str:
    """The given slug, or one made from the name; raises 422 `invalid_slug`."""
    if slug is None:
        return slug_from_name(name)
    if not is_slug(slug):
        raise errors.invalid("invalid_slug", "A slug matches ^[a-z][a-z0-9-]{0,21}$.", "/slug")
    return slug
