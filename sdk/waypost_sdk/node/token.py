"""The access token of a node: fetched with its credential, kept until shortly before it expires."""

import time

from waypost_sdk.errors import NodeRefusedError, from_answer, unreachable

EARLY_SECONDS = 60.0  # fetch a new one this long before the old one ends (or half its life, if that is less)
TIMEOUT_SECONDS = 10.0


class TokenSource:
    """Tokens from `POST {url}/api/oauth/token` (client credentials, HTTP Basic)."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self._url = url.rstrip("/") + "/api/oauth/token"
        self._credential = (client_id, client_secret)
        self._token: str | None = None
        self._fresh_until = 0.0
        self.environment_path: str | None = None  # of the API, as the platform told it with the last token

    def drop(self) -> None:
        """The relay did not take the token: fetch another one next time."""
        self._token = None

    async def token(self) -> str:
        """A token that is still fresh.

        Raises NodeRefusedError when the platform knows no such credential, UnavailableError when it cannot be asked.
        """
        if self._token is None or time.monotonic() >= self._fresh_until:
            self._token, life = await self._fetch()
            self._fresh_until = time.monotonic() + life - min(EARLY_SECONDS, life / 2)
        return self._token

    async def _fetch(self) -> tuple[str, float]:
        import httpx  # here, because it costs 0.3 s and declaring a node needs none of it

        try:
            async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
                answer = await client.post(self._url, auth=self._credential, data={"grant_type": "client_credentials"})
            document = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise unreachable(self._url, error or type(error).__name__) from error
        return self._read(answer.status_code, dict(answer.headers), document)

    def _read(self, status: int, headers: dict[str, str], document: object) -> tuple[str, float]:
        if status in (400, 401, 403):
            error = document.get("error") if isinstance(document, dict) else None
            raise NodeRefusedError(
                "bad_node_credential",
                f"{self._url} refused the node credential {self._credential[0]} ({error or status}).",
                status=status,
            )
        if status != 200 or not isinstance(document, dict) or not isinstance(document.get("access_token"), str):
            raise from_answer(status, headers, document)
        path = document.get("environment_path")
        self.environment_path = path if isinstance(path, str) else None
        return document["access_token"], float(document.get("expires_in", 300))
