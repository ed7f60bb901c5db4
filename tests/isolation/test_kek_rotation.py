"""The key-encryption key: made once, refused when it is not the one, and changed while the platform works."""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from infra.local.folder import DataFolder
from infra.local.problem import LocalError
from storage.postgres.tenancy.kek import WRAPPED
from tests.conftest import Platform, start_platform, stop_platform
from waypost import ids
from waypost.secret import DataKey, KeyEncryptionKey, KeyRing, SealError, open_ring
from waypost.secret.envelope import seal, unseal
from waypost.secret.source import FileSource

ROTATE = [sys.executable, "-P", "-m", "waypost_sdk.command.main", "admin", "rotate-kek", "--json", "--data-dir"]
ANSWERS = 3_000  # kept answers: fifteen batches, so that there is a middle to be killed in
PROJECT = "/v1/orgs/default/projects/default"


@pytest.fixture(scope="module")
def own_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose key no other test holds."""
    folder = tmp_path_factory.mktemp("kek") / "platform"
    yield start_platform(folder)
    stop_platform(folder)


@pytest.fixture
async def own_client(own_platform: Platform) -> Any:
    headers = {"Authorization": f"Bearer {own_platform.admin_key}"}
    async with httpx.AsyncClient(base_url=own_platform.api_url, headers=headers, timeout=30) as session:
        yield session


def _rotate(data_dir: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([*ROTATE, str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603 (ours)


async def _rotated(data_dir: Path) -> dict[str, Any]:
    """The command's answer; it must succeed."""
    process = _rotate(data_dir)
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, errors.decode()
    answer: dict[str, Any] = json.loads(output)
    return answer


