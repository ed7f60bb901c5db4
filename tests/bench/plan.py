"""What a load generator is told to send, and what it reports; independent of which generator carries it out."""

import time
from dataclasses import asdict, dataclass, field
from typing import Self


@dataclass(frozen=True)
class Plan:
    """Submissions for some seconds.

    `rate` is requests a second (open loop: a request that has to wait counts from when it was due), None = as fast as
    the connections allow (closed loop). `specs` are job specifications as JSON text without their end `}` and without a
    payload; the generator adds `"payload": {"at": <ns>}`, the moment at which the request was due by the clock of this
    machine, which the handler subtracts from its own. With `bulk`, each request carries that many jobs; with
    `item_keys` each has a key of its own beside the request's.
    """

    host: str
    port: int
    token: str
    paths: tuple[str, ...]
    specs: tuple[str, ...]
    connections: int
    seconds: float
    prefix: str  # of the idempotency keys: unique per run
    rate: float | None = None
    bulk: int = 0
    item_keys: bool = False

    def request(self, number: str, *, late_seconds: float) -> bytes:
        """The bytes of the request of that number."""
        at = time.time_ns() - int(late_seconds * 1e9)
        choice = hash(number)
        path = self.paths[choice % len(self.paths)]
        spec = self.specs[choice // len(self.paths) % len(self.specs)]
        key = f"{self.prefix}-{number}"
        if self.bulk:
            keys = (f',"idempotency_key":"{key}-{item}"' if self.item_keys else "" for item in range(self.bulk))
            items = ",".join(f'{spec},"payload":{{"at":{at}}}{item_key}}}' for item_key in keys)
            body = f'{{"jobs":[{items}]}}'.encode()
        else:
            body = f'{spec},"payload":{{"at":{at}}}}}'.encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}\r\nauthorization: Bearer {self.token}\r\n"
            f"content-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Outcome:
    """What came of a plan. `refused` are answers other than 2xx; latencies in milliseconds."""

    requests: int
    seconds: float
    cpu_seconds: float
    refused: int
    failures: int
    generator: str
    latency_ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, taken: list[float], **known: object) -> Self:
        """From sorted latencies."""
        last = len(taken) - 1
        latency = {name: taken[int(last * share)] for name, share in QUANTILES} if taken else {}
        return cls(requests=len(taken), latency_ms=latency, **known)  # type: ignore[arg-type]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def cpu_share(self) -> float:
        """Of one core."""
        return self.cpu_seconds / self.seconds if self.seconds else 0.0

    def figures(self) -> dict[str, object]:
        return asdict(self)


QUANTILES = (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
