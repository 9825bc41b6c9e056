"""The documents name files, classes and constants that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest

from domain.execution.transitions import EXECUTION_MOVES
from tests.support.paths import ROOT

SDK = "sdk/python/service_executions"
FOLDERS = ("domain", "projections", "workers", "api", SDK, "ui/src", "scripts", "bench", "tests")
CELL = re.compile(r"((?:`\w+`(?:, | and |, set in)?\s*)+) in `([\w/]+\.py)`")
CLASS = re.compile(r"`([A-Z][a-z]+[A-Z]\w+)[`.]")
FILE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.(?:py|sql|tsx?))`")
GUIDES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md")


@cache
def files() -> list[str]:
    """Every file with a suffix, by its path with a slash before it."""
    found = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.*"))
    return [f"/{file.relative_to(ROOT)}" for file in found]


@cache
def words_of_the_code() -> set[str]:
    code = (ROOT / file[1:] for file in files() if file.endswith(".py"))
    return {word for file in code for word in re.findall(r"\w+", file.read_text())}


def named_constants() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "docs" / "limits.md").read_text().splitlines():
        for names, file in CELL.findall(line.rpartition(" | ")[2]):
            for name in re.findall(r"`(\w+)`", names):
                yield file, name


def test_every_row_of_limits_names_a_constant() -> None:
    page = (ROOT / "docs" / "limits.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| where |" not in line]
    assert [row for row in rows if not CELL.search(row.rpartition(" | ")[2])] == []
    assert len(rows) > 30


def test_limit_is_defined_in_the_file_that_the_page_names() -> None:
    for file, name in named_constants():
        definition = re.compile(rf"^(?:    )?(?:def )?{name}\b", re.MULTILINE)
        assert definition.search((ROOT / file).read_text()), f"{name} is not defined in {file}"


def test_guide_has_the_table_of_commands_and_statuses() -> None:
    assert EXECUTION_MOVES in (ROOT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_names_existing_classes(guide: str) -> None:
    named = set(CLASS.findall((ROOT / guide).read_text()))
    assert named - words_of_the_code() == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_names_existing_files(guide: str) -> None:
    named = set(FILE.findall((ROOT / guide).read_text()))
    ends = {each: f"/{each}" for each in named}
    assert [each for each in named if not any(file.endswith(ends[each]) for file in files())] == []
