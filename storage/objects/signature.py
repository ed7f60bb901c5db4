"""AWS Signature Version 4, for the requests to S3 that obstore has no call for: uploads in parts, presigned parts.

Payloads are not signed (UNSIGNED-PAYLOAD): they are streamed, and their SHA-256 is verified by ingest.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

_UNSIGNED = "UNSIGNED-PAYLOAD"


class Signer:
    """Signs for one key at one endpoint; path style."""

    def __init__(self, endpoint: str, region: str, access_key: str, secret_key: str) -> None:
        self._base = endpoint.rstrip("/")
        self._host = urlsplit(self._base).netloc
        self._region, self._access_key, self._secret_key = region, access_key, secret_key

    def headers(
        self, method: str, path: str, query: Mapping[str, str], now: datetime | None = None
    ) -> tuple[str, dict[str, str]]:
        """The address of `path` (`/bucket/key`) and the headers that authorize a request to it."""
        stamp = _stamp(now)
        signed = {"host": self._host, "x-amz-content-sha256": _UNSIGNED, "x-amz-date": stamp}
        signature = self._sign(method, path, query, signed, stamp)
        names = ";".join(sorted(signed))
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{self._scope(stamp)},"
            f" SignedHeaders={names}, Signature={signature}"
        )
        del signed["host"]
        return self._address(path, query), signed | {"authorization": authorization}

    def presigned(
        self, method: str, path: str, query: Mapping[str, str], seconds: int, now: datetime | None = None
    ) -> str:
        """An address that anybody may use with that method for so many seconds."""
        stamp = _stamp(now)
        whole = {
            **query,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self._access_key}/{self._scope(stamp)}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        signature = self._sign(method, path, whole, {"host": self._host}, stamp)
        return self._address(path, whole | {"X-Amz-Signature": signature})

    def _address(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._base}{quote(path)}" + (f"?{_query(query)}" if query else "")

    def _scope(self, stamp: str) -> str:
        return f"{stamp[:8]}/{self._region}/s3/aws4_request"

    def _sign(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], stamp: str) -> str:
        lines = [method, quote(path), _query(query)]
        lines += [f"{name}:{headers[name]}" for name in sorted(headers)]
        request = "\n".join([*lines, "", ";".join(sorted(headers)), _UNSIGNED])
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, self._scope(stamp), hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{self._secret_key}".encode()
        for part in self._scope(stamp).split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def _query(query: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(query[name], safe='-_.~')}" for name in sorted(query))


def _stamp(now: datetime | None) -> str:
    return (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
