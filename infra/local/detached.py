"""A platform in the background: `python -P -m infra.local.detached <options as JSON> <descriptor>`.

Whoever starts it reads one JSON line from the other end of the descriptor: the summary when the platform is ready, or
`{"problem", "code"}`. Its own log is `<data>/logs/waypost.log`.
"""

import contextlib
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from infra.local import ending
from infra.local.folder import DataFolder
from infra.local.option import UpOptions
from infra.local.problem import ExitCode, LocalError


def start(options: UpOptions) -> dict[str, Any]:
    """Start it and wait until it is ready; its summary. Raises LocalError; nothing is left running then."""
    told, told_end = os.pipe()
    with os.fdopen(told, "rb") as pipe:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    sys.executable, "-P", "-m", "infra.local.detached",
                    msgspec.json.encode(options).decode(), str(told_end),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(told_end,),
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(told_end)
        process.wait()  # it leaves at once: the platform is nobody's child
        try:
            line = pipe.readline()
            if b'"problem"' in line:
                pipe.read()
        except KeyboardInterrupt:
            ending.stop(Path(options.data_dir))
            raise
    if line:
        answer: dict[str, Any] = msgspec.json.decode(line)
    else:
        log = DataFolder(Path(options.data_dir)).logs / "waypost.log"
        answer = {"problem": f"The platform ended while it started: see {log}.", "code": int(ExitCode.SERVER)}
    if "problem" in answer:
        raise LocalError(answer["problem"], ExitCode(answer["code"]))
    return answer


def main() -> int:
    from infra.local import supervisor
    from infra.local.journal import Journal

    if os.fork() > 0:
        os._exit(0)
    options = msgspec.json.decode(sys.argv[1], type=UpOptions)
    descriptor = int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    told = False

    def tell(answer: dict[str, Any]) -> None:
        nonlocal told
        if told:
            return
        told = True
        with contextlib.suppress(OSError):
            os.write(descriptor, msgspec.json.encode(answer) + b"\n")
        if "problem" not in answer:
            os.close(descriptor)  # else it closes when we are gone, which is what its reader waits for then

    try:
        supervisor.run(options, lambda folder: Journal(folder.logs, None, json_lines=options.json_lines), tell)
    except LocalError as problem:
        tell({"problem": problem.sentence, "code": int(problem.code)})
        return int(problem.code)
    except Exception as error:  # noqa: BLE001 - the edge of this process: it has no terminal to show a traceback on
        tell({"problem": f"The platform ended unexpectedly: {error!r}", "code": int(ExitCode.OTHER)})
        log = DataFolder(Path(options.data_dir)).logs / "crash.log"
        with contextlib.suppress(OSError):
            log.write_text(traceback.format_exc())
        return int(ExitCode.OTHER)
    return 0


if __name__ == "__main__":
    sys.exit(main())
