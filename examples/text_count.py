"""A compute node with two functions: one async and typed, one plain that runs in a thread.

export WAYPOST_URL=… WAYPOST_RELAY=… WAYPOST_CLIENT_ID=… WAYPOST_CLIENT_SECRET=…
waypost node run examples/text_count.py --reload     # or: python examples/text_count.py
"""

import hashlib
from collections import Counter

import msgspec
from waypost_sdk import Node, NonRetryable, RunningJob

node = Node(tags=["gpu", "mem_gb=24"], name="example")


class Request(msgspec.Struct):
    text: str
    top: int = 3


class Answer(msgspec.Struct):
    words: int
    most_common: dict[str, int]


@node.function("text.count", max_in_flight=8)
async def count(job: RunningJob, payload: Request) -> Answer:
    """Count the words of a text."""
    words = payload.text.lower().split()
    if not words:
        raise NonRetryable("empty_text", "there is nothing to count")
    await job.progress(0.5, "half way")
    job.log("counted", words=len(words), attempt=job.number)
    return Answer(len(words), dict(Counter(words).most_common(payload.top)))


@node.function("text.digest", max_in_flight=4)
def digest(job: RunningJob, payload: Request) -> str:
    """A slow digest; plain functions run in threads, and look at `job.canceled` themselves."""
    value = payload.text.encode()
    for step in range(100):
        if job.canceled:
            raise NonRetryable("stopped", f"canceled after {step} rounds")
        value = hashlib.scrypt(value, salt=job.idempotency_key.encode(), n=1024, r=8, p=1)
        job.progress((step + 1) / 100)
    return value.hex()


if __name__ == "__main__":
    node.run()
