"""Keys and permissions."""

import pytest

from waypost import ids
from waypost.access import key as access_key
from waypost.access.decision import MATRIX, may, permissions_of, require
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
