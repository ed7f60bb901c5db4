"""Guesses at passwords: slowed by account and by address, counted by all gateways together, never a lock-out."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import httpx
import pytest

from gateway.login import HASHING_THREADS, MAX_WAITING, Logins, Passwords
from gateway.throttle import OwnAttempts, Throttle, account_key, address_key
from infra.local.port import free_ports
from storage.valkey.attempt import Attempts
from storage.valkey.client import Valkey
from tests.gateway.conftest import MakeGateway, OwnGateway
from tests.gateway.sign_in_ground import PASSWORD, browser, csrf, fresh_address, make_someone, sign_in
from waypost.access.model import Role
from waypost.errors import WaypostError, unavailable
from waypost.ids import new_id
from waypost.person.model import ACCOUNT_PATIENCE, ADDRESS_PATIENCE, Patience

WRONG = "wrong horse battery"


@pytest.fixture(scope="session")
async def valkey(platform: Any) -> AsyncIterator[Valkey]:
    opened = await Valkey.open(platform.valkey_url("gateway"))
    yield opened
    await opened.close()


async def guess(client: httpx.AsyncClient, email: str, password: str = WRONG) -> httpx.Response:
    return await client.post("/v1/sessions", json={"email": email, "password": password})


async def twenty_at_once(client: httpx.AsyncClient, email: str) -> list[httpx.Response]:
    """Guesses made at the same moment. The free ones are judged, and one more for each wait, of 1, 2, 4 … s, that was
    over before the last of them came."""
    began = time.monotonic()
    answers = await asyncio.gather(*(guess(client, email) for _ in range(20)))
    waits_over = int(math.log2(1 + time.monotonic() - began))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {401, 429}
    assert ACCOUNT_PATIENCE.free <= codes.count(401) <= ACCOUNT_PATIENCE.free + waits_over
    return answers


async def wait_over(valkey: Valkey, key: str) -> None:
    """Let the time pass that this key has to wait."""
    await valkey.execute("HSET", f"wp:attempt:{key}", "until", "0")


async def exhaust(client: httpx.AsyncClient, email: str, valkey: Valkey) -> None:
    """All free tries. The wait that the last one began is a second; made longer, so that a slow machine is not taken
    for a patient guesser."""
    key = account_key(email)
    for _ in range(ACCOUNT_PATIENCE.free):
        assert not await waits_until(valkey, key)
        assert (await guess(client, email)).status_code == 401
    assert await waits_until(valkey, key)
    await hold(valkey, key)


async def waits_until(valkey: Valkey, key: str) -> int:
    """Milliseconds of Valkey's clock, 0 for no wait."""
    return int(await valkey.execute("HGET", f"wp:attempt:{key}", "until") or 0)


async def hold(valkey: Valkey, key: str, seconds: int = 30) -> None:
    now, _ = await valkey.execute("TIME")
    await valkey.execute("HSET", f"wp:attempt:{key}", "until", str((int(now) + seconds) * 1000))


# --- over HTTP ----------------------------------------------------------------------------------


