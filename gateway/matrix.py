"""Who may call what, as a table in docs/access.md: `python -P -m gateway.matrix [--check] [FILE]`.

The rows are the declarations of the endpoints and the cells are asked of waypost.access.decision, so that what is
written is what is enforced. The table stands between two markers; the rest of the page is nobody's but its writer's.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from gateway.endpoint import E, Endpoint
from gateway.surface import ENDPOINTS
from waypost.access.decision import may
from waypost.access.model import Grant, Permission, Principal, PrincipalKind, Role, Scope
from waypost.ids import NIL, new_id

BEGIN = "<!-- matrix: made by python -P -m gateway.matrix -->"
END = "<!-- end of matrix -->"
PAGE = Path(__file__).parents[1] / "docs" / "access.md"

_WHOLE = Scope(new_id(), new_id(), new_id())
_KEY_ROLES = (Role.PROJECT_ADMIN, Role.OPERATOR, Role.VIEWER)


def table(endpoints: Iterable[Endpoint] = ENDPOINTS) -> str:
    """The matrix as Markdown: a route a row, a role a column, `yes` where the role is enough."""
    head = ["route", "needs", *Role, "key of the environment"]
    rows = [head, ["---"] * len(head), *(_row(declared) for declared in endpoints)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def roles_table() -> str:
    """Roles and permissions alone, of an environment that is addressed."""
    head = ["permission", *Role]
    cells = {p: ["yes" if _role_may(role, p, _WHOLE) else "" for role in Role] for p in Permission}
    rows = [head, ["---"] * len(head), *([permission, *row] for permission, row in cells.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(declared: Endpoint) -> list[str]:
    route = f"`{declared.method} {declared.path.replace(E, 'E')}`"
    if declared.permission is None:
        needs = f"no credential: {declared.public}" if declared.public else f"any credential: {declared.personal}"
        return [route, needs, *["yes"] * len(Role), "yes"]
    scope, permission = scope_of(declared), declared.permission
    cells = ["yes" if _role_may(role, permission, scope) else "" for role in Role]
    return [
        route,
        permission.value,
        *cells,
        ", ".join(role for role in _KEY_ROLES if _key_may(role, permission, scope)),
    ]


def scope_of(declared: Endpoint) -> Scope:
    """A made-up scope as deep as the endpoint's path."""
    parts = declared.parameters
    return Scope(
        _WHOLE.organization_id,
        _WHOLE.project_id if "project" in parts else None,
        _WHOLE.environment_id if "environment" in parts else None,
    )


def _role_may(role: Role, permission: Permission, scope: Scope) -> bool:
    grant = Grant(scope.organization_id, role)
    return may(Principal(PrincipalKind.ORGANIZATION_KEY, NIL, (grant,)), permission, scope)


def _key_may(role: Role, permission: Permission, scope: Scope) -> bool:
    grant = Grant(scope.organization_id, role, environment_id=_WHOLE.environment_id)
    return may(Principal(PrincipalKind.ENVIRONMENT_KEY, NIL, (grant,)), permission, scope)


def written(page: str) -> str:
    """The page with a fresh table between its markers; raises ValueError when they are not there."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError("the page has no markers for the matrix")
    return f"{before}{BEGIN}\n\n{roles_table()}\n\n{table()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the table, or with --check say whether it is as it should be (exit code 1 when not)."""
    files = [argument for argument in arguments if argument != "--check"]
    path = Path(files[0]) if files else PAGE
    page = path.read_text()
    fresh = written(page)
    if "--check" in arguments:
        if fresh != page:
            sys.stderr.write(f"{path} is stale: run python -P -m gateway.matrix\n")
        return int(fresh != page)
    path.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
