"""Deliveries without any I/O: which addresses, what follows from an answer, when it is tried again."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from jobs.endpoint import (
    ASK_AGAIN_SECONDS,
    AT_ONCE,
    BREAK_AFTER,
    BREAK_SECONDS,
    FORGIVEN_SECONDS,
    FORGOTTEN_SECONDS,
    LONGEST_BREAK_SECONDS,
    Endpoint,
)
from waypost import clock
from waypost.subscription.address import read_address, read_subnets, refusal
from waypost.subscription.decision import delay_seconds, judge, matching, retry_after
from waypost.subscription.model import JITTER, MAX_RETRY_AFTER_SECONDS, Outcome, Verdict

# The first and the last address of each block that nothing may be delivered to, and why.
REFUSED = [
    ("0.0.0.0", "unspecified"),  # noqa: S104 -- an address to refuse
    ("0.0.0.1", "this network"),
    ("0.255.255.255", "this network"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "carrier-grade NAT"),
    ("100.127.255.255", "carrier-grade NAT"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("169.254.0.0", "link-local"),
    ("169.254.169.254", "link-local"),  # the metadata of clouds
    ("169.254.255.255", "link-local"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.0", "reserved"),
    ("192.0.0.255", "reserved"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4 relay"),
    ("192.168.0.0", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.0", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.255", "documentation"),
    ("203.0.113.1", "documentation"),
    ("224.0.0.0", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:a9fe:a9fe", "IPv4-mapped"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::8.8.8.8", "NAT64"),
    ("64:ff9b:1:ffff::a00:1", "NAT64"),
    ("100::1", "discard-only"),
    ("1fff:ffff::1", "reserved"),
    ("2001::1", "Teredo"),
    ("2001:0:7f00:1::", "Teredo"),
    ("2001:2::1", "reserved"),
    ("2001:10::1", "reserved"),
    ("2001:db8::1", "documentation"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("2002:7f00:1::", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("3fff::1", "documentation"),
    ("3fff:fff:ffff::1", "documentation"),
    ("4000::1", "reserved"),
    ("5f00::1", "reserved"),
    ("fbff:ffff::1", "reserved"),
    ("fc00::1", "unique local"),
    ("fd12:3456:789a::1", "unique local"),
    ("fe80::1", "link-local"),
    ("fe80::1%eth0", "link-local"),
    ("febf:ffff::1", "link-local"),
    ("fec0::1", "site-local"),
    ("ff02::1", "multicast"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
]
# Neighbours of the blocks, and addresses that everybody knows.
PUBLIC = (
    "1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.167.255.255",
    "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:4860:4860::8888",
    "2606:4700:4700::1111", "2a00:1450::1", "3ffe:ffff::1",
)  # fmt: skip


@pytest.mark.parametrize(("address", "kind"), REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str, kind: str) -> None:
    """By its kind, and with a subnet that is allowed beside it."""
    assert refusal(read_address(address)) == kind
    assert refusal(read_address(address), read_subnets("10.99.0.0/16, fd99::/16")) == kind


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_delivered_to(address: str) -> None:
    """Also the last before and the first after a block."""
    assert refusal(ip_address(address)) is None


def test_everything_that_the_standard_library_calls_not_global_is_refused() -> None:
    """A second list, kept by others, over a grid of the whole IPv4 range."""
    for number in range(0, 2**32, 65_521):
        address = ip_address(number)
        if not address.is_global or address.is_multicast:
            assert refusal(address) is not None, address


def test_a_subnet_that_is_allowed_opens_itself_only() -> None:
    """An operator's setting; it is of one version of IP, and one that is no subnet is named."""
    allowed = read_subnets("10.1.0.0/16, fd00:1::/32,127.0.0.1/32")
    assert allowed == (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"), ip_network("127.0.0.1/32"))
    for inside in ("10.1.2.3", "fd00:1::5", "127.0.0.1"):
        assert refusal(ip_address(inside), allowed) is None
    for outside in ("10.2.0.0", "fd00:2::5", "127.0.0.2", "::ffff:10.1.2.3", "::1"):
        assert refusal(ip_address(outside), allowed) is not None
    for wrong in ("10.0.0.1/8", "host", "10.0.0.0/33"):
        with pytest.raises(ValueError, match="is not a subnet"):
            read_subnets(wrong)


def outcome(status: int | None, error: str | None = "http_status") -> Outcome:
    return Outcome(started_at=clock.now(), duration_ms=1, status=status, error=error)


def test_the_schedule_is_the_contracts() -> None:
    """Attempts after 0 s, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h: ten, then it has failed."""
    minute, hour = 60.0, 3_600.0
    waits = [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    assert [delay_seconds(tries, None, 0.0) for tries in range(1, 10)] == waits
    assert [judge(outcome(500), tries) for tries in range(1, 11)] == [Verdict.RETRY] * 9 + [Verdict.FAILED]


def test_jitter_only_delays() -> None:
    """By up to a tenth, so that an endpoint that was away is not met by all at once."""
    assert delay_seconds(2, None, 0.999) == pytest.approx(300 * (1 + JITTER * 0.999))
    assert JITTER > 0


def test_only_success_is_success_and_gone_is_the_end() -> None:
    """A delivery without an error is delivered, 410 disables at once, whatever else is tried again."""
    assert judge(outcome(204, None), 1) is Verdict.DELIVERED
    assert judge(outcome(204, None), 10) is Verdict.DELIVERED
    assert judge(outcome(410), 1) is Verdict.GONE
    for status in (None, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503):
        assert judge(outcome(status), 1) is Verdict.RETRY


def test_retry_after_is_read_as_seconds_and_as_a_date() -> None:
    """RFC 9110; at most a day; what cannot be read asks for nothing."""
    now = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    assert retry_after("120", now) == 120
    assert retry_after(" 0 ", now) == 0
    assert retry_after("Sat, 21 Nov 2026 09:02:00 GMT", now) == 120
    assert retry_after("Sat, 21 Nov 2026 08:00:00 GMT", now) == 0
    assert retry_after("Sun, 21 Nov 2027 09:00:00 GMT", now) == MAX_RETRY_AFTER_SECONDS
    assert retry_after("9" * 400, now) == MAX_RETRY_AFTER_SECONDS
    for nonsense in (None, "", "soon", "-5", "1.5", "١٢", "Sat, 99 Nov 2026 09:02:00 GMT"):
        assert retry_after(nonsense, now) is None, nonsense


def test_retry_after_is_never_undercut() -> None:
    """The later of what the schedule says and what the endpoint asks for."""
    assert delay_seconds(1, 120.0, 0.0) == 120
    assert delay_seconds(2, 120.0, 0.0) == 300


def test_a_pattern_is_an_event_a_noun_or_everything() -> None:
    """`job.*` is every event of jobs, not of what begins alike."""
    assert all(matching("job.completed", [one]) for one in ("job.completed", "job.*", "*"))
    assert not matching("job.completed", ["job.failed", "environment.*"])


class TestEndpoint:
    """The circuit breaker of one endpoint; instants are given."""

    def fail(self, endpoint: Endpoint, now: float, asked: float | None = None) -> None:
        endpoint.ended(now, endpoint.began(), good=False, asked_seconds=asked)

    def test_one_goes_first_and_successes_open_it(self) -> None:
        """1, 2, 4, … up to AT_ONCE at once; what is under way counts."""
        endpoint, seen = Endpoint(), []
        for _ in range(6):
            seen.append(endpoint.room(0.0))
            endpoint.ended(0.0, endpoint.began(), good=True)
        assert seen == [1, 2, 4, 8, AT_ONCE, AT_ONCE]
        endpoint.began()
        assert endpoint.room(0.0) == AT_ONCE - 1

    def test_failures_in_a_row_close_it_and_one_success_opens_it(self) -> None:
        """Half each time, never none; then a break that doubles up to a minute, with one as a test after each."""
        endpoint = Endpoint()
        for _ in range(4):
            endpoint.ended(0.0, endpoint.began(), good=True)
        rooms = []
        for _ in range(BREAK_AFTER - 1):
            self.fail(endpoint, 0.0)
            rooms.append(endpoint.room(0.0))
        assert rooms == [8, 4, 2, 1, 1, 1, 1]
        now, breaks = 0.0, []
        for _ in range(6):
            self.fail(endpoint, now)
            assert endpoint.room(now) == 0
            breaks.append(endpoint.held_until - now)
            now = endpoint.held_until
            assert (endpoint.room(now), endpoint.wants_test(now)) == (0, True)
            endpoint.asked(now, granted_seconds=20.0)
            assert (endpoint.room(now), endpoint.wants_test(now)) == (1, False)
        assert breaks[:2] == [BREAK_SECONDS, 2 * BREAK_SECONDS]
        assert breaks[-1] == LONGEST_BREAK_SECONDS
        endpoint.ended(now, endpoint.began(), good=True)
        assert endpoint.room(now) == AT_ONCE

    def test_what_fails_together_counts_once(self) -> None:
        """A restart of the endpoint, met by many at once, is one failure."""
        endpoint = Endpoint()
        for _ in range(5):
            endpoint.ended(0.0, endpoint.began(), good=True)
        for seen in [endpoint.began() for _ in range(AT_ONCE)]:
            endpoint.ended(1.0, seen, good=False)
        assert endpoint.room(1.0) == AT_ONCE // 2

    def test_what_an_endpoint_asks_for_holds_at_once(self) -> None:
        """Retry-After of one answer keeps everything back, for an hour at most."""
        endpoint = Endpoint()
        self.fail(endpoint, 0.0, 120.0)
        assert (endpoint.room(119.9), endpoint.room(120.0)) == (0, 1)
        self.fail(endpoint, 120.0, timedelta(days=1).total_seconds())
        assert (endpoint.room(3_719.0), endpoint.room(3_720.0)) == (0, 1)

    def test_what_others_tell_counts_as_if_it_had_been_seen(self) -> None:
        """Their failures and their hold; what they see well is well; only what is news is told."""
        endpoint, other = Endpoint(), Endpoint()
        assert endpoint.to_tell(0.0) is None
        for _ in range(BREAK_AFTER):
            assert endpoint.to_tell(0.0) is None
            self.fail(endpoint, 0.0)
        news = endpoint.to_tell(1.0)
        assert news == (BREAK_AFTER, BREAK_SECONDS - 1.0)
        assert endpoint.to_tell(1.0) is None
        other.heard(1.0, *news)
        assert (other.room(BREAK_SECONDS - 0.1), other.room(BREAK_SECONDS)) == (0, 0)
        assert other.to_tell(2.0) is None
        other.asked(BREAK_SECONDS, granted_seconds=0.0)
        assert (other.room(BREAK_SECONDS), other.wants_test(BREAK_SECONDS + ASK_AGAIN_SECONDS - 0.1)) == (0, False)
        assert other.wants_test(BREAK_SECONDS + ASK_AGAIN_SECONDS)
        endpoint.ended(BREAK_SECONDS, endpoint.began(), good=True)
        assert endpoint.to_tell(BREAK_SECONDS) == (0, 0.0)
        other.heard(BREAK_SECONDS, 0, 0.0)
        assert (other.room(BREAK_SECONDS), other.to_tell(BREAK_SECONDS)) == (1, None)

    def test_a_good_one_is_forgotten_after_a_while(self) -> None:
        """So that what a process knows does not grow; one that failed is remembered for an hour."""
        endpoint = Endpoint()
        endpoint.ended(0.0, endpoint.began(), good=True)
        assert not endpoint.forgettable(FORGOTTEN_SECONDS - 1)
        assert endpoint.forgettable(FORGOTTEN_SECONDS)
        self.fail(endpoint, 0.0)
        assert not endpoint.forgettable(FORGIVEN_SECONDS - 1)
        assert endpoint.forgettable(FORGIVEN_SECONDS)
