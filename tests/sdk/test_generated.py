"""Generated files are up to date with their sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.documents.openapi import document
from api.problems.codes import PROBLEMS
from codegen.__main__ import generate
from codegen.synchronous import rename, synchronous
from service_executions.errors import ApiError, NotFound
from service_executions.models import ServiceExecution
from service_executions.requests import BY_CODE, api_error
from tests.support.operations import OPERATIONS
from tests.support.scripted_service import DOCUMENT


@pytest.fixture(scope="module")
def generate_all() -> dict[Path, str]:
    """The output of the script, by file."""
    return generate(document(OPERATIONS))


def test_committed_files_equal_the_output_of_the_script(generate_all: dict[Path, str]) -> None:
    stale = [file.name for file, text in generate_all.items() if file.read_text() != text]
    assert generate_all
    assert not stale, "run scripts/sdk"


def test_synchronous_half_has_no_other_file(generate_all: dict[Path, str]) -> None:
    folder = next(file.parent for file in generate_all if file.parent.name == "_sync")
    others = {file.name for file in folder.glob("*.py")} - {file.name for file in generate_all}
    assert others == {"__init__.py", "runtime.py"}


SOURCE = '''
class AsyncThing:
    """Waits."""

    async def __aenter__(self) -> "AsyncThing":
        """An `AsyncThing`: await it."""
        async with self.lock:
            return await self.made(lambda x: x)

    async def all(self, fetch: Callable[[], Awaitable[int]]) -> list[int]:
        return [n async for n in self.pages() if await n.ok()]
'''
EXPECTED = '''
class Thing:
    """Waits."""

    def __enter__(self) -> 'Thing':
        """An `Thing`: it."""
        with self.lock:
            return self.made(lambda x: x)

    def all(self, fetch: Callable[[], int]) -> list[int]:
        return [n for n in self.pages() if n.ok()]
'''


def test_asynchronous_code_is_translated_to_synchronous() -> None:
    assert synchronous(SOURCE).partition("\n")[2].strip() == EXPECTED.strip()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("AsyncClient", "Client"),
        ("_AsyncClient", "_Client"),
        ("Asynchronous", "Asynchronous"),
        ("httpx2.AsyncClient", "httpx2.Client"),
        ("service_executions._async.client", "service_executions._sync.client"),
    ],
)
def test_name_is_that_of_the_other_half(name: str, other: str) -> None:
    assert rename(name) == other


def test_problem_codes_each_have_an_error() -> None:
    assert set(BY_CODE) == set(PROBLEMS)


def test_unknown_problem_is_an_api_error() -> None:
    error = api_error(418, {"type": "/problems/teapot", "detail": "short and stout"})
    assert (type(error), str(error), error.status) == (ApiError, "short and stout", 418)
    assert isinstance(api_error(404, {"type": "/problems/not-found"}), NotFound)


def test_document_of_a_newer_service_is_accepted() -> None:
    newer = {**DOCUMENT, "status": "dreaming", "mood": {"is": "good"}}
    document = ServiceExecution.model_validate(newer)
    assert (document.status, document.model_extra) == ("dreaming", {"mood": {"is": "good"}})
