"""Keys and permissions."""

import pytest

from waypost import ids
from waypost.access import key as access_key
from waypost.access.decision import (
    MATRIX,
    check_grantable,
    may,
    organization_where,
    permissions_of,
    require,
    visible_organizations,
    visible_projects,
)
from waypost.access.explanation import Names, explain, standing
from waypost.access.model import Grant, Permission, Principal, PrincipalKind, Role, Scope
from waypost.errors import WaypostError

ORG, PROJECT, ENVIRONMENT = ids.new_id(), ids.new_id(), ids.new_id()
AT_ORG, AT_PROJECT, AT_ENVIRONMENT = Scope(ORG), Scope(ORG, PROJECT), Scope(ORG, PROJECT, ENVIRONMENT)

TABLE = {  # governance contract §3, row by row: org_admin, project_admin, operator, viewer
    "ViewOrg": "yyyy",
    "ManageOrgMemberships": "ynnn",
    "ViewProject": "yyyy",
    "ManageProject": "yynn",
    "OperateProject": "yyyn",
    "ViewEnvironment": "yyyy",
    "ManageEnvironment": "yynn",
    "OperateEnvironment": "yyyn",
}


def principal(role: Role, confined: bool = False) -> Principal:
    kind = PrincipalKind.ENVIRONMENT_KEY if confined else PrincipalKind.ORGANIZATION_KEY
    return Principal(kind, ids.new_id(), (Grant(ORG, role, environment_id=ENVIRONMENT if confined else None),))


@pytest.mark.parametrize("permission", list(Permission))
def test_the_matrix_is_the_contracts(permission: Permission) -> None:
    """Every cell."""
    cells = "".join("y" if permission in MATRIX[role] else "n" for role in Role)
    assert cells == TABLE[permission]
    at_environment = "".join("y" if may(principal(role), permission, AT_ENVIRONMENT) else "n" for role in Role)
    assert at_environment == TABLE[permission]


def test_only_an_org_admin_changes_the_organization() -> None:
    """A project administrator has no project permission where no project is addressed."""
    assert permissions_of(principal(Role.PROJECT_ADMIN), AT_ORG) == {Permission.VIEW_ORG}
    assert permissions_of(principal(Role.ORG_ADMIN), AT_ORG) == set(Permission)
    assert Permission.OPERATE_ENVIRONMENT not in permissions_of(principal(Role.OPERATOR), AT_PROJECT)


def test_another_organization_is_not_found() -> None:
    """Not forbidden: its existence is not told."""
    with pytest.raises(WaypostError) as caught:
        require(principal(Role.ORG_ADMIN), Permission.VIEW_ORG, Scope(ids.new_id()))
    assert caught.value.code == "not_found"


def test_a_missing_permission_is_named() -> None:
    """403 with the permission's name."""
    with pytest.raises(WaypostError) as caught:
        require(principal(Role.VIEWER), Permission.OPERATE_ENVIRONMENT, AT_ENVIRONMENT)
    assert (caught.value.code, caught.value.extra) == ("forbidden", {"permission": "OperateEnvironment"})


def test_an_environment_key_is_confined() -> None:
    """It works in its environment, does not find a sibling, and may not touch what lies above."""
    operator = principal(Role.OPERATOR, confined=True)
    require(operator, Permission.OPERATE_ENVIRONMENT, AT_ENVIRONMENT)
    for permission, scope, code in (
        (Permission.VIEW_ENVIRONMENT, Scope(ORG, PROJECT, ids.new_id()), "not_found"),
        (Permission.VIEW_PROJECT, AT_PROJECT, "forbidden"),
        (Permission.VIEW_ORG, AT_ORG, "forbidden"),
        (Permission.MANAGE_ENVIRONMENT, AT_ENVIRONMENT, "forbidden"),
    ):
        with pytest.raises(WaypostError) as caught:
            require(operator, permission, scope)
        assert caught.value.code == code


def person(*grants: Grant) -> Principal:
    return Principal(PrincipalKind.PERSON, ids.new_id(), grants)


@pytest.mark.parametrize("whole", list(Role)[1:])
@pytest.mark.parametrize("own", list(Role)[1:])
def test_a_projects_role_replaces_the_organizations(whole: Role, own: Role) -> None:
    """Neither is added to the other, upwards or downwards; elsewhere the organization's counts."""
    caller = person(Grant(ORG, whole), Grant(ORG, own, PROJECT))
    assert permissions_of(caller, AT_ENVIRONMENT) == MATRIX[own]
    assert permissions_of(caller, AT_PROJECT) == permissions_of(person(Grant(ORG, own)), AT_PROJECT)
    assert permissions_of(caller, Scope(ORG, ids.new_id(), ids.new_id())) == MATRIX[whole]
    assert permissions_of(caller, AT_ORG) == {Permission.VIEW_ORG}


