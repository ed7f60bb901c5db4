"""What the audit says of a change to an organization, project or environment."""

from waypost import ids
from waypost.audit.model import AuditEntry
from waypost.tenancy.model import Environment, Organization, Project


def about(
    place: Organization | Project | Environment,
    action: str,
    actor: str,
    request_id: str | None = None,
    details: dict[str, str] | None = None,
) -> AuditEntry:
    """An entry with that place as its target, found under every level above it too."""
    environment = place if isinstance(place, Environment) else None
    project_id = environment.project_id if environment else place.id if isinstance(place, Project) else None
    return AuditEntry(
        id=ids.new_id(),
        organization_id=place.id if isinstance(place, Organization) else place.organization_id,
        project_id=project_id,
        environment_id=environment.id if environment else None,
        actor=actor,
        action=action,
        target=f"{type(place).__name__.lower()}:{place.id}",
        request_id=request_id,
        details=details,
    )