class _Traffic:
    """Jobs, idempotent requests and new environments, all the while; and everything is read again at the end."""

    def __init__(self, client: httpx.AsyncClient, path: str) -> None:
        self.client, self.path = client, path
        self.stopping = False
        self.jobs: dict[str, Any] = {}
        self.answers: dict[str, str] = {}
        self.environments: list[str] = []

    async def run(self) -> None:
        await asyncio.gather(self._submit(), self._repeat(), self._create())

    async def _submit(self) -> None:
        while not self.stopping:
            payload = {"number": secrets.token_hex(8)}
            made = await self.client.post(f"{self.path}/jobs", json={"function": "kek.test", "payload": payload})
            assert made.status_code == 202, made.text
            self.jobs[made.json()["id"]] = payload
            await self._read_job(made.json()["id"])

    async def _repeat(self) -> None:
        while not self.stopping:
            key = secrets.token_hex(8)
            self.answers[key] = (await self._make_key(key)).json()["key"]
            assert (await self._make_key(key)).json()["key"] == self.answers[key]

    async def _create(self) -> None:
        while not self.stopping:
            slug = f"k{secrets.token_hex(5)}"
            made = await self.client.post(
                f"{PROJECT}/environments", json={"name": slug, "slug": slug, "posture": "dev"}
            )
            assert made.status_code == 202, made.text
            self.environments.append(slug)
            await asyncio.sleep(0.3)

    async def _make_key(self, key: str) -> httpx.Response:
        answer = await self.client.post(
            f"{self.path}/keys", json={"name": "k", "role": "viewer"}, headers={"Idempotency-Key": key}
        )
        assert answer.status_code == 201, answer.text
        return answer

    async def _read_job(self, job: str) -> None:
        answer = await self.client.get(f"{self.path}/jobs/{job}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["payload"] == self.jobs[job]

    async def check(self) -> None:
        """Every job opens, every kept answer is given again, every environment takes a job."""
        for job in self.jobs:
            await self._read_job(job)
        for key, text in self.answers.items():
            again = await self._make_key(key)
            assert again.headers["idempotent-replayed"] == "true"
            assert again.json()["key"] == text
        for slug in self.environments:
            async with asyncio.timeout(30):
                while (await self.client.get(f"{PROJECT}/environments/{slug}")).json()["status"] != "ready":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            made = await self.client.post(f"{PROJECT}/environments/{slug}/jobs", json={"function": "kek.test"})
            assert made.status_code == 202, made.text


async def test_a_rotation_that_is_killed_and_run_again_leaves_nothing_unreadable(
    own_platform: Platform, own_client: httpx.AsyncClient
) -> None:
    """Jobs, environments and idempotent answers come and go all the while; no process is started again; afterwards
    everything opens, and the old key opens nothing and starts nothing."""
    folder = DataFolder(own_platform.data_dir)
    old_file = folder.kek_file.read_bytes()
    old = KeyEncryptionKey.load(folder.kek_file)
    admin = await asyncpg.connect(own_platform.database_url("postgres"))
    await _keep_answers(admin, old)
    traffic = _Traffic(own_client, own_platform.environment_path)
    running = asyncio.create_task(traffic.run())
    await asyncio.sleep(0.5)

    # A rotation goes past a row that another transaction holds, and cannot end the earlier key before it has that too.
    async with admin.transaction():
        assert await admin.fetchval("select key from control.idempotency where key = 'k1' for update") == "k1"
        killed = _rotate(own_platform.data_dir)
        assert killed.stderr is not None
        said = await asyncio.to_thread(_first_of, killed.stderr, b"of idempotency")
        assert b"of idempotency" in said
        killed.kill()
        await asyncio.to_thread(killed.wait, 60)
    keys = {
        row[0] for row in await admin.fetch("select distinct kek_id from control.idempotency where answer is not null")
    }
    assert len(keys) == 2, "it was killed in the middle"
    assert len(folder.key_ring().ids) == 2
    await asyncio.sleep(0.3)  # the platform works with both

    answer = await _rotated(own_platform.data_dir)
    assert answer["retired"] == [old.id]
    await asyncio.sleep(0.3)
    traffic.stopping = True
    await running
    assert len(traffic.jobs) > 20
    assert traffic.environments

    assert folder.key_ring().ids == [answer["kek_id"]]
    assert folder.kek_file.stat().st_mode & 0o777 == 0o600
    await traffic.check()
    await _nothing_opens(admin, old, folder.key_ring())
    assert {row["restarts"] for row in (folder.read_state() or {})["processes"]} == {0}
    entry = await admin.fetchrow(
        "select actor, target, outcome, details from control.audit where action = 'kek.rotate'"
    )
    assert (entry["actor"], entry["target"], entry["outcome"]) == ("system:admin", f"kek:{answer['kek_id']}", "done")
    assert old.id in entry["details"]
    await admin.close()
    await _is_refused(own_platform, old_file)


async def _keep_answers(admin: Any, kek: KeyEncryptionKey) -> None:
    """Answers as a gateway keeps them, of requests that nobody repeats."""
    owner = ids.new_id()
    rows = [
        (owner, "test", f"k{n}", ids.new_id(), seal(kek, f"idempotency:{owner}:test:k{n}", b"answer"))
        for n in range(ANSWERS)
    ]
    await admin.executemany(
        "insert into control.idempotency"
        " (environment_id, scope, key, reference, request_hash, answer, kek_id, expires_at)"
        f" values ($1, $2, $3, $4, '', $5, '{kek.id}', now() + interval '1 day')",
        rows,
    )


def _first_of(stream: Any, wanted: bytes) -> bytes:
    said = b""
    for line in stream:
        said += line
        if wanted in line:
            break
    return said


async def _nothing_opens(admin: Any, old: KeyEncryptionKey, ring: KeyRing) -> None:
    """Each wrapped thing of the database opens with the new key, and not with the old one."""
    seen = 0
    for what in WRAPPED:
        for row in await admin.fetch(f"select * from control.{what.table} where kek_id is not null"):
            place = what.place(*(row[name] for name in what.key))
            head = bytes(row[what.column])[:60]
            assert len(ring.by_id(row["kek_id"]).unwrap(place, head)) == 32
            with pytest.raises(SealError):
                old.unwrap(place, head)
            seen += 1
    assert seen > ANSWERS
    assert [row[0] for row in await admin.fetch("select id from control.kek")] == ring.ids


async def _is_refused(platform: Platform, old_file: bytes) -> None:
    """A gateway with the old key file: one sentence, and no start."""
    old_place = platform.data_dir.parent / "old-kek"
    old_place.write_bytes(old_file)
    old_place.chmod(0o600)
    variables = {
        "WAYPOST_DATABASE_URL": platform.database_url("waypost_gateway"),
        "WAYPOST_VALKEY_URL": platform.valkey_url("gateway"),
        "WAYPOST_S3_ENDPOINT": "http://127.0.0.1:9",
        "WAYPOST_KEK_FILE": str(old_place),
        "WAYPOST_PUBLIC_URL": platform.api_url,
        "WAYPOST_RELAY_ADDRESS": platform.relay_address,
        "WAYPOST_HTTP_PORT": "0",
        "WAYPOST_PROCESS_NAME": "gateway-old",
        "PATH": os.environ["PATH"],
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "gateway", env=variables, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"the data was sealed with kek_" in errors


async def test_two_rotations_at_once_are_one_after_the_other_or_refused(own_platform: Platform) -> None:
    """The second says that there is a first; nothing is lost either way, and each run ends one key."""
    before = DataFolder(own_platform.data_dir).key_ring().ids
    both = [_rotate(own_platform.data_dir) for _ in range(2)]
    outcomes = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=60) for process in both))
    codes = [process.returncode for process in both]
    assert 0 in codes
    assert set(codes) <= {0, 8}
    refused = [errors for (_, errors), code in zip(outcomes, codes, strict=True) if code]
    assert all(b"Another rotation" in errors for errors in refused)
    after = DataFolder(own_platform.data_dir).key_ring().ids
    assert len(after) == 1
    assert after != before


