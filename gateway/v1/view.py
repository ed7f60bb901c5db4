"""Shapes of the native contract: what answers look like, field by field and in its order.

Payloads and results are embedded byte for byte. A field of type `UnsetType` is left out when it does not apply.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from waypost.access.model import ApiKey, NodeCredential
from waypost.ids import instant_of
from waypost.job.decision import NodeCounts
from waypost.job.model import JobSpec, JobState, Policy
from waypost.job.record import AttemptRecord, JobRecord
from waypost.job.specification import parse_policy
from waypost.limit.model import Level, Limits, Source
from waypost.node.model import NodeRecord
from waypost.retention import model as retained
from waypost.route.selector import tag_text
from waypost.tenancy.model import Environment, EnvironmentStep, Organization, Project, Setting

NULL = Raw(b"null")


# --- jobs -------------------------------------------------------------------------------------------------------------


class RetryView(Struct, frozen=True):
    max_attempts: int
    backoff: str
    initial_seconds: float
    factor: float
    max_seconds: float
    jitter: float


class ConcurrencyView(Struct, frozen=True):
    key: str
    limit: int


class ErrorView(Struct, frozen=True):
    code: str
    message: str
    retryable: bool = False
    details: Raw | None = None


class ProgressView(Struct, frozen=True):
    fraction: float
    message: str


class WaitingView(Struct, frozen=True):
    """Why the job is not running (native contract §3.4)."""

    reason: str
    detail: str
    since: datetime
    nodes: NodeCounts


class JobView(Struct, frozen=True, kw_only=True):
    """A job. `payload`, `result` and `error` are there for who may operate the environment (decision 22)."""

    function: str
    payload: Raw | UnsetType = UNSET
    tags: tuple[str, ...]
    priority: int
    run_at: datetime | None
    timeout_seconds: int
    expires_in_seconds: int | None
    retry: RetryView
    concurrency: ConcurrencyView | None
    labels: dict[str, str]
    id: UUID
    state: JobState
    attempt: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Raw | UnsetType | None = UNSET
    error: ErrorView | UnsetType | None = UNSET
    progress: ProgressView | None = None
    cancel_requested_at: datetime | None = None
    trace_id: str | None = None
    submitted_by: str
    trigger_id: UUID | UnsetType = UNSET
    replay_of: UUID | UnsetType = UNSET
    replayed_by: UUID | UnsetType = UNSET
    waiting: WaitingView | UnsetType = UNSET


class AttemptView(Struct, frozen=True, kw_only=True):
    """One attempt; `error` is there for who may operate the environment."""

    number: int
    id: str
    node: UUID | None
    node_name: str | None
    relay: str | None
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    answer_refused_at: datetime | None  # its node answered after it had been given up
    error: ErrorView | UnsetType | None = UNSET


class JobReference(Struct, frozen=True):
    id: UUID
    state: JobState


@lru_cache(maxsize=1024)
def _policy_views(text: str | None) -> tuple[Policy, RetryView, ConcurrencyView | None]:
    policy = parse_policy(text)
    retry = policy.retry
    view = RetryView(
        retry.max_attempts, retry.backoff.value, retry.initial_seconds, retry.factor, retry.max_seconds, retry.jitter
    )
    return (
        policy,
        view,
        ConcurrencyView(policy.concurrency.key, policy.concurrency.limit) if policy.concurrency else None,
    )


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a traceparent header."""
    return traceparent[3:35] if traceparent else None


