"""Makes small changes to the product, one at a time, and reports which changes no test notices.

pyproject.toml names under `tool.mutation` what is changed, and which tests must notice each change. As many changes are
drawn as fit into the minutes; surviving ones are written to .mutation/survivors.txt, with the line before and after.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from tests.support.paths import ROOT

AT_ONCE = 2
REPORTS = ".mutation"
PRELOADED = "ignore::pytest.PytestAssertRewriteWarning"
PATIENCE = 10
"""How many times longer than without a change the tests may take; then they have noticed it."""
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of one file, and the tests that must notice it."""

    file: str
    line: int
    before: str
    after: str
    source: str
    tests: tuple[str, ...]


def changes_of(node: ast.AST) -> Iterator[ast.AST]:
    """Every small change of one node."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in SWAPS:
            yield _with(node, ops=[SWAPS[type(operator)]()])
        case ast.BoolOp(op=operator) | ast.BinOp(op=operator) if type(operator) in SWAPS:
            yield _with(node, op=SWAPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=other):
            yield _with(node, body=other, orelse=body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Raise() | ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.target:
            return ast.copy_location(self.replacement, node)
        return self.generic_visit(node)


def mutants(path: Path, tests: tuple[str, ...]) -> Iterator[Mutant]:
    """Every mutant of a file. Annotations and docstrings are not changed."""
    text = path.read_text()
    tree = ast.parse(text)
    unseen = {id(part) for node in ast.walk(tree) for part in _annotations(node)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        for replacement in changes_of(node):
            altered = ast.unparse(ast.fix_missing_locations(_replaced(tree, node, replacement)))
            yield Mutant(
                path.relative_to(ROOT).as_posix(),
                getattr(node, "lineno", 0),
                ast.get_source_segment(text, node) or "",
                ast.unparse(replacement),
                altered,
                tests,
            )


def _replaced(tree: ast.Module, node: ast.AST, replacement: ast.AST) -> ast.Module:
    marks = {id(part): place for place, part in enumerate(ast.walk(tree))}
    twin = copy.deepcopy(tree)
    parts = list(ast.walk(twin))
    _Replace(parts[marks[id(node)]], replacement).visit(twin)
    return twin


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    for name in ("annotation", "returns"):
        if (part := getattr(node, name, None)) is not None:
            yield from ast.walk(part)


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from another source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def is_package(self, fullname: str) -> bool:
        return self.path.endswith("/__init__.py")

    def get_source(self, fullname: str) -> str:
        return self.source


def preload() -> None:
    """Import, once for all children, the modules that every test needs and no mutant changes."""
    for name in ("hypothesis.strategies", "psycopg_pool", "pydantic", "structlog"):
        importlib.import_module(name)


def fails(mutant: Mutant, data: Path, longest: float = 3600) -> bool:
    """Whether a test fails with the mutant, in a child process, or takes longer than this many seconds."""
    child = os.fork()
    if child:
        return _exit_status(child, longest) != 0
    os.setsid()
    log = os.open(ROOT / REPORTS / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        name = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        sys.meta_path.insert(0, _Mutated(name, str(ROOT / mutant.file), mutant.source))
        quiet = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-W",
            PRELOADED,
            "--hypothesis-profile=fast",
        ]
        status = pytest.main([*quiet, "--postgres-data", str(data), *mutant.tests])
    except BaseException:  # noqa: BLE001 - the child of a fork ends here, whatever happens
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(status))


def _exit_status(child: int, longest: float) -> int:
    end = time.monotonic() + longest
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def shuffle(settings: list[dict[str, list[str]]], seed: int, only: str) -> list[Mutant]:
    """All mutants, in random order."""
    found = [
        mutant
        for part in settings
        for pattern in part["files"]
        for path in sorted(ROOT.glob(pattern))
        if only in path.relative_to(ROOT).as_posix()
        for mutant in mutants(path, tuple(part["tests"]))
    ]
    random.Random(seed).shuffle(found)
    return found


def main() -> int:
    options = argparse.ArgumentParser(prog="scripts/mutate")
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="a part of the file's name")
    given = options.parse_args()
    os.chdir(ROOT)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutation"]["parts"]
    found = shuffle(settings, given.seed, given.only)
    shutil.rmtree(REPORTS, ignore_errors=True)
    Path(REPORTS).mkdir()
    preload()
    return run(found, time.monotonic() + 60 * given.minutes)


def run(found: list[Mutant], end: float) -> int:
    """Try mutants until the time is over; returns 1 if the tests fail without any."""
    holder = [sys.executable, "-m", "tests.support.postgres_holder"]
    with subprocess.Popen(
        holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as postgres:
        assert postgres.stdout is not None
        data = Path(postgres.stdout.readline().strip())
        took = {tests: _unchanged(tests, data) for tests in {mutant.tests for mutant in found}}

        def attempt(mutant: Mutant) -> bool | None:
            if time.monotonic() > end:
                return None
            return fails(mutant, data, PATIENCE * took[mutant.tests])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(zip(found, pool.map(attempt, found), strict=True))
    tried = [(mutant, noticed) for mutant, noticed in results if noticed is not None]
    survivors = sorted(mutant for mutant, noticed in tried if not noticed)
    report = ROOT / REPORTS / "survivors.txt"
    report.write_text("".join(map(received, survivors)))
    click.echo(
        f"{len(tried)} of {len(found)} changes tried, {len(survivors)} not noticed: {report}"
    )
    return 0


def _unchanged(tests: tuple[str, ...], data: Path) -> float:
    """The duration of the tests without a change."""
    begin = time.monotonic()
    if fails(Mutant("tests/__init__.py", 0, "", "", "", tests), data):
        raise SystemExit(
            f"{' '.join(tests)} fail without any change; see the latest log in {REPORTS}"
        )
    return time.monotonic() - begin


def received(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}\n"


if __name__ == "__main__":
    sys.exit(main())
