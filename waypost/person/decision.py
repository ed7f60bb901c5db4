"""Rules of addresses, names and passwords. Pure.

An e-mail address is one person's: two spellings that a reader or a mail server takes for the same fold to the same
text, and one that only looks like another (letters of two scripts, invisible characters) is refused.
"""

import hashlib
import hmac
import ipaddress
import re
import unicodedata

from waypost import errors
from waypost.errors import WaypostError
from waypost.person.model import Patience

MAX_EMAIL_CHARACTERS = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
MAX_LOCAL_CHARACTERS = 64
MAX_PERSON_NAME_CHARACTERS = 100
MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 1024

_MARKS = "!#$%&'*+/=?^_`{|}~-"  # of atext, RFC 5322 §3.2.3
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # which some scripts cannot do without
# Scripts that are written together, each set under one name.
_TOGETHER = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK"}
_LOOK_ALIKE_LATIN = frozenset("ıĸ")


def folded_email(text: str) -> str:
    """The form in which two addresses are compared: NFKC, case folded, NFKC again (case folding can undo it)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).casefold())


def checked_email(text: str, path: str = "/email") -> tuple[str, str]:
    """The address as given, without outer blanks, and its folded form; raises 422 `invalid_email`."""
    given = unicodedata.normalize("NFC", text.strip())
    folded = folded_email(given)
    local, at, domain = folded.rpartition("@")
    right_size = 3 <= len(folded) <= MAX_EMAIL_CHARACTERS and len(given) <= MAX_EMAIL_CHARACTERS
    if not at or not right_size or not _is_local(local) or not all(_LABEL.fullmatch(p) for p in domain.split(".")):
        raise errors.invalid("invalid_email", "This is not an e-mail address such as ada@example.com.", path)
    if not _is_plain(folded):
        raise errors.invalid(
            "invalid_email", "An e-mail address has letters of one script, and none that only look like others.", path
        )
    return given, folded


def _is_local(local: str) -> bool:
    if not 1 <= len(local) <= MAX_LOCAL_CHARACTERS or local.startswith(".") or local.endswith(".") or ".." in local:
        return False
    return all(c == "." or c in _MARKS or unicodedata.category(c)[0] in "LMN" for c in local)


def _is_plain(text: str) -> bool:
    """Whether all letters are of one script and, of Latin, ones that are not made to look like another."""
    letters = [c for c in text if unicodedata.category(c)[0] in "LMN" and not c.isascii()]
    scripts = {_script(c) for c in letters} - {"COMBINING"}
    if any(c.isascii() and c.isalpha() for c in text):
        scripts.add("LATIN")
    return len(scripts) <= 1 and all(_is_known(c) for c in letters)


def _script(character: str) -> str:
    word = unicodedata.name(character, "UNNAMED").split(" ")[0]
    return _TOGETHER.get(word, word)


def _is_known(character: str) -> bool:
    """Latin letters beyond the usual alphabets are phonetic signs, most of which look like a plain letter."""
    if _script(character) == "COMBINING":
        return False  # nothing that NFC could join: drawn over its neighbour
    if _script(character) != "LATIN":
        return True
    return character not in _LOOK_ALIKE_LATIN and (character <= "\u017f" or "\u1e00" <= character <= "\u1eff")


def checked_person_name(text: str, path: str = "/name") -> str:
    """The name in NFC without outer blanks, empty allowed; raises 422 `invalid_name`."""
    name = unicodedata.normalize("NFC", text.strip())
    unseen = any(unicodedata.category(c) in _UNSEEN and c not in _JOINERS for c in name)
    if len(name) > MAX_PERSON_NAME_CHARACTERS or unseen:
        raise errors.invalid(
            "invalid_name", f"A name has at most {MAX_PERSON_NAME_CHARACTERS} characters, all of them visible.", path
        )
    return name


def normalized_password(text: str) -> str:
    """NFC, so that the same keys pressed on two systems give the same password."""
    return unicodedata.normalize("NFC", text)


def checked_password(text: str, email_folded: str, path: str = "/password") -> str:
    """The normalised password; raises 422 `invalid_password`, which never repeats it."""
    password = normalized_password(text)
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise _bad_password(f"A password has at least {MIN_PASSWORD_CHARACTERS} characters.", path)
    if len(password) > MAX_PASSWORD_CHARACTERS:
        raise _bad_password(f"A password has at most {MAX_PASSWORD_CHARACTERS} characters.", path)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in password):
        raise _bad_password("A password holds no control characters.", path)
    if folded_email(password) == email_folded:
        raise _bad_password("The e-mail address is no password.", path)
    return password


def _bad_password(sentence: str, path: str) -> WaypostError:
    return errors.invalid("invalid_password", sentence, path)


# --- slowing down guesses --------------------------------------------------------------------------------------------


def delay_seconds(attempts: int, patience: Patience) -> float:
    """How long nobody may try again after so many attempts without success: 0 while any are free, then 1, 2, 4 … up to
    the longest. Never for ever: a lock-out would let anybody shut out anybody."""
    if attempts < patience.free:
        return 0.0
    return min(patience.longest_seconds, 2.0 ** min(attempts - patience.free, 60))


def network_of(address: str) -> str:
    """The part of a source address that one party can be expected to have to itself: an IPv4 address, an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)


# --- sessions ---------------------------------------------------------------------------------------------------------


def csrf_token(token: str) -> str:
    """What a browser sends with every change besides the session's cookie: made from the session's token, so that it is
    nowhere kept, and who knows it does not know the token."""
    return hmac.new(token.encode(), b"waypost csrf", hashlib.sha256).hexdigest()


def same_csrf(token: str, given: str | None) -> bool:
    """Whether it is the session's CSRF token; takes the same time either way."""
    return hmac.compare_digest(csrf_token(token).encode(), (given or "").encode())


def invitation_link(public_url: str, token: str) -> str:
    """Where a browser accepts an invitation. The token is in the fragment, which no server sees and no log has."""
    return f"{public_url}/invitations/accept#token={token}"
