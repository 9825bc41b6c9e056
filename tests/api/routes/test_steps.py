"""The steps of an execution: pages, versions, and reads without content."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import JSON, Executions, ok, refused

COUNT = 7


@pytest.fixture(scope="module")
def execution(executions: Executions) -> str:
    """An execution with seven steps, the first of which is done; at version 4 it has three."""
    plans = [{"id": f"s-{n}", "name": f"Step {n}", "input": {"n": n}} for n in range(COUNT)]
    identity = executions.running(steps=plans[:3])
    executions.tell(identity, "steps/s-0/start")
    executions.tell(identity, "steps", steps=plans[3:])
    executions.tell(identity, "steps/s-0/complete", output={"done": True})
    executions.tell(identity, "steps/s-1/start")
    error = {"code": "X", "message": "no", "recoverable": False}
    executions.tell(identity, "steps/s-1/fail", **error)
    return identity


def page(api: httpx.Client, execution: str, **query: str | int) -> JSON:
    return ok(api.get(f"/executions/{execution}/steps", params=query))


def ids(found: JSON) -> list[str]:
    return [step["id"] for step in found["data"]]


def test_steps_are_a_bare_list_without_paging(api: httpx.Client, execution: str) -> None:
    steps = api.get(f"/executions/{execution}/steps").json()
    assert [step["id"] for step in steps] == [f"s-{n}" for n in range(COUNT)]
    assert steps == ok(api.get(f"/executions/{execution}"))["steps"]


@pytest.mark.parametrize("limit", [1, 3, 7, 500])
def test_pages_show_every_step_once_and_in_order(
    api: httpx.Client, execution: str, limit: int
) -> None:
    found = page(api, execution, limit=limit)
    seen = found["data"]
    while found["hasMore"]:
        assert len(found["data"]) == limit
        found = page(api, execution, limit=limit, cursor=found["nextCursor"])
        seen += found["data"]
    assert found["nextCursor"] is None
    assert seen == api.get(f"/executions/{execution}/steps").json()


def test_slim_steps_have_no_content(api: httpx.Client, execution: str) -> None:
    whole, slim = (page(api, execution, limit=2, slim=text)["data"] for text in ("false", "true"))
    assert {"input", "output"} <= whole[0].keys()
    assert "error" in whole[1]
    for full, short in zip(whole, slim, strict=True):
        content = {"input", "output", "error"}
        assert short == {name: value for name, value in full.items() if name not in content}
    bare = api.get(f"/executions/{execution}/steps?slim=true").json()
    assert bare[:2] == slim


def test_pages_of_steps_at_a_version_have_cursors_of_that_version(
    api: httpx.Client, execution: str
) -> None:
    then = page(api, execution, version=4, limit=2)
    assert (ids(then), then["hasMore"]) == (["s-0", "s-1"], True)
    assert ids(page(api, execution, version=4, limit=2, cursor=then["nextCursor"])) == ["s-2"]
    assert ids(page(api, execution, limit=2, cursor=then["nextCursor"])) == ["s-2", "s-3"]
    response = api.get(f"/executions/{execution}/steps", params={"version": 4, "limit": 2})
    assert response.headers["etag"] == '"4"'
    assert "immutable" in response.headers["cache-control"]


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "x"},
        {"cursor": "-1"},
        {"cursor": "1.5"},
        {"cursor": "²"},
        {"cursor": ""},
        {"cursor": str(COUNT + 1)},
        {"cursor": "9" * 30},
        {"limit": "0"},
        {"limit": "501"},
        {"slim": "yes"},
    ],
)
def test_invalid_page_of_steps_is_refused_by_parameter(
    api: httpx.Client, execution: str, query: dict[str, str]
) -> None:
    path = f"/executions/{execution}/steps"
    problem = refused(api.get(path, params=query), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == list(query)
