"""A client: submit a job for the node of text_count.py, wait for it, print what came of it.

export WAYPOST_URL=… WAYPOST_KEY=… WAYPOST_ENVIRONMENT=org/project/environment
python examples/submit.py "to be or not to be"
"""

import sys

from waypost_sdk import Client


def main() -> int:
    text = " ".join(sys.argv[1:]) or "to be or not to be"
    with Client() as client:
        job = client.jobs.submit("text.count", {"text": text}, tags=["gpu", "mem_gb>=16"], labels={"from": "example"})
        print(f"submitted {job.id}", file=sys.stderr)
        job = client.jobs.wait(job.id, timeout_seconds=60)
        print(f"{job.state} after {len(job.attempts or [])} attempt(s): {job.result or job.error}")
    return 0 if job.state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