def created_view(
    job_id: UUID,
    spec: JobSpec,
    policy: str | None,
    submitted_by: str,
    traceparent: str | None,
    replay_of: UUID | None = None,
) -> JobView:
    """The job as it is the moment it was accepted."""
    kept, retry, concurrency = _policy_views(policy)
    created = instant_of(job_id)
    run_at = spec.run_at if spec.delay_seconds is None else created + timedelta(seconds=spec.delay_seconds)
    return JobView(
        function=spec.function,
        payload=Raw(spec.payload) if spec.payload else NULL,
        tags=spec.selectors,
        priority=spec.priority,
        run_at=run_at,
        timeout_seconds=kept.timeout_seconds,
        expires_in_seconds=kept.expires_in_seconds,
        retry=retry,
        concurrency=concurrency,
        labels=spec.labels,
        id=job_id,
        state=JobState.QUEUED,
        attempt=0,
        created_at=created,
        updated_at=created,
        result=None,
        error=None,
        trace_id=trace_id_of(traceparent),
        submitted_by=submitted_by,
        replay_of=UNSET if replay_of is None else replay_of,
    )


class Bodies(Struct, frozen=True):
    """What was opened of a job's record."""

    payload: bytes
    result: bytes | None
    error: ErrorView | None


def job_view(
    record: JobRecord,
    bodies: Bodies | None = None,
    *,
    progress: ProgressView | None = None,
    waiting: WaitingView | None = None,
) -> JobView:
    """The job of a record; without `bodies`, its metadata."""
    kept, retry, concurrency = _policy_views(record.policy)
    result: Any = UNSET
    if bodies is not None:
        result = None if bodies.result is None else Raw(bodies.result)
    return JobView(
        function=record.function,
        payload=UNSET if bodies is None else Raw(bodies.payload) if bodies.payload else NULL,
        tags=record.selectors,
        priority=record.priority,
        run_at=record.run_at,
        timeout_seconds=kept.timeout_seconds,
        expires_in_seconds=kept.expires_in_seconds,
        retry=retry,
        concurrency=concurrency,
        labels=record.labels,
        id=record.id,
        state=record.state,
        attempt=record.number,
        created_at=record.created_at,
        updated_at=record.updated_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        result=result,
        error=UNSET if bodies is None else bodies.error,
        progress=progress,
        cancel_requested_at=record.cancel_requested_at,
        trace_id=trace_id_of(record.traceparent),
        submitted_by=record.submitted_by,
        trigger_id=_or_unset(record.trigger_id),
        replay_of=_or_unset(record.replay_of),
        replayed_by=_or_unset(record.replayed_by),
        waiting=UNSET if waiting is None else waiting,
    )


def _or_unset(value: UUID | None) -> UUID | UnsetType:
    return UNSET if value is None else value


def attempt_view(record: AttemptRecord, error: ErrorView | UnsetType | None) -> AttemptView:
    return AttemptView(
        number=record.number,
        id=f"{record.attempt_id:016x}",
        node=record.node,
        node_name=record.node_name,
        relay=record.relay,
        started_at=record.started_at,
        finished_at=record.finished_at,
        outcome=record.outcome.word if record.outcome else None,
        answer_refused_at=record.answer_refused_at,
        error=error,
    )


# --- tenancy, credentials ---------------------------------------------------------------------------------------------


class OrganizationView(Struct, frozen=True):
    id: UUID
    slug: str
    name: str
    settings: dict[str, Setting]
    limits: dict[str, int]  # in force: the organization's own, and the most for each of its environments
    limit_sources: dict[str, Source]
    created_at: datetime
    updated_at: datetime
    admin_key: str | UnsetType = UNSET  # once, when it is created


class ProjectView(Struct, frozen=True):
    id: UUID
    organization_id: UUID
    slug: str
    name: str
    description: str
    status: str
    created_at: datetime
    updated_at: datetime


class EnvironmentView(Struct, frozen=True, kw_only=True):
    id: UUID
    organization_id: UUID
    project_id: UUID
    slug: str
    name: str
    posture: str
    backend: str
    tenancy: str
    status: str
    status_reason: str | None
    steps: list[EnvironmentStep] | UnsetType = UNSET  # of one environment; lists leave them out
    limits: dict[str, int]  # in force
    limit_sources: dict[str, Source]
    retention: dict[str, int]  # days in force
    retention_sources: dict[str, retained.Source]
    created_by: str
    created_at: datetime
    updated_at: datetime


