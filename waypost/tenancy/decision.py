"""Rules of names. A slug never looks like an id: it is at most 22 characters, an id has 36."""

import re
import unicodedata

from waypost import errors

SLUG = re.compile(r"[a-z][a-z0-9-]{0,21}")
MAX_SLUG_CHARACTERS = 22
MAX_NAME_CHARACTERS = 100


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


def checked_name(name: str) -> str:
    """The name without outer blanks; raises 422 `invalid_name` when it is empty, too long, or holds controls."""
    stripped = name.strip()
    if not 1 <= len(stripped) <= MAX_NAME_CHARACTERS or any(unicodedata.category(c) == "Cc" for c in stripped):
        raise errors.invalid("invalid_name", f"A name has 1 to {MAX_NAME_CHARACTERS} printable characters.", "/name")
    return stripped


def checked_slug(slug: str | None, name: str) -> str:
    """The given slug, or one made from the name; raises 422 `invalid_slug`."""
    if slug is None:
        return slug_from_name(name)
    if not is_slug(slug):
        raise errors.invalid("invalid_slug", "A slug matches ^[a-z][a-z0-9-]{0,21}$.", "/slug")
    return slug
