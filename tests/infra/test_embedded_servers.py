"""The embedded servers keep strangers out: passwords and keys are always checked (decision 9)."""

import contextlib
import socket
import stat
from pathlib import Path
from typing import Any

import asyncpg
import boto3
import botocore.exceptions
import grpc
import psutil
import pytest

from infra.local.folder import DataFolder
from infra.local.port import GRPC_OFFSET, free_ports
from storage.valkey.client import ReplyError, Valkey
from tests.conftest import Platform


def _s3(platform: Platform, access_key: str, secret_key: str) -> Any:
    endpoint = f"http://{platform.process('objects')['address']}"
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )


async def test_postgres_refuses_a_wrong_password(platform: Platform) -> None:
    """The wheel's own default is `trust`: anybody on the machine would be the superuser."""
    right = platform.database_url("postgres", "postgres")
    wrong = right.replace(right.split(":")[2].split("@")[0], "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


async def test_postgres_orders_texts_the_same_on_every_machine(platform: Platform) -> None:
    """Builtin provider, C.UTF-8: an index made here is right on any libc. And what is promised as durable is."""
    connection = await asyncpg.connect(platform.database_url())
    row = await connection.fetchrow(
        "select datlocprovider, datlocale, current_setting('fsync') as fsync, "
        "current_setting('listen_addresses') as tcp from pg_database where datname = 'waypost'"
    )
    await connection.close()
    assert dict(row) == {"datlocprovider": b"b", "datlocale": "C.UTF-8", "fsync": "on", "tcp": ""}


async def test_valkey_has_no_default_user(platform: Platform) -> None:
    """Without a name and password nothing is answered."""
    host, port = platform.process("valkey")["address"].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"GET x\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")


async def test_a_relay_cannot_touch_the_jobs_of_the_platform(platform: Platform) -> None:
    """Each kind of process has a user of its own; Dramatiq's queues are not a relay's business."""
    valkey = await Valkey.open(platform.valkey_url("relay"))
    try:
        with pytest.raises(ReplyError, match="NOPERM"):
            await valkey.execute("RPUSH", "dramatiq:default", "x")
        with pytest.raises(ReplyError, match="NOPERM"):
            await valkey.execute("FLUSHALL")
        assert await valkey.execute("SET", "wp:test", "1") in ("OK", b"OK")
    finally:
        await valkey.close()


def test_s3_refuses_an_unknown_key(platform: Platform) -> None:
    """The wheel's own default takes any key."""
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
        _s3(platform, "stranger", "guess").list_buckets()


def test_s3_takes_more_than_two_buckets(platform: Platform) -> None:
    """The wheel's own default refuses the third: too few volumes."""
    passwords = DataFolder(platform.data_dir).passwords()
    client = _s3(platform, passwords["s3_access_key"], passwords["s3_secret_key"])
    for number in range(4):
        client.create_bucket(Bucket=f"many-{number}")
        client.put_object(Bucket=f"many-{number}", Key="a", Body=b"text")
        assert client.get_object(Bucket=f"many-{number}", Key="a")["Body"].read() == b"text"
        client.delete_object(Bucket=f"many-{number}", Key="a")
        client.delete_bucket(Bucket=f"many-{number}")


def test_objects_cannot_be_had_beside_s3(platform: Platform) -> None:
    """The inner surfaces of SeaweedFS hand out nothing: no listing, no volume's address, no right to write."""
    weed = psutil.Process(platform.process("objects")["pid"])
    ports = {c.laddr.port for c in weed.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert len(ports) == 8  # master, volume, filer, S3, and the gRPC of each
    for port in ports:
        for path in ("/buckets/", "/dir/assign", "/dir/lookup?volumeId=1", "/dir/status"):
            assert b" 200 " not in _get(port, path), (port, path)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/filer_pb.SeaweedFiler/Statistics")(b"", timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # no handshake without the certificate


def _get(port: int, path: str) -> bytes:
    """The first line of the answer; empty when it hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            return connection.recv(200).split(b"\r\n")[0]
    return b""


def test_secrets_are_for_their_owner_alone(platform: Platform) -> None:
    """Folder 0700, files 0600, from their first byte."""
    folder = platform.data_dir / "secrets"
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"kek", "passwords.json", "admin-key"}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *files)] == [0o700] + [0o600] * len(files)


def test_no_password_is_on_a_command_line(platform: Platform) -> None:
    """Everybody on a machine can read command lines."""
    passwords = set(DataFolder(platform.data_dir).passwords().values())
    state = DataFolder(platform.data_dir).read_state()
    assert state is not None
    for entry in state["processes"]:  # as they run now: other tests kill some
        line = Path(f"/proc/{entry['pid']}/cmdline").read_text()
        assert not [word for word in passwords if word in line], entry["name"]


def test_no_port_is_the_grpc_sibling_of_another() -> None:
    """Else one of the two servers cannot start: with thousands of ports it would happen in each run."""
    ports = set(free_ports(2_000, with_grpc=True))
    assert len(ports) == 2_000
    assert not ports & {port + GRPC_OFFSET for port in ports}