@pytest.mark.parametrize("own", list(Role)[1:])
def test_an_org_admin_needs_no_other_role_and_loses_nothing_by_one(own: Role) -> None:
    """`org_admin` of the organization is not replaced."""
    for caller in (person(Grant(ORG, Role.ORG_ADMIN)), person(Grant(ORG, own, PROJECT), Grant(ORG, Role.ORG_ADMIN))):
        for scope in (AT_ORG, AT_PROJECT, AT_ENVIRONMENT):
            assert permissions_of(caller, scope) == set(Permission)


def test_an_organization_wide_viewer_sees_every_project_and_environment() -> None:
    """The contract's own example."""
    caller = person(Grant(ORG, Role.VIEWER))
    assert may(caller, Permission.VIEW_PROJECT, Scope(ORG, ids.new_id()))
    assert may(caller, Permission.VIEW_ENVIRONMENT, Scope(ORG, ids.new_id(), ids.new_id()))
    assert not may(caller, Permission.OPERATE_ENVIRONMENT, AT_ENVIRONMENT)


def test_a_role_in_one_project_reaches_no_other() -> None:
    """403 there, as the organization is known; the organization itself can be seen."""
    caller = person(Grant(ORG, Role.PROJECT_ADMIN, PROJECT))
    require(caller, Permission.MANAGE_ENVIRONMENT, AT_ENVIRONMENT)
    require(caller, Permission.VIEW_ORG, AT_ORG)
    for permission, scope in (
        (Permission.VIEW_PROJECT, Scope(ORG, ids.new_id())),
        (Permission.VIEW_ENVIRONMENT, Scope(ORG, ids.new_id(), ENVIRONMENT)),
        (Permission.MANAGE_PROJECT, AT_ORG),
        (Permission.MANAGE_ORG_MEMBERSHIPS, AT_ORG),
    ):
        with pytest.raises(WaypostError) as caught:
            require(caller, permission, scope)
        assert (caught.value.code, caught.value.extra) == ("forbidden", {"permission": permission})


def test_a_role_in_one_environment_is_confined_to_it() -> None:
    """It counts there before the project's role, and nowhere else."""
    confined = Grant(ORG, Role.OPERATOR, PROJECT, ENVIRONMENT)
    caller = person(Grant(ORG, Role.VIEWER, PROJECT), confined)
    assert may(caller, Permission.OPERATE_ENVIRONMENT, AT_ENVIRONMENT)
    assert not may(caller, Permission.OPERATE_ENVIRONMENT, Scope(ORG, PROJECT, ids.new_id()))
    assert not may(caller, Permission.OPERATE_PROJECT, AT_PROJECT)
    assert permissions_of(person(confined), AT_PROJECT) == set()


def test_an_environment_permission_needs_sight_of_what_is_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that could not see project and organization could do nothing in their environments."""
    for blind in (Permission.VIEW_PROJECT, Permission.VIEW_ORG):
        monkeypatch.setitem(MATRIX, Role.OPERATOR, frozenset(Permission) - {blind})
        for grant in (Grant(ORG, Role.OPERATOR), Grant(ORG, Role.OPERATOR, environment_id=ENVIRONMENT)):
            assert permissions_of(person(grant), AT_ENVIRONMENT) == set()


def test_roles_of_several_organizations_do_not_mix() -> None:
    """An administrator of one is a viewer of the other, and finds nothing of a third."""
    other = ids.new_id()
    caller = person(Grant(ORG, Role.VIEWER), Grant(other, Role.ORG_ADMIN))
    assert permissions_of(caller, AT_ENVIRONMENT) == MATRIX[Role.VIEWER]
    assert permissions_of(caller, Scope(other, ids.new_id())) == set(Permission)
    assert visible_organizations(caller) == {ORG, other}
    assert organization_where(caller, Permission.MANAGE_ORG_MEMBERSHIPS) == other
    with pytest.raises(WaypostError, match="not_found"):
        require(caller, Permission.VIEW_ORG, Scope(ids.new_id()))
    with pytest.raises(WaypostError, match="ManageOrgMemberships"):
        organization_where(person(Grant(ORG, Role.PROJECT_ADMIN)), Permission.MANAGE_ORG_MEMBERSHIPS)


def test_projects_are_listed_for_whom_they_concern() -> None:
    """All of them to a role in the organization, one's own to a role in a project."""
    assert visible_projects(person(Grant(ORG, Role.VIEWER)), ORG) is None
    assert visible_projects(person(Grant(ORG, Role.VIEWER, PROJECT)), ORG) == {PROJECT}
    assert visible_organizations(principal(Role.OPERATOR, confined=True)) == frozenset()


