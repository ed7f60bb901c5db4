"""Submits to one peer, inside the peers' environment: `python -P -m tests.bench.peers.client MODULE MODE NUMBER`.

MODE `load`: NUMBER jobs as fast as they go, from two processes, in batches where the library has them. MODE `idle`: one
at a time, a pause of 5 to 25 ms after each. MODE `prepare`: what the peer needs before its first job.
"""

import importlib
import os
import random
import sys
import time
from typing import Any

PROCESSES = 2
BATCH = 50


def load(module: str, number: int) -> None:
    children = []
    for index in range(PROCESSES):
        child = os.fork()
        if child == 0:
            _submit_all(importlib.import_module(module), number // PROCESSES + (index < number % PROCESSES))
            os._exit(0)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(f"{module}: a submitting process failed")


def _submit_all(peer: Any, number: int) -> None:
    many = getattr(peer, "submit_many", None)
    while number > 0:
        size = min(number, BATCH if many else 1)
        if many:
            many([time.time_ns()] * size)
        else:
            peer.submit(time.time_ns())
        number -= size
    peer.close()


def idle(module: str, number: int) -> None:
    peer = importlib.import_module(module)
    for index in range(number):
        peer.submit(0 if index < 20 else time.time_ns())  # the first ones warm it up and are not noted
        time.sleep(random.uniform(0.005, 0.025))
    peer.close()


if __name__ == "__main__":
    target, mode, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    if mode == "prepare":
        prepare = getattr(importlib.import_module(target), "prepare", None)
        if prepare is not None:
            prepare()
    else:
        {"load": load, "idle": idle}[mode](target, count)
