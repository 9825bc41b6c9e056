"""Conventions of the code that the import contracts in pyproject.toml cannot express."""

from __future__ import annotations

import ast
import re
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from io import StringIO
from pathlib import Path

import pytest

from api.settings import PREFIX, Settings
from projections.executions.columns import ALIASES, FIELDS, LISTED
from tests.support.paths import ROOT

ROOMS = ("domain", "projections", "workers", "api")
FILES = sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py"))

# A library, and the only paths that may import it.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "eventsourcing": (
        "domain/eventlog/library/",
        "domain/service_log.py",
    ),
    "psycopg": ("domain/eventlog/", "projections/", "workers/"),
    "psycopg_pool": ("domain/eventlog/",),
    "starlette": (
        "api/web/",
        "api/problems/",
        "api/routes/",
        "api/transport/",
        "api/app.py",
        "api/hosting/",
        "api/dashboard/",
        "api/fan_out/edge/",
        "api/server.py",
    ),
    "uvicorn": ("api/transport/", "api/server.py"),
    "nats": ("api/fan_out/",),
    "sse_starlette": ("api/web/streams/",),
    "jwt": ("api/access/tokens/",),
    "click": ("api/cli/",),
    "rich": ("api/cli/",),
    "service_executions": ("api/cli/", "api/client/", "api/interop/"),
    "tests": (),
}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), filename=str(file))


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@cache
def libraries(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imported(file)}


def reads_environment(file: Path) -> bool:
    return any(
        (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.alias) and node.name in ENVIRONMENT)
        for node in ast.walk(parsed(file))
    )


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_library_is_imported_only_where_allowed(library: str) -> None:
    elsewhere = [file for file in FILES if not name(file).startswith(MAY_IMPORT[library])]
    importers = [name(file) for file in elsewhere if library in libraries(file)]
    assert importers == []


def test_store_and_bus_know_no_aggregate_by_name() -> None:
    for file in FILES:
        if name(file).startswith(("domain/eventlog/", "domain/writer/")):
            known = [
                m for m in imported(file) if m.startswith(("domain.execution", "domain.catalog"))
            ]
            assert known == [], name(file)


def test_only_the_event_that_begins_a_stream_keeps_its_position_in_a_state() -> None:
    """Later events may be decided before their position is known, and the state is cached as it was then."""
    for file in FILES:
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef) and node.name == "apply":
                begins = ast.unparse(node.args.args[1].annotation or node) == "None"
                assert begins or "recorded.position" not in ast.unparse(node), file


def test_environment_is_read_in_one_place() -> None:
    assert {name(file) for file in FILES if reads_environment(file)} == {"api/settings.py"}


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    variables = [PREFIX + field.name.upper() for field in fields(Settings)]
    assert [variable for variable in variables if variable not in readme] == []


def test_every_field_to_filter_by_is_in_the_docs() -> None:
    lists = (ROOT / "docs" / "api.md").read_text().partition("\n## Lists\n")[2]
    section = lists.partition("\n## ")[0]
    fields = {*FIELDS, *LISTED, *ALIASES}
    assert [field for field in sorted(fields) if f"`{field}`" not in section] == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_lock_file_has_versions_and_hashes_and_no_registry_address(lock: str) -> None:
    lines = (ROOT / lock).read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        assert "==" in line, line
        assert "--hash=sha256:" in line, line
        assert "/" not in line, line
        assert not line.startswith("-"), line


def test_both_locks_agree() -> None:
    run_time, development = (
        {
            line.split()[0]
            for line in (ROOT / lock).read_text().splitlines()
            if not line.startswith(" ")
        }
        for lock in ("requirements.lock", "requirements-dev.lock")
    )
    assert run_time <= development


def test_every_disabled_lint_rule_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [*lint["ignore"], *(r for rules in lint["per-file-ignores"].values() for r in rules)]
    for rule in off:
        assert [line for line in text.splitlines() if f'"{rule}",' in line and "#" in line], rule


RIDDLES = {
    "what",
    "who",
    "whoever",
    "whatever",
    "that",
    "one",
    "each",
    "nobody",
    "those",
    "a",
    "the",
}


TEST = re.compile(r"^ *(?:async )?def (test_\w+)\(", re.MULTILINE)


def test_names_of_tests_begin_with_the_part_that_they_test() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        tests = TEST.findall(file.read_text())
        assert tests, f"no test in {name(file)}"
        assert [test for test in tests if test.split("_")[1] in RIDDLES] == [], name(file)


