"""The Python SDK stands by itself: what it needs, how large its files are, and no circles."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.test_structure import (
    LONGEST_FILE,
    LONGEST_FUNCTION,
    MOST_FILES,
    MOST_LINES,
    circles,
)
from tests.support.paths import ROOT

SDK = ROOT / "sdk" / "python"
PACKAGE = SDK / "service_executions"
FILES = sorted(PACKAGE.rglob("*.py"))
THROUGH_PYDANTIC = {"pydantic_core"}


def dotted(file: Path) -> str:
    parts = file.relative_to(SDK).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(file): file for file in FILES}


def imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return found


def test_sdk_needs_what_it_declares_and_nothing_of_the_service() -> None:
    project = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]
    declared = {each.partition(">")[0] for each in project["dependencies"]}
    used = {name.partition(".")[0] for file in FILES for name in imported(file)}
    outside = used - sys.stdlib_module_names - {"service_executions"} - THROUGH_PYDANTIC
    assert outside == declared == {"httpx2", "pydantic"}


def test_files_of_the_sdk_import_each_other_in_no_circle() -> None:
    graph = {
        name: {other for other in imported(file) if other in MODULES and other != name}
        for name, file in MODULES.items()
        if name != "service_executions"
    }
    for others in graph.values():
        others.discard("service_executions")
    assert circles(graph) == []


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=str)
def test_room_of_the_sdk_can_be_overseen(folder: Path) -> None:
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    lines = sum(len(file.read_text().splitlines()) for file in files)
    assert (len(files) <= MOST_FILES, lines <= MOST_LINES) == (True, True), (len(files), lines)


@pytest.mark.parametrize("file", FILES, ids=dotted)
def test_file_of_the_sdk_and_its_functions_are_short(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name


def test_sdk_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
