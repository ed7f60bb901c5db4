"""Signatures of requests to S3, held against what AWS published."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from storage.objects.signature import Signer

AT = datetime(2013, 5, 24, tzinfo=UTC)
SIGNER = Signer(
    "https://examplebucket.s3.amazonaws.com",
    "us-east-1",
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
)


def test_a_presigned_address_is_that_of_the_published_example() -> None:
    """Amazon S3 API reference, "Authenticating Requests: Using Query Parameters"."""
    url = urlsplit(SIGNER.presigned("GET", "/test.txt", {}, 86_400, AT))
    query = parse_qs(url.query)
    assert (url.netloc, url.path) == ("examplebucket.s3.amazonaws.com", "/test.txt")
    assert query["X-Amz-Credential"] == ["AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request"]
    assert query["X-Amz-Signature"] == ["aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"]


def test_everything_that_is_asked_is_signed() -> None:
    """Another method, path, parameter, moment or key has another signature."""

    def signature(
        signer: Signer = SIGNER, method: str = "PUT", path: str = "/a", at: datetime = AT, **query: str
    ) -> str:
        return parse_qs(urlsplit(signer.presigned(method, path, query, 60, at)).query)["X-Amz-Signature"][0]

    other = Signer("https://examplebucket.s3.amazonaws.com", "us-east-1", "AKIAIOSFODNN7EXAMPLE", "other")
    found = [
        signature(),
        signature(method="GET"),
        signature(path="/b"),
        signature(partNumber="1"),
        signature(partNumber="2"),
        signature(at=AT.replace(second=1)),
        signature(other),
    ]
    assert len(set(found)) == len(found)
    assert signature() == found[0]
