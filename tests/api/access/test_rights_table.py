"""The table of rights in the guide agrees with the code."""

from __future__ import annotations

import re

from api.access.rights import COMMANDS, ROLES, Right, Role
from tests.support.paths import ROOT

ROW = re.compile(r"\| `([a-z.]+)` \| (.+?) \| ?([a-z, ]*)\|")
GUIDE = (ROOT / "docs" / "api.md").read_text().partition("\n## Access\n")[2]
TABLE = GUIDE.partition("| right | lets one |")[2].partition("\n\n")[0]
ROWS = {right: (what, who) for right, what, who in ROW.findall(TABLE)}


def test_table_of_rights_has_a_row_for_each_right_that_an_operation_needs() -> None:
    assert ROWS.keys() == set(Right) - {Right.OPEN}


def test_table_of_rights_names_the_roles_that_have_each_right() -> None:
    for right, (_, who) in ROWS.items():
        named = {Role(role.strip()) for role in who.split(",") if role.strip()}
        assert named == {r for r in Role if r is not Role.ADMIN and right in ROLES[r]}, right
    assert ROLES[Role.ADMIN] == set(Right)


def test_table_of_rights_names_the_commands_that_need_each_right() -> None:
    for right, (what, _) in ROWS.items():
        named = {name for name in re.findall(r"`(\w+)`", what) if name in COMMANDS}
        assert named == {name for name, taken in COMMANDS.items() if taken == right}, right