async def test_after_some_free_tries_an_account_has_to_wait(platform: Any, valkey: Valkey) -> None:
    """429 with Retry-After, also for the right password; once the time is over, it opens."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        await exhaust(page, someone.email, valkey)
        for password in (WRONG, PASSWORD):
            answer = await guess(page, someone.email.upper(), password)
            assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
            assert 20 < int(answer.headers["retry-after"]) <= 31
            assert answer.json()["retryable"] is True
        await wait_over(valkey, account_key(someone.email))
        assert (await guess(page, someone.email, PASSWORD)).status_code == 201


async def test_each_further_failure_doubles_the_wait_up_to_a_minute(platform: Any, valkey: Valkey) -> None:
    """… 16, 32, and never more than 60 s, however many came before: no lock-out."""
    someone = await make_someone(platform)
    key = account_key(someone.email)
    async with browser(platform.api_url) as page:
        for failed, expected in ((9, 32), (10, 60), (100_000, 60)):
            await valkey.execute("HSET", f"wp:attempt:{key}", "count", str(failed), "until", "0")
            assert (await guess(page, someone.email)).status_code == 401
            answer = await guess(page, someone.email)
            assert answer.status_code == 429
            assert expected * 0.7 < int(answer.headers["retry-after"]) <= expected
        await wait_over(valkey, key)
        assert (await guess(page, someone.email, PASSWORD)).status_code == 201


async def test_a_success_forgives_the_account(platform: Any) -> None:
    """All free tries are there again, and the address is not charged for them."""
    someone = await make_someone(platform)
    async with browser(platform.api_url) as page:
        for _ in range(3):
            for _ in range(ACCOUNT_PATIENCE.free - 1):
                assert (await guess(page, someone.email)).status_code == 401
            assert (await guess(page, someone.email, PASSWORD)).status_code == 201


async def test_an_account_is_slowed_wherever_the_guesses_come_from(platform: Any, valkey: Valkey) -> None:
    """A second address gets no further tries; another account from the first one is judged."""
    someone, other = await make_someone(platform), await make_someone(platform)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        await exhaust(page, someone.email, valkey)
        assert (await guess(elsewhere, someone.email)).status_code == 429
        assert (await guess(page, other.email, PASSWORD)).status_code == 201


async def test_an_address_is_slowed_whichever_accounts_it_tries(platform: Any, valkey: Valkey) -> None:
    """Known and unknown ones alike; the same account can sign in from elsewhere."""
    someone, address = await make_someone(platform), fresh_address()
    async with browser(platform.api_url, address) as page, browser(platform.api_url) as elsewhere:
        tries = await asyncio.gather(*(guess(page, f"x{n}@example.com") for n in range(ADDRESS_PATIENCE.free)))
        assert {answer.status_code for answer in tries} == {401}
        assert await waits_until(valkey, address_key(address))
        await hold(valkey, address_key(address))
        assert (await guess(page, someone.email, PASSWORD)).status_code == 429
        assert (await guess(elsewhere, someone.email, PASSWORD)).status_code == 201
        await wait_over(valkey, address_key(address))
        assert (await guess(page, someone.email, PASSWORD)).status_code == 201


async def test_an_unknown_address_is_slowed_like_a_known_one(platform: Any, valkey: Valkey) -> None:
    """Else the delay would tell who has an account."""
    async with browser(platform.api_url) as page:
        email = f"nobody-{fresh_address()}@example.com"
        await exhaust(page, email, valkey)
        assert (await guess(page, email)).status_code == 429


async def test_guesses_made_at_the_same_moment_do_not_all_go_free(
    own_gateway: OwnGateway, platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted before they are judged: of twenty at once five are judged."""
    monkeypatch.setattr("storage.valkey.attempt.TIMEOUT_SECONDS", 10)  # else the gateway may count some by itself
    someone = await make_someone(platform)
    async with browser(own_gateway.url) as page:
        await twenty_at_once(page, someone.email)


async def test_gateways_count_together(own_gateway: OwnGateway, platform: Any, valkey: Valkey) -> None:
    """Guesses spread over two of them are as few as at one."""
    someone = await make_someone(platform)
    key = account_key(someone.email)
    async with browser(own_gateway.url) as one, browser(platform.api_url) as two:
        for client in (one, two, one, two, one):
            assert not await waits_until(valkey, key)
            assert (await guess(client, someone.email)).status_code == 401
        assert await waits_until(valkey, key)
        await hold(valkey, key)
        for client in (one, two):
            assert (await guess(client, someone.email)).status_code == 429


async def test_the_current_password_cannot_be_guessed_from_a_session_either(platform: Any, valkey: Valkey) -> None:
    """Nor the password of whom an invitation names: one count for every door."""
    someone = await make_someone(platform, Role.VIEWER)
    async with browser(platform.api_url) as page, browser(platform.api_url) as elsewhere:
        signed_in = await sign_in(page, someone)
        change = {"password": "another horse battery", "current_password": WRONG}
        for _ in range(ACCOUNT_PATIENCE.free):
            assert (await page.patch("/v1/people/me", json=change, headers=csrf(signed_in))).status_code == 403
        await hold(valkey, account_key(someone.email))
        assert (await page.patch("/v1/people/me", json=change, headers=csrf(signed_in))).status_code == 429
        headers = {"Authorization": f"Bearer {platform.admin_key}"}
        invited = await elsewhere.post(
            "/v1/orgs/default/invitations",
            json={"email": someone.email, "role": "viewer", "project": "default"},
            headers=headers,
        )
        body = {"token": invited.json()["token"], "password": PASSWORD}
        assert (await elsewhere.post("/v1/invitations/accept", json=body)).status_code == 429


async def test_a_gateway_without_valkey_counts_for_itself(platform: Any, make_gateway: MakeGateway) -> None:
    """Signing in goes on, and so does the slowing down."""
    someone = await make_someone(platform)
    nobody_there = f"valkey://127.0.0.1:{free_ports(1)[0]}/0"
    async with make_gateway(valkey_url=nobody_there) as own, browser(own.url) as page:
        assert not own.services.valkey.connected
        await sign_in(page, someone)
        refused = [answer for answer in await twenty_at_once(page, someone.email) if answer.status_code == 429]
        if len(refused) == 20 - ACCOUNT_PATIENCE.free:  # all of them in the first wait
            assert {answer.headers["retry-after"] for answer in refused} == {"1"}


