"""Exports of the list as CSV and NDJSON: the rows of the list, without cells that a spreadsheet runs as formulas."""

from __future__ import annotations

import csv
import json
from io import StringIO
from typing import Any

import httpx
import pytest

from api.routes.exports import executions as exports
from api.routes.exports.csv_text import BYTE_ORDER_MARK, COLUMNS
from domain.errors import TooExpensive
from projections.executions.projection import ExecutionPage
from projections.executions.projection import Executions as View
from tests.support.api_client import Executions, ok, refused

PATH = "/executions.csv"


def rows(response: httpx.Response) -> list[dict[str, str]]:
    assert response.status_code == 200, response.text
    text = response.content.decode()
    assert text.startswith(BYTE_ORDER_MARK)
    return list(csv.DictReader(StringIO(text.removeprefix(BYTE_ORDER_MARK))))


@pytest.fixture(scope="module")
def position(api: httpx.Client, executions: Executions) -> int:
    """The position of the first event of the last of seven executions with the tag `csv`."""
    created = [
        executions.create(**{"$id": f"csv-{nth}", "tags": ["csv", "=1+1"], "priority": "high"})
        for nth in range(7)
    ]
    return int(created[-1]["position"])


def test_csv_has_the_rows_of_the_list_page_after_page(
    api: httpx.Client, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_ROWS", 3)
    asked: dict[str, str | int] = {"tag": "csv", "sort": "$id", "minPosition": position}
    answered = api.get(PATH, params=asked)
    found = rows(answered)
    listed = ok(api.get("/executions", params=asked))["data"]
    assert (
        [row["$id"] for row in found]
        == [row["$id"] for row in listed]
        == [f"csv-{nth}" for nth in range(7)]
    )
    assert list(found[0]) == list(COLUMNS)
    assert found[0]["status"] == "queued"
    assert found[0]["metadata.createdAt"] == listed[0]["metadata"]["createdAt"]
    assert answered.headers["content-type"] == "text/csv; charset=utf-8"
    assert answered.headers["content-disposition"] == 'attachment; filename="executions.csv"'
    assert int(answered.headers["log-position"]) >= position


def test_lines_of_json_are_the_documents_of_the_list(
    api: httpx.Client, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "MOST_ROWS", 3)
    asked: dict[str, str | int] = {"tag": "csv", "sort": "$id", "minPosition": position}
    answered = api.get("/executions.ndjson", params=asked)
    assert [json.loads(line) for line in answered.iter_lines()] == ok(
        api.get("/executions", params=asked)
    )["data"]
    assert answered.headers["content-type"] == "application/x-ndjson"
    assert answered.headers["content-disposition"] == 'attachment; filename="executions.ndjson"'


def test_page_that_takes_too_long_is_read_in_smaller_parts(
    api: httpx.Client, position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = View.find

    async def refuse_large(*given: Any, limit: int, **named: Any) -> ExecutionPage:
        if limit > 2:
            raise TooExpensive
        return await find(*given, limit=limit, **named)

    monkeypatch.setattr(View, "find", refuse_large)
    monkeypatch.setattr(exports, "FEW_ROWS", 2)
    asked: dict[str, str | int] = {"tag": "csv", "sort": "$id", "minPosition": position}
    assert [row["$id"] for row in rows(api.get(PATH, params=asked))] == [
        f"csv-{nth}" for nth in range(7)
    ]
    monkeypatch.setattr(exports, "FEW_ROWS", 3)
    refused(api.get(PATH, params=asked), 422, "too-expensive")


def test_lines_of_json_have_the_content_that_the_list_shows(
    api: httpx.Client, executions: Executions
) -> None:
    made = executions.running(**{"$id": "csv-content"})
    long = {"answer": "y" * 20_000}
    executions.tell(made, "steps/s/start", input={"question": "x"})
    executions.tell(made, "steps/s/complete", output=long)
    done = executions.tell(made, "complete", success=True, summary="a verdict")
    asked: dict[str, str | int] = {"$id": "csv-content", "minPosition": done["position"]}
    answered = api.get("/executions.ndjson", params=asked)
    (line,) = [json.loads(line) for line in answered.iter_lines()]
    assert line == ok(api.get("/executions", params=asked))["data"][0]
    assert line["result"]["summary"] == "a verdict"
    assert line["steps"][0]["output"] == long
    assert "$sealed" not in answered.text


@pytest.mark.parametrize("name", ["fields", "limit", "count", "at", "cursor"])
def test_parameters_of_lists_alone_are_refused_as_such(api: httpx.Client, name: str) -> None:
    problem = refused(api.get("/executions.ndjson", params={name: "1"}), 422, "invalid")
    assert problem["errors"][0]["path"] == name
    assert "is a parameter of lists" in problem["detail"]


def test_cell_that_would_be_a_formula_is_text(api: httpx.Client, executions: Executions) -> None:
    given = ["=1+1", "a;=1+1", "\uff1d1+1", "a-b; c=d"]
    created = executions.create(**{"$id": "csv-formula", "tags": given})
    asked = {"$id": "csv-formula", "minPosition": created["position"]}
    assert rows(api.get(PATH, params=asked))[0]["tags"] == "'=1+1,a;'=1+1,\uff1d1+1,a-b; c=d"


def test_csv_without_rows_has_only_the_header(api: httpx.Client) -> None:
    assert rows(api.get(PATH, params={"tag": "no such tag"})) == []


@pytest.mark.parametrize("asked", [{"colour": "red"}, {"sort": "colour"}, {"sort": ""}])
def test_csv_refuses_the_filters_that_the_list_refuses(
    api: httpx.Client, asked: dict[str, str]
) -> None:
    refused(api.get(PATH, params=asked), 422, "invalid")
