"""Clients that never give up: each submission is repeated with its Idempotency-Key until it is acknowledged.

They also repeat submissions that were acknowledged long ago, and cancel some jobs. What they were told is what the
checks compare with the ledger.
"""

import contextlib
import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field

from tests.bench.stack import Place
from tests.fault.node import FUNCTION

REPEATS = 0.10
CANCELS = 0.02
DELAYED = 0.10
LIMITED = 0.10
GIVE_UP_SECONDS = 90.0
RETRY = {"max_attempts": 20, "backoff": "exponential", "initial_seconds": 0.2, "factor": 1.5, "max_seconds": 2}


@dataclass
class Told:
    """What the clients know: key → id of every acknowledgement, and what went against the contract."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    repeats: int = 0
    tries: int = 0
    canceled: int = 0
    findings: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """One client with a connection of its own; `stop()` lets it finish the submission it is at."""

    def __init__(self, host: str, port: int, place: Place, seed: int, index: int, per_second: float) -> None:
        super().__init__(name=f"client-{index}", daemon=True)
        self.told = Told()
        self._host, self._port, self._place = host, port, place
        self._chance = random.Random(seed * 1000 + index)
        self._prefix = f"f{seed}-{index}"
        self._pause = 1 / per_second
        self._stopping = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._bodies: dict[str, bytes] = {}

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        number = 0
        try:
            while not self._stopping.is_set():
                number += 1
                self._submit(f"{self._prefix}-{number}", self._body(f"{self._prefix}-{number}"))
                if self._chance.random() < REPEATS:
                    self._repeat()
                if self._chance.random() < CANCELS:
                    self._cancel()
                self._stopping.wait(self._chance.expovariate(1 / self._pause))
        except Exception as error:  # noqa: BLE001 - a client that dies is a finding, not silence
            self.told.findings.append(f"{self.name} died: {error!r}")

    def _body(self, key: str) -> bytes:
        spec: dict[str, object] = {
            "function": FUNCTION,
            "payload": {"key": key},
            "tags": self._chance.choice(([], ["fault"], ["mem_gb>=4"], ["fault", "!spot"])),
            "priority": self._chance.randrange(10),
            "timeout_seconds": 20,
            "retry": RETRY,
            "labels": {"key": key},
        }
        if self._chance.random() < DELAYED:
            spec["delay_seconds"] = round(self._chance.uniform(0.1, 3.0), 2)
        if self._chance.random() < LIMITED:
            spec["concurrency"] = {"key": f"customer-{self._chance.randrange(5)}", "limit": 3}
        self._bodies[key] = json.dumps(spec).encode()
        return self._bodies[key]

    def _submit(self, key: str, body: bytes) -> None:
        self.told.sent.add(key)
        end = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < end:
            self.told.tries += 1
            status, answer = self._post(f"{self._place.path}/jobs", body, key)
            if status in (200, 202):
                self._acknowledged(key, answer["id"])
                return
            if status not in (0, 429, 500, 502, 503):
                self.told.findings.append(f"{key} was answered {status}: {json.dumps(answer)[:200]}")
                return
            if status == 500:
                self.told.findings.append(f"{key} was answered 500: {json.dumps(answer)[:200]}")
            time.sleep(self._chance.uniform(0.02, 0.3))
        self.told.findings.append(f"{key} was not acknowledged within {GIVE_UP_SECONDS:.0f} s")

    def _acknowledged(self, key: str, identifier: str) -> None:
        first = self.told.acknowledged.setdefault(key, identifier)
        if first != identifier:
            self.told.findings.append(f"doubled: {key} was {first} and then {identifier}")

    def _repeat(self) -> None:
        """A submission that was acknowledged before: the answer is the first job."""
        if self.told.acknowledged:
            key = self._chance.choice(list(self.told.acknowledged))
            self.told.repeats += 1
            self._submit(key, self._bodies[key])

    def _cancel(self) -> None:
        identifier = self._chance.choice(list(self.told.acknowledged.values()) or [""])
        status, answer = (
            self._post(f"{self._place.path}/jobs/{identifier}/cancel", b"", None) if identifier else (0, {})
        )
        if status in (200, 202):
            self.told.canceled += 1
        elif status not in (0, 409, 429, 502, 503):
            self.told.findings.append(f"canceling {identifier} was answered {status}: {json.dumps(answer)[:200]}")

    def _post(self, path: str, body: bytes, key: str | None) -> tuple[int, dict]:  # type: ignore[type-arg]
        """Status and body; 0 when there was no whole answer."""
        headers = {"authorization": f"Bearer {self._place.key}", "content-type": "application/json"}
        if key is not None:
            headers["idempotency-key"] = key
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=15)
            self._connection.request("POST", path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            with contextlib.suppress(OSError):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None
            return 0, {}
