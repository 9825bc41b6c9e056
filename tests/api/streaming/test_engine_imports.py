"""There is no HTTP in the engine."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT

ENGINE = ROOT / "api" / "streaming"
WEB = {"starlette", "uvicorn", "sse_starlette", "websockets", "httptools"}


def imported(file: Path) -> set[str]:
    """What a file imports, for type checking, too."""
    found = set[str]()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


IMPORTS = {file.relative_to(ROOT).as_posix(): imported(file) for file in ENGINE.rglob("*.py")}


def test_engine_knows_no_http() -> None:
    assert len(IMPORTS) > 20
    for name, names in IMPORTS.items():
        assert {each.partition(".")[0] for each in names}.isdisjoint(WEB), name
        ours = {each for each in names if each.startswith("api.")}
        assert all(each.startswith(("api.streaming", "api.telemetry")) for each in ours), name
