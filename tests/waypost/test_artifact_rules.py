"""Rules about artifacts: ranges, entity tags, canonical specifications, redaction, what a bundle must hold."""

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.artifact.bundle import REQUIRED, describe_bundle
from waypost.artifact.decision import not_modified, read_range, reference_in, references_within
from waypost.artifact.redaction import REDACTED, redact_arguments, redact_pair, redact_text
from waypost.artifact.spec import SpecError, canonical_spec, spec_hash
from waypost.errors import Category, WaypostError

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=2-", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=3-99", (3, 10)),
        ("bytes=9-9", (9, 10)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("bytes=0-9999999999999999999", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str | None, found: tuple[int, int] | None) -> None:
    """One range of bytes; everything else is as if nothing had been asked."""
    assert read_range(header, None, TAG, 10) == found


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=11-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_beyond_the_end_is_416(header: str, size: int) -> None:
    """With how much there is."""
    with pytest.raises(WaypostError) as error:
        read_range(header, None, TAG, size)
    assert error.value.category is Category.RANGE
    assert error.value.extra == {"size_bytes": size}


def test_a_range_of_other_content_is_not_served() -> None:
    """If-Range with another tag, or a weak one, asks for all of it."""
    assert read_range("bytes=0-1", TAG, TAG, 10) == (0, 2)
    for other in ('"abd"', f"W/{TAG}", "Sat, 21 Nov 2026 10:00:00 GMT"):
        assert read_range("bytes=0-1", other, TAG, 10) is None


def test_who_has_the_content_is_told_so() -> None:
    """If-None-Match in every form."""
    assert not_modified(TAG, TAG)
    assert not_modified(f'"x", W/{TAG}', TAG)
    assert not_modified("*", TAG)
    assert not not_modified('"x"', TAG)
    assert not not_modified(None, TAG)


def test_a_payload_names_an_artifact_by_that_field_alone() -> None:
    """Anything else is a payload like any other; a name that is no id is refused."""
    own = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert str(reference_in(b'{"$artifact": "%s"}' % own.encode())) == own
    assert str(reference_in(b'{"\\u0024artifact": "%s"}' % own.encode())) == own
    for text in (b"", b"null", b'"$artifact"', b'{"$artifact": "%s", "b": 1}' % own.encode(), b'[{"$artifact": 1}]'):
        assert reference_in(text) is None
    for text in (b'{"$artifact": 1}', b'{"$artifact": "x"}', b'{"$artifact": null}'):
        with pytest.raises(WaypostError) as error:
            reference_in(text)
        assert error.value.code == "invalid_artifact"


def test_what_a_payload_contains_is_found_wherever_it_stands() -> None:
    """Each artifact once; not in texts, not beside other fields, not by what is no id."""
    one, two = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"
    document = {"a": [{"$artifact": one}, {"b": {"$artifact": two}}, {"$artifact": one}], "n": 1}
    for text in (json.dumps(document), json.dumps(document, indent=2)):
        assert [str(found) for found in references_within(text.encode())] == [one, two]
    for other in ({"text": json.dumps(document)}, [{"$artifact": one, "b": 1}], [{"$artifact": "x" * 36}], [one]):
        assert references_within(json.dumps(other).encode()) == []


# RFC 8785, appendix B: the bits of a double and how it is written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "becbf647612f3696": "-0.0000033333333333333333",
}


@pytest.mark.parametrize(("bits", "written"), NUMBERS.items())
def test_numbers_are_written_as_the_standard_lists_them(bits: str, written: str) -> None:
    """RFC 8785 appendix B."""
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_spec(f"[{value!r}]".encode()) == f"[{written}]".encode()


def test_the_standards_own_example_is_written_as_it_says() -> None:
    """RFC 8785 §3.2.2 and §3.2.3: strings, literals, and names in UTF-16 order."""
    given_ = (
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        ' "string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    )
    wanted = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_spec(given_.encode()).decode() == wanted
    names = '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}'
    assert [*json.loads(canonical_spec(names.encode()))] == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]


