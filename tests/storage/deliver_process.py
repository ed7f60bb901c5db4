"""A worker's deliveries and nothing else, as a process to kill: `python -P -m tests.storage.deliver_process URL`."""

import asyncio
import sys

from jobs.delivery import Deliveries
from storage.postgres.database import Database
from tests.storage.delivery_ground import Ways


async def main(url: str) -> None:
    database = await Database.open(url, name="deliver", pool_size=1, hot_size=2)
    await Deliveries(database, Ways().deliver, lease_seconds=20.0).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
