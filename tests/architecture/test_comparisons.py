"""Secrets, and values derived from them, are compared in constant time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

SECRETS = re.compile(r"fingerprint|digest|signature|secret|hmac", re.IGNORECASE)
ROOMS = ("api/access", "api/web/access", "projections/deliveries", "workers/webhooks")
COMPARING = ("identity.py", "keys.py", "sessions.py")
"""The files of `api/access` that compare secrets."""


def files() -> Iterator[Path]:
    for room in ROOMS:
        yield from (ROOT / room).rglob("*.py")


def plain_comparisons(text: str) -> list[str]:
    """The comparisons by `==` or `!=` that name a secret."""
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Compare))
    plain = (node for node in found if isinstance(node.ops[0], ast.Eq | ast.NotEq))
    return [said for node in plain if SECRETS.search(said := ast.unparse(node))]


def test_secret_is_not_compared_by_equality() -> None:
    assert plain_comparisons("if found.digest == fingerprint:\n    pass")
    found = {str(file): plain_comparisons(file.read_text()) for file in files()}
    assert {file: said for file, said in found.items() if said} == {}


def test_token_key_and_session_are_compared_in_constant_time() -> None:
    for name in COMPARING:
        assert "hmac.compare_digest(" in (ROOT / "api/access" / name).read_text(), name