_texts = st.text(st.characters(codec="utf-8"))
_floats = st.floats(allow_nan=False, allow_infinity=False)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _floats | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_texts, _values, max_size=4))
def test_the_same_specification_has_the_same_hash(value: dict[str, Any]) -> None:
    """However it is indented, escaped and ordered; canonical text is its own canonical form and says the same."""
    first = canonical_spec(json.dumps(value).encode())
    turned = {name: value[name] for name in reversed(value)}
    assert canonical_spec(json.dumps(turned, indent=3, ensure_ascii=False).encode()) == first
    assert canonical_spec(first) == first
    assert _close(json.loads(first), value)


def _close(left: Any, right: Any) -> bool:
    if isinstance(right, float):
        return math.isclose(left, right, rel_tol=0, abs_tol=0)
    if isinstance(right, dict):
        return left.keys() == right.keys() and all(_close(left[name], right[name]) for name in right)
    if isinstance(right, list):
        return len(left) == len(right) and all(map(_close, left, right))
    return bool(left == right)


def test_key_value_text_is_sorted_and_keeps_its_blanks() -> None:
    """Line ends, order and empty lines carry no meaning; blanks do."""
    wanted = b"pipeline.name= a b \nx.0=1\n"
    assert canonical_spec(b"x.0=1\npipeline.name= a b \n") == wanted
    assert canonical_spec(b"\xef\xbb\xbfpipeline.name= a b \r\n\r\nx.0=1\r\n") == wanted
    assert spec_hash(wanted) != spec_hash(canonical_spec(b"x.0=1\npipeline.name=a b\n"))


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"a", b"a=1\na=2", b"\xff=1", b"a b=1", b"=1", b"a=\x01", b'{"a":1,"a":2}', b'{"a":NaN}',
             b'{"a":1e999}', b"{", b'{"a":9007199254740993}', b'{"a":"\\ud800"}', b"[" * 100]
)  # fmt: skip
def test_what_is_no_specification_is_refused(text: bytes) -> None:
    """Neither hashed nor guessed at."""
    with pytest.raises(SpecError):
        canonical_spec(text)


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "x" * 8,
    "DB_PASSWORD": "hunter2",
    "npm_token": "abc",
    "WAYPOST_KEY": "wp_abc",
    "DATABASE_URL": "postgresql://localhost/x",
    "PGPASS": "p",
    "SENTRY_DSN": "https://example.com/1",
    "SESSION_ID": "s",
    "PLAIN": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "URL": "https://user:pass@example.com/x",
    "HEADER": "Authorization: Bearer abcdefgh12345678",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nMIIE",
    "ID": "AKIAIOSFODNN7EXAMPLE",
    "GIT": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "RANDOM": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
HARMLESS = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "HOME": "/home/someone/with/a/long/path/in/it/2026/11/21",
    "LANG": "C.UTF-8",
    "SSH_AUTH": "1",
    "TOKEN_ENABLED": "false",
    "URL": "https://example.com/a/b?c=1",
    "KEY_COUNT": "12",
}


@pytest.mark.parametrize(("name", "value"), SECRETS.items())
def test_a_secret_of_a_process_is_not_shown(name: str, value: str) -> None:
    """By its name, or by what it looks like."""
    assert redact_pair(name, value) == REDACTED


@pytest.mark.parametrize(("name", "value"), HARMLESS.items())
def test_what_is_no_secret_is_shown(name: str, value: str) -> None:
    """Else the record would say nothing."""
    assert redact_pair(name, value) == value


def test_secrets_on_a_command_line_are_not_shown() -> None:
    """After the option, joined to it, as a variable, or alone."""
    given_ = ["run", "--token", "abc", "--password=x", "API_KEY=y", "--port", "80", "wpe_0123456789abcdef", "--key"]
    wanted = ["run", "--token", REDACTED, f"--password={REDACTED}", f"API_KEY={REDACTED}", "--port", "80", REDACTED]
    assert redact_arguments(given_) == [*wanted, "--key"]
    assert "s3cret" not in redact_text("failed at https://me:s3cret@example.com/x")