async def test_every_wrapped_column_is_rotated(own_platform: Platform) -> None:
    """Whoever adds a column `kek_id` to the control schema is in the list of what a rotation wraps anew, and refers to
    the keys in use; else a rotation would make it unreadable."""
    admin = await asyncpg.connect(own_platform.database_url("postgres"))
    kept = await admin.fetch(
        """
        select a.attrelid::regclass::text as name, exists (
            select from pg_constraint c where c.conrelid = a.attrelid and c.confrelid = 'control.kek'::regclass
                and c.conkey = array[a.attnum]
        ) as refers
        from pg_attribute a join pg_class t on t.oid = a.attrelid
        where a.attname = 'kek_id' and t.relnamespace = 'control'::regnamespace and t.relkind in ('r', 'p')
        """
    )
    await admin.close()
    assert {row["name"] for row in kept} == {f"control.{what.table}" for what in WRAPPED}
    assert all(row["refers"] for row in kept)


def test_a_platform_starts_with_its_own_key_only(own_platform: Platform) -> None:
    """Readable by others, gone, or another one: one sentence, nothing is started and nothing made."""
    folder = DataFolder(own_platform.data_dir)
    stop_platform(folder.root)
    whole = folder.kek_file.read_bytes()
    folder.kek_file.chmod(0o640)
    with pytest.raises(LocalError, match="make its mode 0600"):
        start_platform(folder.root)
    folder.kek_file.unlink()
    with pytest.raises(LocalError, match="put the file back"):
        start_platform(folder.root)
    assert not folder.kek_file.exists()
    KeyEncryptionKey.create(folder.kek_file)
    with pytest.raises(LocalError, match="the data was sealed with kek_"):
        start_platform(folder.root)
    folder.kek_file.write_bytes(whole)


# --- the ring -------------------------------------------------------------------------------------------------------


def _text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def test_several_keys_are_chosen_by_their_id(tmp_path: Path) -> None:
    """The first wraps, the others open; a key that is in neither is named, not guessed."""
    new, old, other = (DataKey.generate() for _ in range(3))
    path = tmp_path / "kek"
    path.write_text(f"{_text(new)}\n{_text(old)}\n")
    path.chmod(0o600)
    for ring in (open_ring(path, None), open_ring(None, f"{_text(new)}, {_text(old)}")):
        assert ring.ids == [KeyEncryptionKey(new).id, KeyEncryptionKey(old).id]
        assert ring.current().id == KeyEncryptionKey(new).id
        wrapped = KeyEncryptionKey(old).wrap("p", b"k" * 32)
        assert ring.by_id(KeyEncryptionKey(old).id).unwrap("p", wrapped) == b"k" * 32
        with pytest.raises(SealError, match=KeyEncryptionKey(other).id):
            ring.by_id(KeyEncryptionKey(other).id)


def test_a_ring_learns_of_a_key_without_being_told(tmp_path: Path) -> None:
    """A replaced file counts from the next wrap on, and when a key is met that is not known yet. A file that is gone
    for a moment takes nothing away."""
    first = DataKey.generate()
    path = tmp_path / "kek"
    path.write_text(_text(first))
    path.chmod(0o600)
    ring, other = KeyRing(FileSource(path)), KeyRing(FileSource(path))
    second = DataKey.generate()
    fresh = tmp_path / "kek.new"
    fresh.write_text(f"{_text(second)}\n{_text(first)}")
    fresh.chmod(0o600)
    fresh.replace(path)
    assert ring.current().id == KeyEncryptionKey(second).id
    assert other.by_id(KeyEncryptionKey(second).id).id == KeyEncryptionKey(second).id
    path.unlink()
    assert ring.current().id == KeyEncryptionKey(second).id
    assert "kek_" in repr(ring)
    assert _text(second) not in repr(ring)


@pytest.mark.parametrize("text", ["", "short", "not base64!", ",", f"{'A' * 43},short"])
def test_a_variable_that_holds_no_key_is_refused_without_showing_it(text: str) -> None:
    """The sentence names the variable only."""
    with pytest.raises(SealError) as caught:
        open_ring(None, text)
    assert "WAYPOST_KEK" in str(caught.value)
    assert "short" not in str(caught.value)


def test_no_key_at_all_is_refused() -> None:
    """Neither variable."""
    with pytest.raises(SealError, match="WAYPOST_KEK_FILE"):
        open_ring(None, None)


def test_an_envelope_opens_in_its_place_only() -> None:
    """With its key and place; not with another of either."""
    kek = KeyEncryptionKey(DataKey.generate())
    kept = seal(kek, "a", b"hello")
    assert unseal(kek, "a", kept) == b"hello"
    for other, place in ((kek, "b"), (KeyEncryptionKey(DataKey.generate()), "a")):
        with pytest.raises(SealError):
            unseal(other, place, kept)