@pytest.mark.parametrize("own", list(Role))
@pytest.mark.parametrize("given", list(Role))
def test_nobody_gives_a_role_above_their_own(own: Role, given: Role) -> None:
    """A role may be given by whoever may do all that it allows, in the same place."""
    order = [Role.VIEWER, Role.OPERATOR, Role.PROJECT_ADMIN, Role.ORG_ADMIN]
    for caller, scope in ((principal(own), AT_ORG), (person(Grant(ORG, own, PROJECT)), AT_PROJECT)):
        if order.index(given) <= order.index(own):
            check_grantable(caller, given, scope)
        else:
            with pytest.raises(WaypostError) as caught:
                check_grantable(caller, given, scope)
            assert caught.value.code == "role_above_own"
    with pytest.raises(WaypostError):
        check_grantable(person(Grant(ORG, own, ids.new_id())), given, AT_PROJECT)


def test_callers_are_named_by_kind() -> None:
    """In the audit and in `submitted_by`."""
    caller = person(Grant(ORG, Role.VIEWER))
    assert caller.actor == f"person:{caller.id}"
    assert principal(Role.VIEWER).actor.startswith("key:")
    assert Principal(PrincipalKind.SYSTEM, ids.NIL, ()).actor == "system"
    with pytest.raises(ValueError, match="unpack"):
        _ = person().organization_id


NAMES = Names("harbour", "images", "production")


@pytest.mark.parametrize(
    ("grants", "scope", "because"),
    [
        (
            (Grant(ORG, Role.VIEWER), Grant(ORG, Role.OPERATOR, PROJECT)),
            AT_PROJECT,
            "role operator on project images, which replaces the organization's viewer",
        ),
        ((Grant(ORG, Role.OPERATOR, PROJECT),), AT_ENVIRONMENT, "role operator on project images"),
        (
            (Grant(ORG, Role.ORG_ADMIN), Grant(ORG, Role.VIEWER, PROJECT)),
            AT_ENVIRONMENT,
            "role org_admin in organization harbour, which implies everything below it",
        ),
        (
            (Grant(ORG, Role.VIEWER),),
            AT_PROJECT,
            "role viewer in organization harbour, as there is none on project images",
        ),
        ((Grant(ORG, Role.VIEWER),), AT_ORG, "role viewer in organization harbour"),
        (
            (Grant(ORG, Role.VIEWER, environment_id=ENVIRONMENT),),
            AT_ENVIRONMENT,
            "role viewer in environment production, to which it is confined",
        ),
        (
            (Grant(ORG, Role.VIEWER, ids.new_id()),),
            AT_PROJECT,
            "no role on project images, and none in organization harbour as a whole",
        ),
    ],
)
def test_the_role_that_counts_is_explained(grants: tuple[Grant, ...], scope: Scope, because: str) -> None:
    """In the words of governance contract §3; every permission says yes exactly when `may` does."""
    caller = person(*grants)
    assert standing(caller, scope, NAMES) == because
    explained = explain(caller, scope, NAMES)
    assert [one.permission for one in explained] == list(Permission)
    for one in explained:
        assert one.allowed == may(caller, one.permission, scope)
        assert one.reason.startswith(because)
        if not one.allowed and scope == AT_ENVIRONMENT and grants[0].environment_id is None:
            assert one.reason == f"{because}: which does not include {one.permission}"


@pytest.mark.parametrize("prefix", ["wp_", "wpe_"])
def test_a_key_is_checked_without_a_look_up(prefix: access_key.Prefix) -> None:
    """Each single wrong character, a missing or an additional one is noticed."""
    public_id, text, digest = access_key.make_key(prefix)
    assert access_key.check_key(text) == public_id
    assert len(text) == len(prefix) + 61
    assert access_key.same_secret(text, digest)
    for at in range(len(text)):
        other = "a" if text[at] != "a" else "b"
        assert access_key.check_key(text[:at] + other + text[at + 1 :]) is None
    for wrong in (text[:-1], text + "0", "", prefix, text[3:], text.swapcase(), text[:-1] + "é", text + "\n"):
        assert access_key.check_key(wrong) is None


def test_keys_do_not_repeat() -> None:
    """Neither ids nor secrets."""
    keys = [access_key.make_key("wp_") for _ in range(200)] + [access_key.make_node_secret() for _ in range(200)]
    assert len({public for public, _, _ in keys}) == len({text for _, text, _ in keys}) == 400
