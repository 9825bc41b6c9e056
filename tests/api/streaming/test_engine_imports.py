"""The engine has no circles between its files, and no HTTP in it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
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


IMPORTS = {f"api.streaming.{file.stem}": imported(file) for file in ENGINE.glob("*.py")}


def test_engine_has_no_circles_between_its_files() -> None:
    assert len(IMPORTS) > 20
    inside = {name: names & IMPORTS.keys() for name, names in IMPORTS.items()}
    assert len(list(TopologicalSorter(inside).static_order())) == len(IMPORTS)


def test_engine_knows_no_http() -> None:
    for name, names in IMPORTS.items():
        assert {each.partition(".")[0] for each in names}.isdisjoint(WEB), name
        assert {each for each in names if each.startswith("api.")} <= IMPORTS.keys() | {
            each for each in names if each.startswith(("api.streaming", "api.telemetry"))
        }, name
