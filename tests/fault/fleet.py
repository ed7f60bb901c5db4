"""The node processes of a fault run: started, killed, started again at once."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Fleet:
    """`size` nodes that reach the relays at `variables["WAYPOST_RELAY"]`; each start has a journal of its own."""

    def __init__(self, folder: Path, variables: dict[str, str], seed: int, size: int) -> None:
        self._folder, self._variables, self._seed = folder, variables, seed
        self._lock = threading.Lock()
        self._starts = 0
        self._processes = [self._start() for _ in range(size)]

    def kill_one(self, draw: float) -> int:
        """SIGKILL to one of them; another one takes its place."""
        with self._lock:
            index = int(draw * len(self._processes))
            process = self._processes[index]
            process.kill()
            process.wait()
            self._processes[index] = self._start()
            return process.pid

    def revive(self) -> list[str]:
        """Start those again that ended by themselves; answers what the dead ones said."""
        with self._lock:
            said = []
            for index, process in enumerate(self._processes):
                if process.poll() is not None:
                    said.append(f"a node ended by itself with {process.returncode}: {self._tail(process)}")
                    self._processes[index] = self._start()
            return said

    def stop(self) -> list[str]:
        """SIGTERM to all; answers what is wrong with how they left."""
        findings = self.revive()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                code = process.wait(30)
            except subprocess.TimeoutExpired:
                findings.append(f"a node did not drain within 30 s: {self._tail(process)}")
                process.kill()
                process.wait()
                continue
            # SIGTERM before the node could say how it takes it: it was started a moment ago.
            if code and not (code == -signal.SIGTERM and "connected" not in self._tail(process)):
                findings.append(f"a node left with {code}: {self._tail(process)}")
        return findings

    def executions(self) -> list[tuple[str, int, int]]:
        """(job, attempt, number) of every try that a handler began, from all journals."""
        found = []
        for journal in sorted(self._folder.glob("journal-*")):
            for line in journal.read_text().splitlines():
                job, attempt, number = line.split()
                found.append((job, int(attempt), int(number)))
        return found

    def _start(self) -> subprocess.Popen[bytes]:
        self._starts += 1
        journal = self._folder / f"journal-{self._starts}"
        log = self._folder / f"node-{self._starts}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "tests.fault.node", str(journal), str(self._seed * 100 + self._starts)],
                env=os.environ | self._variables,
                stdout=output,
                stderr=output,
            )
        process.log = log  # type: ignore[attr-defined]
        return process

    def _tail(self, process: subprocess.Popen[bytes]) -> str:
        log: Path = process.log  # type: ignore[attr-defined]
        return log.read_text(errors="replace")[-500:]
