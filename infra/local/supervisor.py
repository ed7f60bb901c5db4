"""The platform on one machine: everything started in order, kept alive, and stopped in order.

Servers start while the control database is looked at; the platform's processes start as soon as it is there. On the way
down it is the other way round: whoever takes work in first, whoever keeps it last.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import psutil

from infra.local import ground, leftover, port
from infra.local.folder import DataFolder, folder_problem
from infra.local.journal import Journal
from infra.local.option import UpOptions
from infra.local.platform import HOST, Addresses, programs
from infra.local.problem import ExitCode, LocalError
from infra.local.process import Supervised
from infra.local.program import Program
from infra.local.servers.objects import ObjectsPorts, ObjectsServer
from infra.local.servers.postgres import PostgresServer
from infra.local.servers.valkey import USERS, ValkeyServer

_STOP_ORDER = (("gateway",), ("relay",), ("worker",), ("objects", "valkey"), ("postgres",))
_ENVIRONMENT_SECONDS = 60.0

Report = Callable[[dict[str, Any]], None]


class Supervisor:
    """One run of a platform. `report` is called once, with the object of the native contract §8, when it serves."""

    def __init__(self, options: UpOptions, folder: DataFolder, journal: Journal, report: Report) -> None:
        self._options = options
        self._folder = folder
        self._journal = journal
        self._report = report
        self._children: list[Supervised] = []
        self._held: list[socket.socket] = []
        self._stop = asyncio.Event()
        self._addresses: Addresses | None = None

    async def run(self) -> None:
        """Until SIGTERM or Ctrl-C. The folder is open (locked) already. Raises LocalError when it cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
                return
            starting.result()
            await stopping
        except OSError as error:
            raise folder_problem(self._folder.root, error) from error
        finally:
            await self._stop_all()

    # --- up ---------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        await asyncio.to_thread(leftover.take_down, leftover.find(self._folder.read_state()))
        http = port.reserve(HOST, self._options.http_port, "--http-port")
        self._held.append(http)
        relay = port.reserve(HOST, self._options.relay_port, "--relay-port")
        self._held.append(relay)
        ports = port.free_ports(5, with_grpc=True)
        passwords = self._folder.passwords()
        self._folder.ensure_kek()
        postgres = PostgresServer(self._folder, passwords["postgres"])
        valkey = ValkeyServer(self._folder, ports[0], {user: passwords[f"valkey_{user}"] for user in USERS})
        objects = ObjectsServer(self._folder, ObjectsPorts(*ports[1:]), passwords)
        self._addresses = Addresses(
            http_port=port.port_of(http),
            relay_port=port.port_of(relay),
            s3_endpoint=objects.endpoint,
            valkey_port=valkey.port,
        )
        await asyncio.to_thread(postgres.prepare)  # first: it makes the folder of the sockets
        valkey.prepare()
        objects.prepare()
        await _all(
            self._start_one(objects.program()),
            self._start_after_ground(postgres.program(), valkey.program()),
        )
        if {"gateway", "worker"} <= {child.program.kind for child in self._children}:
            await self._wait_for_environment()
        self._report(self._summary())

    async def _start_after_ground(self, postgres: Program, valkey: Program) -> None:
        await _all(self._start_one(postgres), self._start_one(valkey))
        await self._lay_ground()
        if self._addresses is None:
            raise RuntimeError("addresses are fixed before anything starts")
        await _all(*(self._start_one(p) for p in programs(self._folder, self._options, self._addresses)))

    async def _start_one(self, program: Program) -> None:
        child = Supervised(program, self._journal, self._save)
        self._children.append(child)
        await child.start()
        where = f" at {child.ready.address}" if child.ready.address else ""
        self._journal.say(f"{program.name} is ready{where}")

    async def _lay_ground(self) -> None:
        marker = self._folder.root / "ground"
        print_now = await asyncio.to_thread(ground.fingerprint, self._folder)
        if marker.exists() and marker.read_text() == print_now:
            return
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "infra.local.ground", str(self._folder.root),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=self._folder.root,
        )  # fmt: skip
        try:
            output, errors = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for line in errors.decode("utf-8", "replace").splitlines():
            self._journal.take("ground", line, shown=False)
        no_answer = {"problem": "The control database could not be prepared."}
        answer: dict[str, Any] = msgspec.json.decode(output) if output else no_answer
        if "problem" in answer:
            raise LocalError(answer["problem"], ExitCode(answer.get("code", ExitCode.SERVER)))
        marker.write_text(print_now)

    async def _wait_for_environment(self) -> None:
        """The first environment is provisioned by the worker; nobody is told "ready" before it is."""
        from infra.local.api import read

        path = f"/v1/orgs/{ground.ORGANIZATION}/projects/{ground.PROJECT}/environments/{ground.ENVIRONMENT}"
        try:
            async with asyncio.timeout(_ENVIRONMENT_SECONDS):
                while True:
                    status, environment = await asyncio.to_thread(read, self._api_url() + path, self._admin_key())
                    if status in (401, 403, 404) or environment.get("status") in ("ready", "suspended", "deleting"):
                        return  # a person may have moved or revoked the first key, or removed the environment, since
                    if environment.get("status") == "failed":
                        reason = environment.get("status_reason") or "no reason given"
                        raise LocalError(f"The first environment could not be provisioned: {reason}", ExitCode.SERVER)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise LocalError(
                f"The first environment was not ready after {_ENVIRONMENT_SECONDS:g} s: see {self._folder.logs}.",
                ExitCode.SERVER,
            ) from None

    # --- what others see --------------------------------------------------------------------------------------------

    def _save(self) -> None:
        try:
            self._folder.write_state(self._state())
        except OSError as error:
            self._journal.say(f"state.json cannot be written: {error.strerror}")

    def _state(self) -> dict[str, Any]:
        me = psutil.Process()
        supervisor = {
            "name": "supervisor", "kind": "supervisor", "pid": me.pid, "created": me.create_time(), "state": "ready",
            "restarts": 0, "last_exit": None, "address": "", "internal_address": "",
        }  # fmt: skip
        addresses = self._addresses
        return {
            "data_dir": str(self._folder.root),
            "api_url": addresses.api_url if addresses else None,
            "relay_address": addresses.relay_address if addresses else None,
            "supervisor": supervisor,
            "processes": [child.record() for child in self._children],
        }

    def _summary(self) -> dict[str, Any]:
        children = sorted(self._children, key=lambda child: child.program.name)
        processes = [
            {"name": child.program.name, "pid": child.pid, "address": child.ready.address} for child in children
        ]
        return {
            "api_url": self._api_url(),
            "relay_address": self._addresses.relay_address if self._addresses else "",
            "admin_key": self._admin_key(),
            "org": ground.ORGANIZATION,
            "project": ground.PROJECT,
            "environment": ground.ENVIRONMENT,
            "data_dir": str(self._folder.root),
            "processes": [{"name": "supervisor", "pid": os.getpid(), "address": ""}, *processes],
        }

    def _api_url(self) -> str:
        return self._addresses.api_url if self._addresses else ""

    def _admin_key(self) -> str:
        try:
            return self._folder.admin_key_file.read_text().strip()
        except FileNotFoundError:
            return ""  # moved to a safer place, as it should be

    # --- down -------------------------------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        if self._children:
            self._journal.say("stopping")
        for kinds in _STOP_ORDER:
            group = [child for child in self._children if child.program.kind in kinds]
            await asyncio.gather(*(child.stop() for child in group))
        for held in self._held:
            held.close()
        if self._folder.socket_dir.parent != self._folder.root:
            shutil.rmtree(self._folder.socket_dir, ignore_errors=True)
        if self._children:
            self._journal.say("stopped")


async def _all(*steps: Coroutine[Any, Any, None]) -> None:
    """Run all at once; when one fails, the first failure counts and the others are canceled."""
    tasks = [asyncio.create_task(step) for step in steps]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(options: UpOptions, journal_of: Callable[[DataFolder], Journal], report: Report) -> None:
    """Run a platform in this process until it is told to stop. Raises LocalError."""
    folder = DataFolder(Path(options.data_dir))
    folder.open()
    journal = journal_of(folder)
    try:
        asyncio.run(Supervisor(options, folder, journal, report).run())
    finally:
        journal.close()
        folder.close()
