"""What an artifact is: its types, states and limits, and the record of one."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

MAX_UPLOAD_BYTES = 64 << 20  # native contract §1; larger ones by presigned upload
MAX_PRESIGNED_BYTES = 5 << 30
MAX_REQUEST_BYTES = MAX_UPLOAD_BYTES + (256 << 10)  # the file with its metadata and boundaries
MAX_METADATA_BYTES = 64 << 10
MAX_NAME_CHARACTERS = 255
PART_BYTES = 8 << 20  # of an upload in parts; S3 takes at most 10,000 of at least 5 MiB
UPLOAD_SECONDS = 86_400  # an upload that is not completed by then is given up
URL_SECONDS = 3_600  # how long a presigned address works
INGEST = "artifact.ingest"  # the platform job
REFERENCE_FIELD = "$artifact"  # of a payload that is an artifact: {"$artifact": "<id>"}


class ArtifactType(StrEnum):
    """Governance contract §1.11, and what travels with jobs."""

    INCIDENT_BUNDLE = "incident_bundle"
    SNAPSHOT = "snapshot"
    DIAGNOSTIC = "diagnostic"
    REPLAY_AUDIT = "replay_audit"
    DATAGUARD_REPORT = "dataguard_report"
    PAYLOAD = "payload"  # a job's input or output, JSON
    FILE = "file"  # anything


class ArtifactState(StrEnum):
    """`uploading → received → ingested | rejected`; the last two are final."""

    UPLOADING = "uploading"  # a presigned upload that is not complete
    RECEIVED = "received"
    INGESTED = "ingested"
    REJECTED = "rejected"


class Reason(msgspec.Struct, frozen=True):
    """Why an artifact was rejected."""

    code: str
    message: str


class Reference(msgspec.Struct, frozen=True):
    """Something that refers to an artifact. `holds` while the artifact cannot be deleted for it."""

    kind: str
    id: UUID
    holds: bool


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact as it is kept. `sha256` and `size_bytes` are declared ones until `verified`."""

    environment_id: UUID
    id: UUID
    type: str
    name: str
    state: ArtifactState
    object: UUID
    verified: bool
    sha256: bytes
    size_bytes: int
    content_type: str | None = None
    declared_content_type: str | None = None
    reasons: tuple[Reason, ...] = ()
    facts: dict[str, Any] = {}
    spec_hash: str | None = None
    labels: dict[str, str] = {}
    captured_at: datetime | None = None
    job_id: UUID | None = None
    upload_id: str | None = None
    part_size_bytes: int | None = None
    created_by: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None

    @property
    def object_key(self) -> str:
        """Where its content lies in the bucket."""
        return object_key(self.object)


def object_key(identifier: UUID) -> str:
    """`artifacts/<id>`."""
    return f"{OBJECT_PREFIX}{identifier}"


OBJECT_PREFIX = "artifacts/"