def bundle_files(**changes: Any) -> dict[str, bytes]:
    """A good incident bundle; a change of None leaves a file out. Names with `_` for `.`."""
    files: dict[str, Any] = {
        "spec.kv": b"pipeline.name=orders\nsingle_ring.shards=1\n",
        "spec_validation.json": {"ok": True, "description": "one ring"},
        "runtime.json": {"crate": {"name": "runtime", "version": "1.2.3"}},
        "policy_audit.json": {
            "ok": True, "policy_version": 1, "mode": "dry_run", "enforced": True, "spec": {"stages": 2},
            "stage_failure_policy": "stop_pipeline", "spec_path": "/x/spec.kv",
            "runtime_crate": {"name": "runtime", "version": "1.2.3"},
        },
        "environment.json": {
            "pid": 12, "cwd": "/srv", "args": ["run", "--token", "t0psecret"],
            "env": [["AGENT_KEY", "wpe_s3cr3ts3cr3t"], ["LANG", "C.UTF-8"]], "proc_status": "Name: run",
        },
    }  # fmt: skip
    files |= changes
    return {
        name: text if isinstance(text, bytes) else json.dumps(text).encode()
        for name, text in files.items()
        if text is not None
    }


def test_a_bundle_is_described_without_its_secrets() -> None:
    """Who ran what, how it was judged, its specification's hash; the process's secrets are redacted."""
    found = describe_bundle(bundle_files())
    assert found.reasons == ()
    assert found.spec_hash == spec_hash(b"pipeline.name=orders\nsingle_ring.shards=1\n")
    fields = {"runtime": "runtime", "runtime_version": "1.2.3", "policy_mode": "dry_run", "policy_ok": "true"}
    assert found.facts["fields"] == fields | {"spec_ok": "true"}
    assert found.facts["environment"]["env"] == [["AGENT_KEY", REDACTED], ["LANG", "C.UTF-8"]]
    shown = json.dumps(found.facts)
    assert "s3cr3t" not in shown
    assert "t0psecret" not in shown


@pytest.mark.parametrize("name", REQUIRED)
def test_a_bundle_without_a_required_file_is_rejected(name: str) -> None:
    """Naming the file."""
    found = describe_bundle(bundle_files(**{name: None}))
    assert [reason.code for reason in found.reasons] == ["file_missing"]
    assert name in found.reasons[0].message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spec_validation.json", {"ok": True}),
        ("spec_validation.json", {"ok": "yes", "description": "x"}),
        ("spec_validation.json", {"ok": False, "description": "x"}),
        ("runtime.json", {"crate": {"name": "x"}}),
        ("runtime.json", b"{"),
        ("policy_audit.json", {"ok": True}),
        ("environment.json", {"pid": 1, "args": [], "env": [["B", "1"], ["A", "2"]]}),
        ("environment.json", {"pid": 1, "args": [], "env": [["B"]]}),
        ("single_ring_snapshot.json", b"{1}"),
        ("runtime_config.txt", b"\xff\xfe"),
    ],
)
def test_a_bundle_with_a_file_that_says_nothing_is_rejected(name: str, text: Any) -> None:
    """Naming the file and what is wrong."""
    found = describe_bundle(bundle_files(**{name: text}))
    assert [reason.code for reason in found.reasons] == ["invalid_file"]
    assert found.reasons[0].message.startswith(name)


def test_a_bundle_of_a_newer_writer_is_read() -> None:
    """Fields that are not known are ignored: the format is additive."""
    assert not describe_bundle(
        bundle_files(**{"runtime.json": {"crate": {"name": "r", "version": "2"}, "x": 1}})
    ).reasons


def test_a_bundle_whose_specification_cannot_be_read_is_rejected() -> None:
    """It has no hash then."""
    found = describe_bundle(bundle_files(**{"spec.kv": b"no pairs"}))
    assert [reason.code for reason in found.reasons] == ["invalid_spec"]
    assert found.spec_hash is None