async def test_a_try_that_could_not_be_judged_does_not_count(
    own_gateway: OwnGateway, platform: Any, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away: nobody pays for that."""
    someone = await make_someone(platform)
    async with browser(own_gateway.url) as page:

        async def away(*_: Any) -> Any:
            raise unavailable("PostgreSQL")

        with monkeypatch.context() as patch:
            patch.setattr(Logins, "_judge", away)
            answers = [await guess(page, someone.email) for _ in range(ACCOUNT_PATIENCE.free + 2)]
        assert {answer.status_code for answer in answers} == {503}
        await exhaust(page, someone.email, valkey)


# --- both ways of counting ----------------------------------------------------------------------------------


class Counts(Protocol):
    async def take(self, culprits: Any) -> float: ...
    async def refund(self, keys: Any) -> None: ...
    async def clear(self, key: str) -> None: ...


class Alone:
    """`OwnAttempts` with the face of `Attempts`."""

    def __init__(self) -> None:
        self._own = OwnAttempts()

    async def take(self, culprits: Any) -> float:
        return self._own.take(culprits)

    async def refund(self, keys: Any) -> None:
        self._own.refund(keys)

    async def clear(self, key: str) -> None:
        self._own.clear(key)


@pytest.fixture(params=["shared", "alone"])
def counts(request: pytest.FixtureRequest, valkey: Valkey) -> Counts:
    return Attempts(valkey) if request.param == "shared" else Alone()


PATIENCE = Patience(free=3, longest_seconds=100.0)
LONG = Patience(free=100, longest_seconds=100.0)


async def test_the_free_tries_go_free_and_the_next_waits(counts: Counts) -> None:
    """The try that uses up the last free one starts the wait; a refused one makes it no longer."""
    key = str(new_id())
    free = [await counts.take([(key, PATIENCE)]) for _ in range(2)]
    began = time.monotonic()
    waits = [await counts.take([(key, PATIENCE)]) for _ in range(3)]
    passed = time.monotonic() - began
    assert [*free, waits[0]] == [0, 0, 0]
    assert max(0, 0.99 - passed) <= waits[2] <= waits[1] <= 1.0


async def test_a_refused_try_is_counted_for_none_of_its_keys(counts: Counts) -> None:
    """All or none: else a slowed account would use up the address' tries."""
    account, address = str(new_id()), str(new_id())
    for _ in range(3):
        assert await counts.take([(account, PATIENCE), (address, LONG)]) == 0
    for _ in range(5):
        assert await counts.take([(account, PATIENCE), (address, PATIENCE)]) > 0
    assert await counts.take([(address, LONG)]) == 0


async def test_a_refund_takes_the_last_try_and_its_wait_back(counts: Counts) -> None:
    """For who was right, or was never judged."""
    key = str(new_id())
    for _ in range(3):
        await counts.take([(key, PATIENCE)])
    await counts.refund([key])
    assert await counts.take([(key, PATIENCE)]) == 0
    assert await counts.take([(key, PATIENCE)]) > 0
    await counts.refund([str(new_id())])  # of nothing: nothing


async def test_clearing_begins_anew(counts: Counts) -> None:
    """As after a success."""
    key = str(new_id())
    for _ in range(3):
        await counts.take([(key, PATIENCE)])
    await counts.clear(key)
    assert [await counts.take([(key, PATIENCE)]) for _ in range(3)] == [0, 0, 0]


async def test_what_is_counted_is_forgotten_after_an_hour(valkey: Valkey) -> None:
    """Valkey keeps no address for longer, and no address in the clear."""
    email, address = "somebody@example.com", fresh_address()
    await Throttle(valkey).take(email, address)
    left = await valkey.execute("PTTL", f"wp:attempt:{account_key(email)}")
    assert 0 < left <= 3_600_000
    assert email not in account_key(email)


# --- hashing ----------------------------------------------------------------------------------


async def test_hashing_leaves_the_loop_free_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two at once, the rest wait in line, and beyond the line it is 503."""
    running, most, full, release = 0, 0, threading.Event(), threading.Event()
    guard = threading.Lock()

    def slow(_kept: str | None, _password: str) -> bool:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
            if most == HASHING_THREADS:
                full.set()
        release.wait(30)
        with guard:
            running -= 1
        return True

    monkeypatch.setattr("gateway.login.hashing.verify_password", slow)
    passwords = Passwords()
    waiting = [asyncio.create_task(passwords.verify(None, "x")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)  # they are all in line, and the loop is not blocked by them
    with pytest.raises(WaypostError) as refused:
        await passwords.verify(None, "x")
    assert (refused.value.code, refused.value.retryable) == ("too_busy", True)
    assert await asyncio.to_thread(full.wait, 30)
    release.set()
    assert all(await asyncio.gather(*waiting))
    assert most == HASHING_THREADS
    assert await passwords.verify(None, "x")  # the line is free again
    passwords.close()
