"""Makes `data/platform-<revision>.tar` and `.json`: a platform of that revision as the upgrade's test finds it.

Run once, before a revision of the control schema gets a successor, against a platform that the code of that revision
started: `python -P -m tests.infra.older_platform DATA_DIR`. What it makes is checked in and never made again.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from waypost_sdk import AsyncClient, Node, NonRetryable

from infra.local.folder import DataFolder

DATA = Path(__file__).parent / "data"
PLACE = "default/default/dev"
PATH = "/v1/orgs/default/projects/default/environments/dev"
LARGE = "large " * 15_000  # kept in the object store
RESULTS = ["small", 17, LARGE]


async def work(data_dir: Path) -> dict[str, Any]:
    """Jobs in every state, keys and credentials; what a test needs to find them again."""
    folder = DataFolder(data_dir)
    state = folder.read_state() or {}
    url, key = state["api_url"], folder.admin_key_file.read_text().strip()
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}) as http:
        credential = (await http.post(f"{PATH}/node-credentials", json={"name": "old"})).json()
        operator = (await http.post(f"{PATH}/keys", json={"name": "old", "role": "operator"})).json()
    facts: dict[str, Any] = {"admin_key": key, "operator_key": operator["key"]}
    facts["credential"] = {name: credential[name] for name in ("client_id", "client_secret")}
    async with AsyncClient(url, key, PLACE) as sdk:
        facts["jobs"] = await jobs(sdk, node(state, credential))
    return facts


def node(state: dict[str, Any], credential: dict[str, Any]) -> Node:
    return Node(
        relay=state["relay_address"],
        url=state["api_url"],
        client_id=credential["client_id"],
        client_secret=credential["client_secret"],
        tags=["gpu", "mem_gb=24"],
    )


async def jobs(sdk: AsyncClient, worker: Node) -> dict[str, list[str]]:
    started = asyncio.Event()

    @worker.function("echo", max_in_flight=8)
    async def echo(job: Any, payload: Any) -> Any:
        job.log("echoing")
        return payload

    @worker.function("refuse")
    async def refuse(job: Any, payload: Any) -> None:
        raise NonRetryable("no_such_order", "unknown")

    @worker.function("stuck")
    async def stuck(job: Any, payload: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async def submit(function: str, payload: Any, **more: Any) -> str:
        return (await sdk.jobs.submit(function, payload, **more)).id

    task = asyncio.create_task(worker.serve())
    await asyncio.sleep(0)
    await worker.wait_connected()
    found = {
        "completed": [await submit("echo", payload, labels={"order": "A-17"}) for payload in RESULTS],
        "failed": [await submit("refuse", None)],
        "running": [await submit("stuck", "held")],
        "queued": [await submit("later", payload, tags=["gpu"], priority=7) for payload in RESULTS],
        "scheduled": [await submit("later", "due", delay_seconds=1)],
        "held": [await submit("later", number, concurrency={"key": "one", "limit": 1}) for number in range(2)],
        "canceled": [await submit("later", "never")],
    }
    await sdk.jobs.cancel(found["canceled"][0])
    for job in found["completed"] + found["failed"]:
        await sdk.jobs.wait(job, timeout_seconds=20)
    await asyncio.wait_for(started.wait(), 20)
    task.cancel()
    return found


def main(data_dir: Path) -> None:
    facts = asyncio.run(work(data_dir))
    backup = DATA / "making.tar"
    command = [sys.executable, "-P", "-m", "waypost_sdk.command.main", "admin", "backup", "--with-key"]
    done = subprocess.run([*command, "--data-dir", data_dir, "--to", backup], check=True, stdout=subprocess.PIPE)  # noqa: S603
    name = f"platform-{json.loads(done.stdout)['control_version']}"
    (DATA / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    backup.rename(DATA / f"{name}.tar")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