RETIRED = {
    "Held": "Versioned",
    "held": "versioned",
    "told": "copy_set_fields",
    "called": "name",
    "repeats": "is_repeat, require",
    "Known": "StateCache",
    "disturbed": "other_process_wrote",
    "Every": "And",
    "Either": "Or",
    "Negation": "Not",
    "MOVES": "TRANSITIONS",
    "View": "Projection",
    "Figures": "AnalyticsQueries",
    "Question": "AnalyticsQuery",
    "LogBook": "LogLinePages",
    "Stored": "EventRow",
    "Call": "Request",
    "Horizon": "AppliedPositions",
    "Wish": "Preference",
    "wish": "parsed_command",
    "Teller": "Folding",
    "breathe": "let_others_run",
    "TOLD": "OF_CLIENT",
    "Wheel": "Heartbeat",
    "Audience": "Index",
    "Batches": "DataLoader",
    "PLACE": "LOCATION, BOOKMARK, LINE_AND_COLUMN",
    "Place": "SortValues, IdentityPath, PositionByVersion",
    "LogPlace": "LogLocation",
    "PlaceInTime": "LineSortKey",
    "place_of": "location_of, read_location",
    "in_place": "conninfo_at",
    "settle_place": "settle_location",
    "move_place": "shift_position",
    "REST": "PAUSE, RETRY_AFTER, DEFAULT_PARTITION",
    "Rest": "Pace",
    "LogFigures": "LogMetrics",
    "KEEP": "STORE",
    "Door": "AdmissionControl",
    "news": "wake",
    "LogWatch": "LogMonitor",
    "KeyWatch": "KeyMonitor",
    "MoveWatch": "MoveMonitor",
    "door": "admission",
    "KEPT": "RETENTION, MOST_IDLE, BLOCK_CACHE",
    "FIGURES": "GAUGES, METRICS",
}
"""Our own names for things that have a common name."""


ANY_RETIRED = re.compile(rf"\b(?:{'|'.join(RETIRED)})\b")


def test_retired_name_does_not_come_back() -> None:
    for file in FILES:
        text = (ROOT / file).read_text()
        if not ANY_RETIRED.search(text):
            continue  # to tokenize all files takes seconds
        tokens = tokenize.generate_tokens(StringIO(text).readline)
        found = {token.string for token in tokens if token.type == tokenize.NAME} & RETIRED.keys()
        assert {name: RETIRED[name] for name in found} == {}, file


PRIVATE = re.compile(r"\b(told|whoever|breath|breathe|nobody who)\b", re.IGNORECASE)
"""Words of stories. Write subject, verb, object: who sends, receives or reports."""


def test_documents_and_code_use_plain_words() -> None:
    here, rooms = Path(__file__), (*ROOMS, "sdk", "bench", "tests", "docs")
    files = [
        file for room in rooms for kind in ("py", "md") for file in (ROOT / room).rglob(f"*.{kind}")
    ]
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in [*ROOT.glob("*.md"), *files]
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if file != here and PRIVATE.search(line)
    ]
    assert found == []


PARTICIPLE = re.compile(
    r"_*(?!need|feed|seed|embed|exceed|proceed|speed|shed)(?:[a-z]{2,}ed|held|kept|shown|made|known|begun"
    r"|given|taken|sent|found|left|written|met|lost|seen|gone|built|bound|said|told|heard|chosen)"
)
"""Names that say neither what a function does nor what it returns."""


def is_named_by_use(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Properties, which may be adjectives, and commands of the command line, whose names users type."""
    return any(
        "property" in ast.unparse(each) or "command" in ast.unparse(each)
        for each in function.decorator_list
    )


def test_functions_have_no_participle_for_a_name() -> None:
    """A function is named by a verb, or by the noun for what it returns."""
    found = [
        f"{name(file)}: {node.name}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, FUNCTIONS)
        and PARTICIPLE.fullmatch(node.name)
        and not is_named_by_use(node)
    ]
    assert found == []


FRAMES = "projections/representations/stream_frames.py"
"""Its classes have the names of frames, which are in the AsyncAPI document."""


def test_class_has_a_name_of_its_own() -> None:
    """A search for a class by its name finds one."""
    places: dict[str, list[str]] = {}
    for file in FILES:
        classes = [node.name for node in parsed(file).body if isinstance(node, ast.ClassDef)]
        for each in classes if name(file) != FRAMES else ():
            if not each.startswith("_"):
                places.setdefault(each, []).append(name(file))
    assert {each: files for each, files in places.items() if len(files) > 1} == {}
