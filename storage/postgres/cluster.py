"""What must exist in a PostgreSQL cluster before any migration: the processes' roles and the database.

Run by an administrator of the cluster, at every start of the local platform: it changes nothing that is right already.
Refuses: to give a process more than decision 7 does; only waypost_provisioner may make roles.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from storage.postgres.sql import load

DATABASE = "waypost"
OWNER = "waypost_owner"
PROVISIONER = "waypost_provisioner"
ENVIRONMENT_GROUP = "waypost_environment"
AUDITOR = "waypost_auditor"
PROCESS_ROLES = ("waypost_gateway", "waypost_relay", "waypost_worker")
LOGIN_ROLES = (OWNER, *PROCESS_ROLES, PROVISIONER, AUDITOR)

_SCRAM_ROUNDS = 4096


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 5803), so that the password itself is in no statement.

    `password` is ASCII, as ours are: no SASLprep.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def prepare(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Make roles and database, set the passwords of the login roles (every one of `LOGIN_ROLES` is needed).

    `admin_url` is a superuser's, of any database of the cluster. Idempotent; two at once wait for each other.
    """
    missing = set(LOGIN_ROLES) - set(passwords)
    if missing:
        raise ValueError(f"passwords are missing for {', '.join(sorted(missing))}")
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute("SELECT pg_advisory_lock(hashtext('waypost.cluster.prepare'))")
        await _roles(admin, passwords)
        if not await admin.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await admin.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        await admin.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")  # every login could go there else
    finally:
        await admin.close()
    inside = await asyncpg.connect(with_database(admin_url, DATABASE))
    try:
        await inside.execute("SELECT pg_advisory_lock(hashtext('waypost.cluster.prepare'))")
        await inside.execute(_GRANTS)
        await inside.execute(load("storage.postgres", "cluster"))
    finally:
        await inside.close()


def with_database(url: str, database: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def _roles(admin: Any, passwords: Mapping[str, str]) -> None:
    present = {row["rolname"] for row in await admin.fetch("SELECT rolname FROM pg_roles")}
    for role in (*LOGIN_ROLES, ENVIRONMENT_GROUP):
        if role not in present:
            await admin.execute(f"CREATE ROLE {role}")
    for role in LOGIN_ROLES:
        power = "CREATEROLE" if role == PROVISIONER else "NOCREATEROLE"
        await admin.execute(
            f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS {power} "
            f"PASSWORD '{scram_verifier(passwords[role])}'"
        )
    await admin.execute(f"ALTER ROLE {ENVIRONMENT_GROUP} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS")


# CONNECT of an environment's role comes from its group. The provisioner makes schemas and hands out the group,
# and has none of its privileges. The worker seals the audit as the auditor, one transaction at a time.
_GRANTS = f"""
REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {", ".join((*LOGIN_ROLES, ENVIRONMENT_GROUP))};
GRANT CREATE ON DATABASE {DATABASE} TO {OWNER}, {PROVISIONER};
GRANT {ENVIRONMENT_GROUP} TO {PROVISIONER} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;
GRANT {AUDITOR} TO waypost_worker WITH INHERIT FALSE, SET TRUE;
"""
