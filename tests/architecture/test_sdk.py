"""The Python SDK is independent of the service: its dependencies, the sizes of its files, and no import cycles."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

from tests.architecture.test_structure import circles, parsed, too_large, too_long
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
    for node in ast.walk(parsed(file)[1]):
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


def test_files_of_the_sdk_have_no_import_cycles() -> None:
    graph = {
        name: {other for other in imported(file) if other in MODULES and other != name}
        for name, file in MODULES.items()
        if name != "service_executions"
    }
    for others in graph.values():
        others.discard("service_executions")
    assert circles(graph) == []


def test_folder_of_the_sdk_is_small() -> None:
    folders = {file.parent for file in FILES}
    assert [what for folder in folders for what in too_large(folder)] == []


def test_file_of_the_sdk_and_its_functions_are_short() -> None:
    assert [what for file in FILES for what in too_long(file)] == []


def test_sdk_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
