"""Rules of addresses, names, passwords and patience."""

import contextlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.access.key import INVITATION_PREFIX, SESSION_PREFIX, check_key, check_text, make_key
from waypost.errors import WaypostError
from waypost.person import password as hashing
from waypost.person.decision import (
    checked_email,
    checked_password,
    checked_person_name,
    csrf_token,
    delay_seconds,
    folded_email,
    invitation_link,
    network_of,
    normalized_password,
    same_csrf,
)
from waypost.person.model import ACCOUNT_PATIENCE, ADDRESS_PATIENCE, Patience


@pytest.mark.parametrize(
    ("given_text", "folded"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("ＡＤＡ@example.com", "ada@example.com"),  # full width
        ("straße@example.de", "strasse@example.de"),
        ("mu\u0308ller@example.de", "müller@example.de"),
        ("ada+work@localhost", "ada+work@localhost"),
        ("иван@почта.рф", "иван@почта.рф"),
        ("用户@例え.テスト", "用户@例え.テスト"),
    ],
)
def test_spellings_of_one_address_fold_to_one_text(given_text: str, folded: str) -> None:
    """Width, case and composition make no second person; an address of one script is welcome."""
    assert checked_email(given_text)[1] == folded


@pytest.mark.parametrize(
    "text",
    [
        "", "ada", "@example.com", "ada@", "a b@example.com", "a..b@example.com", ".a@example.com", "ada@-x.com",
        "ada@x..com", "ada@x.com.", "ada@@x.com", "a" * 65 + "@x.com", "a@" + "x" * 64 + ".com",
        "a@" + "x." * 130 + "de",
        "ada\x00@example.com", "ada\n@example.com", "ada\u200b@example.com", "ada\u202e@example.com",
        "<ada>@example.com",
        "ada@example.com\r\nBcc: eve@example.com", "'; drop table person; --",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Blanks, controls, invisible characters, quotes of other languages: 422 at /email."""
    with pytest.raises(WaypostError) as refused:
        checked_email(text)
    assert refused.value.code == "invalid_email"
    assert refused.value.problems[0].path == "/email"


@pytest.mark.parametrize(
    "text",
    [
        "аda@example.com",  # Cyrillic а
        "ada@еxample.com",  # Cyrillic е in the domain
        "οda@example.com",  # Greek omicron
        "ɑda@example.com",  # Latin alpha
        "ıda@example.com",  # dotless i
        "a\u0338da@example.com",  # a stroke through the letter
        "иван@example.com",  # all Cyrillic before a Latin domain: could be made of look-alikes alone
    ],
)
def test_an_address_that_only_looks_like_another_is_refused(text: str) -> None:
    """Letters of two scripts, phonetic signs, marks drawn over letters."""
    with pytest.raises(WaypostError, match="one script"):
        checked_email(text)


@given(st.emails())
def test_folding_again_changes_nothing(text: str) -> None:
    """What is compared is a fixed point; so two foldings of one address are never two people."""
    once = folded_email(text)
    assert folded_email(once) == once


@given(st.text())
def test_no_text_breaks_the_rules(text: str) -> None:
    """Any text is either taken or refused with 422."""
    for rule in (checked_email, checked_person_name):
        with contextlib.suppress(WaypostError):
            rule(text)


@pytest.mark.parametrize("name", ["Ada\x00", "Ada\u202eevil", "Ada\u200b", "a" * 101, "Ada\nLovelace", "\ud800"])
def test_a_name_is_visible(name: str) -> None:
    """No controls, no reversed or invisible text, at most 100 characters."""
    with pytest.raises(WaypostError, match="visible"):
        checked_person_name(name)


def test_a_name_may_be_empty_or_of_any_script() -> None:
    """People are called as they are; joiners that a script needs stay."""
    assert checked_person_name("") == ""
    assert checked_person_name(" Ágnes Müller-Lüdenscheidt ") == "Ágnes Müller-Lüdenscheidt"
    assert checked_person_name("नर्\u200dस") == "नर्\u200dस"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a" * 11, "at least 12"),
        ("e\u0301" * 6, "at least 12"),  # 12 code points, 6 characters once composed
        ("a" * 1025, "at most 1024"),
        ("correct horse\x00battery", "control"),
        ("ADA.lovelace@example.com", "e-mail"),
        ("ａｄａ.lovelace@example.com", "e-mail"),
    ],
)
def test_a_bad_password_is_refused_and_not_repeated(text: str, why: str) -> None:
    """At least 12 characters once composed, not the address in any spelling; the refusal does not hold it."""
    with pytest.raises(WaypostError, match=why) as refused:
        checked_password(text, "ada.lovelace@example.com")
    assert refused.value.code == "invalid_password"
    assert text not in str(refused.value)


def test_a_password_is_the_same_however_its_letters_are_composed() -> None:
    """NFC, so that two keyboards give one password."""
    composed = "schöne größe über"
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    kept = hashing.hash_password(checked_password(decomposed, "a@b"))
    assert hashing.verify_password(kept, normalized_password(composed))


def test_a_kept_password_is_argon2id_and_salted() -> None:
    """Two hashes of one password differ and neither holds it."""
    first, second = hashing.hash_password("correct horse battery"), hashing.hash_password("correct horse battery")
    assert first.startswith("$argon2id$")
    assert first != second
    assert "horse" not in first
    assert not hashing.is_outdated(first)
    assert not hashing.verify_password(first, "correct horse batterY")


def test_nobody_is_verified_with_the_same_work_as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a person, a hash of today's parameters is computed all the same, and the answer is no."""
    verified = []
    real = hashing._hasher.verify

    class Spy:
        def verify(self, kept: str, password: str) -> bool:
            verified.append(kept)
            return bool(real(kept, password))

    assert not hashing.is_outdated(hashing.DUMMY_HASH)
    monkeypatch.setattr(hashing, "_hasher", Spy())
    assert not hashing.verify_password(None, "whatever it may be")
    assert verified == [hashing.DUMMY_HASH]


def test_a_damaged_hash_lets_nobody_in() -> None:
    """What is no argon2 hash is a wrong password, not an error."""
    assert not hashing.verify_password("damaged", "correct horse battery")


def test_waiting_doubles_after_the_free_tries_and_never_lasts_for_ever() -> None:
    """0 while free, then 1, 2, 4 … up to the longest, also after a million tries."""
    patience = Patience(free=3, longest_seconds=60.0)
    assert [delay_seconds(n, patience) for n in range(1, 11)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert delay_seconds(10**6, ACCOUNT_PATIENCE) == ACCOUNT_PATIENCE.longest_seconds
    assert delay_seconds(10**6, ADDRESS_PATIENCE) == ADDRESS_PATIENCE.longest_seconds


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("unix", "unknown"),
    ],
)
def test_one_party_has_one_network(address: str, network: str) -> None:
    """An IPv6 host can take any address of its /64; they count as one."""
    assert network_of(address) == network


def test_a_csrf_token_belongs_to_one_session_and_does_not_tell_its_token() -> None:
    """Made of the token, compared whole, and no other session's passes."""
    token, other = make_key(SESSION_PREFIX)[1], make_key(SESSION_PREFIX)[1]
    assert same_csrf(token, csrf_token(token))
    for wrong in (None, "", csrf_token(other), csrf_token(token)[:-1], token, "ä"):
        assert not same_csrf(token, wrong)
    assert token not in csrf_token(token)


def test_kinds_of_credentials_never_stand_in_for_one_another() -> None:
    """A session is no API key and no invitation by its form already."""
    session, invitation = make_key(SESSION_PREFIX)[1], make_key(INVITATION_PREFIX)[1]
    assert check_text(session, SESSION_PREFIX) is not None
    assert check_text(session, INVITATION_PREFIX) is None
    assert check_text(invitation, SESSION_PREFIX) is None
    assert check_key(session) is None
    assert check_key(invitation) is None
    assert check_text(session[:-1] + ("a" if session[-1] != "a" else "b"), SESSION_PREFIX) is None


def test_the_token_of_a_link_is_in_its_fragment() -> None:
    """Nothing after # is sent to a server, so no access log has it."""
    path, _, fragment = invitation_link("https://waypost.example", "wpi_x").partition("#")
    assert path == "https://waypost.example/invitations/accept"
    assert fragment == "token=wpi_x"
