"""Asking the platform's own HTTP surfaces: one small GET, without an HTTP library to import."""

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


def read(url: str, key: str = "", timeout_seconds: float = 5.0) -> tuple[int, dict[str, Any]]:
    """(status, JSON object); (0, {}) when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path, headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()
    try:
        decoded = json.loads(body)
    except ValueError:
        return answer.status, {}
    return answer.status, decoded if isinstance(decoded, dict) else {}