class KeyView(Struct, frozen=True, kw_only=True):
    id: UUID
    public_id: str
    name: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    replaced_by: UUID | None
    key: str | UnsetType = UNSET  # the whole text, once


class CredentialView(Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    client_id: str
    client_secret: str | UnsetType = UNSET  # once
    token_url: str
    relay_address: str
    allowed_tags: tuple[str, ...] | None
    functions: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    last_used_at: datetime | None


class NodeView(Struct, frozen=True, kw_only=True):
    id: UUID
    name: str
    state: str
    tags: list[str]
    functions: list[dict[str, Any]]
    relay: str | None
    credential_id: UUID
    connected_at: datetime
    last_seen_at: datetime
    disconnected_at: datetime | None
    disconnect_reason: str | None
    round_trip_ms: float | None
    in_flight: int
    max_in_flight: int
    completed: int
    failed: int
    sdk: str | None
    version: str | None


def organization_view(
    organization: Organization, limits: Limits, admin_key: str | UnsetType = UNSET
) -> OrganizationView:
    """`limits` are those in force."""
    o = organization
    return OrganizationView(o.id, o.slug, o.name, o.settings, *limits.at(None), o.created_at, o.updated_at, admin_key)


def project_view(project: Project) -> ProjectView:
    p = project
    return ProjectView(
        p.id, p.organization_id, p.slug, p.name, p.description, p.status.value, p.created_at, p.updated_at
    )


def environment_view(
    environment: Environment,
    limits: Limits,
    retention: retained.Retention,
    steps: list[EnvironmentStep] | None = None,
) -> EnvironmentView:
    """`limits` and `retention` are those in force."""
    e = environment
    values, sources = limits.at(Level.ENVIRONMENT)
    return EnvironmentView(
        id=e.id,
        organization_id=e.organization_id,
        project_id=e.project_id,
        slug=e.slug,
        name=e.name,
        posture=e.posture.value,
        backend=e.backend,
        tenancy=e.tenancy,
        status=e.status.value,
        status_reason=e.status_reason,
        steps=UNSET if steps is None else steps,
        limits=values,
        limit_sources=sources,
        retention=dict(retention.days),
        retention_sources=dict(retention.sources),
        created_by=e.created_by,
        created_at=e.created_at,
        updated_at=e.updated_at,
    )


def key_view(key: ApiKey, text: str | UnsetType = UNSET) -> KeyView:
    return KeyView(
        id=key.id,
        public_id=key.public_id,
        name=key.name,
        role=key.role.value,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        replaced_by=key.replaced_by,
        key=text,
    )


def credential_view(
    credential: NodeCredential, public_url: str, relay_address: str, secret: str | UnsetType = UNSET
) -> CredentialView:
    c = credential
    return CredentialView(
        id=c.id,
        name=c.name,
        client_id=c.client_id,
        client_secret=secret,
        token_url=f"{public_url}/api/oauth/token",
        relay_address=relay_address,
        allowed_tags=c.allowed_tags,
        functions=c.functions,
        created_by=c.created_by,
        created_at=c.created_at,
        last_used_at=c.last_used_at,
    )


def node_view(node: NodeRecord) -> NodeView:
    return NodeView(
        id=node.id,
        name=node.name,
        state=node.state.value,
        tags=[tag_text(key, value) for key, value in sorted(node.tags.items())],
        functions=node.functions,
        relay=node.relay,
        credential_id=node.credential_id,
        connected_at=node.connected_at,
        last_seen_at=node.last_seen_at,
        disconnected_at=node.disconnected_at,
        disconnect_reason=node.disconnect_reason,
        round_trip_ms=node.round_trip_ms,
        in_flight=node.in_flight,
        max_in_flight=node.max_in_flight,
        completed=node.completed,
        failed=node.failed,
        sdk=node.sdk,
        version=node.version,
    )


def page_view(items: Any, next_cursor: str | None) -> dict[str, Any]:
    return {"items": items, "next_cursor": next_cursor}


encode = msgspec.json.Encoder().encode
