"""The streaming engine imports nothing of HTTP."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT

ENGINE = ROOT / "api" / "streaming"
WEB = {"starlette", "uvicorn", "sse_starlette", "websockets", "httptools"}


def modules_in(file: Path) -> set[str]:
    """The modules that a file imports, also under TYPE_CHECKING."""
    found = set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


IMPORTS = {file.relative_to(ROOT).as_posix(): modules_in(file) for file in ENGINE.rglob("*.py")}


def test_engine_does_not_import_http() -> None:
    assert len(IMPORTS) > 20
    for name, names in IMPORTS.items():
        assert {each.partition(".")[0] for each in names}.isdisjoint(WEB), name
        ours = {each for each in names if each.startswith("api.")}
        assert all(each.startswith(("api.streaming", "api.telemetry")) for each in ours), name
