"""Waypost for its users: `Node` runs functions on your machines, `Client` and `AsyncClient` speak the HTTP API.

Importing this package loads nothing else; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from waypost_sdk import version

if TYPE_CHECKING:
    from waypost_sdk.errors import (
        ConfigurationError,
        ConflictError,
        CredentialsError,
        DeclarationError,
        ForbiddenError,
        InvalidError,
        LimitedError,
        MalformedError,
        NodeRefusedError,
        NonRetryable,
        NotAvailableError,
        NotFoundError,
        ServerError,
        TooLargeError,
        UnavailableError,
        WaitTimeoutError,
        WaypostError,
    )
    from waypost_sdk.http.client import AsyncClient, Client
    from waypost_sdk.model import Attempt, Concurrency, Job, JobEvent, JobSpec, Retry
    from waypost_sdk.node.job import RunningJob
    from waypost_sdk.node.node import Node

__version__ = version.VERSION

_HOME = {
    "AsyncClient": "http.client",
    "Attempt": "model",
    "Client": "http.client",
    "Concurrency": "model",
    "Job": "model",
    "JobEvent": "model",
    "JobSpec": "model",
    "Node": "node.node",
    "Retry": "model",
    "RunningJob": "node.job",
}

__all__ = [
    "AsyncClient",
    "Attempt",
    "Client",
    "Concurrency",
    "ConfigurationError",
    "ConflictError",
    "CredentialsError",
    "DeclarationError",
    "ForbiddenError",
    "InvalidError",
    "Job",
    "JobEvent",
    "JobSpec",
    "LimitedError",
    "MalformedError",
    "Node",
    "NodeRefusedError",
    "NonRetryable",
    "NotAvailableError",
    "NotFoundError",
    "Retry",
    "RunningJob",
    "ServerError",
    "TooLargeError",
    "UnavailableError",
    "WaitTimeoutError",
    "WaypostError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'waypost_sdk' has no attribute {name!r}")
    value = getattr(import_module(f"waypost_sdk.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
