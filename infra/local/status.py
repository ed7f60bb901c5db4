"""What `waypost status` shows: each process with its readiness, memory, restarts and addresses."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from infra.local import api, leftover
from infra.local.folder import DataFolder
from infra.local.problem import ExitCode, LocalError

_ASK_SECONDS = 2.0


def read(root: Path) -> dict[str, Any]:
    """The state of a running platform; `ready` when every process is. Memory in bytes, the process's own and its
    children's; PSS counts a shared page by its share. Raises LocalError when nothing runs. Blocking."""
    folder = DataFolder(root)
    state = folder.read_state()
    if state is None or not folder.is_running():
        raise LocalError(f"Nothing is running on {folder.root}.", ExitCode.NOT_FOUND)
    entries = [state["supervisor"], *sorted(state["processes"], key=lambda entry: str(entry["name"]))]
    with ThreadPoolExecutor(len(entries)) as pool:
        processes = list(pool.map(_look, entries))
    return {
        "data_dir": state["data_dir"],
        "api_url": state["api_url"],
        "relay_address": state["relay_address"],
        "ready": all(process["ready"] for process in processes),
        "rss_bytes": sum(process["rss_bytes"] for process in processes),
        "pss_bytes": sum(process["pss_bytes"] for process in processes),
        "restarts": sum(process["restarts"] for process in processes),
        "processes": processes,
    }


def _look(entry: dict[str, Any]) -> dict[str, Any]:
    process = leftover.alive(entry["pid"], entry["created"])
    rss, pss = _memory(process) if process else (0, 0)
    detail = _readiness(entry) if process else {}
    waits = sorted(f"{name}: {word}" for name, word in detail.items() if word != "ok")
    state = entry["state"] if process or entry["state"] != "ready" else "ended"
    return {
        "name": entry["name"],
        "kind": entry["kind"],
        "pid": entry["pid"],
        "state": state,
        "ready": process is not None and state == "ready" and not waits,
        "waits_for": waits,
        "rss_bytes": rss,
        "pss_bytes": pss,
        "restarts": entry["restarts"],
        "last_exit": entry["last_exit"],
        "address": entry["address"],
        "internal_address": entry["internal_address"],
    }


def _readiness(entry: dict[str, Any]) -> dict[str, str]:
    """What /readyz says of each dependency; the embedded servers have none."""
    address = entry["internal_address"].removeprefix("http://")
    if not address:
        return {}
    status, body = api.read(f"http://{address}/readyz", timeout_seconds=_ASK_SECONDS)
    if status == 0:
        return {"readyz": "does not answer"}
    return {str(name): str(word) for name, word in body.items() if isinstance(word, str)} if status != 200 else {}


def _memory(process: psutil.Process) -> tuple[int, int]:
    rss = pss = 0
    family = [process]
    # PostgreSQL's backends and a gateway's workers are children; the supervisor's are listed by themselves.
    if process.name() == "postgres" or process.children():
        family += [] if _is_supervisor(process) else process.children(recursive=True)
    for member in family:
        try:
            info = member.memory_full_info()
        except psutil.Error:
            continue
        rss += info.rss
        pss += getattr(info, "pss", info.rss)
    return rss, pss


def _is_supervisor(process: psutil.Process) -> bool:
    return any(word in ("infra.local.detached", "up") for word in process.cmdline())


def show(found: dict[str, Any]) -> None:
    """A table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['data_dir']}", title_justify="left", box=None, header_style="bold")
    for name in ("process", "state"):
        table.add_column(name)
    for name in ("pid", "RSS MiB", "PSS MiB", "restarts"):
        table.add_column(name, justify="right")
    for name in ("address", "internal"):
        table.add_column(name, overflow="fold")
    for process in found["processes"]:
        word = process["state"] if process["ready"] or not process["waits_for"] else "; ".join(process["waits_for"])
        colour = "green" if process["ready"] else "red"
        table.add_row(
            process["name"],
            f"[{colour}]{word}[/]",
            str(process["pid"] or ""),
            f"{process['rss_bytes'] / (1 << 20):.0f}",
            f"{process['pss_bytes'] / (1 << 20):.0f}",
            str(process["restarts"]),
            process["address"],
            process["internal_address"],
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"API {found['api_url']}   relay {found['relay_address']}   "
        f"PSS in all {found['pss_bytes'] / (1 << 20):.0f} MiB   restarts {found['restarts']}"
    )
