"""The inbox has the open steps of people and their paused executions, the most urgent and oldest first."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import httpx
import orjson
import pytest

from tests.support.api_client import ERROR, Executions, ok, refused

JSON = dict[str, Any]
SINCE = "2026-11-28T08:00:00+00:00"


@pytest.fixture
def editor(request: pytest.FixtureRequest) -> str:
    """The id of a person that no other test uses."""
    return f"editor-of-{request.node.name[:200]}"


def person(editor: str) -> JSON:
    return {"type": "human", "id": editor, "name": "Sarah"}


def review(editor: str, **fields: Any) -> JSON:
    return {"id": "review", "name": "Human Review", "assignee": person(editor), **fields}


def cursor_of(*place: Any) -> str:
    """A cursor for sort values that no page had."""
    return urlsafe_b64encode(orjson.dumps(place)).decode()


def items(api: httpx.Client, editor: str, **query: Any) -> list[JSON]:
    at = ok(api.get("/readyz"))["position"]
    page = ok(api.get("/inbox", params={"assignee": editor, "minPosition": at, **query}))
    found: list[JSON] = page["data"]
    return found


def places(found: list[JSON]) -> list[tuple[str, str]]:
    return [(item["execution"], item.get("step", {}).get("id", "")) for item in found]


def test_inbox_has_the_open_steps_of_a_person(
    api: httpx.Client, executions: Executions, editor: str
) -> None:
    agent = {"id": "draft", "name": "Draft", "assignee": {"type": "ai-agent", "id": editor}}
    made = executions.running(steps=[agent, review(editor, kind="human")])
    (item,) = items(api, editor)
    assert item["type"] == "step"
    assert item["execution"] == made
    assert item["assignee"] == {"type": "human", "id": editor}
    step = {"id": "review", "name": "Human Review", "status": "pending", "kind": "human"}
    assert item["step"] == step
    executions.tell(made, "steps/review/start")
    assert items(api, editor)[0]["step"]["status"] == "running"
    executions.tell(made, "steps/review/complete")
    assert items(api, editor) == []


def test_inbox_has_the_paused_executions_of_a_person(
    api: httpx.Client, executions: Executions, editor: str
) -> None:
    made = executions.running(assignee=person(editor))
    assert items(api, editor) == []
    executions.tell(made, "pause", reason="lunch")
    (item,) = items(api, editor)
    assert (item["type"], item["execution"], item["status"]) == ("paused", made, "paused")
    assert "step" not in item
    executions.tell(made, "resume")
    assert items(api, editor) == []


def test_inbox_is_sorted_by_urgency_and_age(
    api: httpx.Client, executions: Executions, editor: str
) -> None:
    made = [
        executions.running(priority=priority, steps=[review(editor)])
        for priority in ("low", "urgent", "normal", "urgent")
    ]
    paused = executions.running(priority="normal", assignee=person(editor))
    executions.tell(paused, "pause")
    expected = [made[1], made[3], made[2], paused, made[0]]
    assert [item["execution"] for item in items(api, editor)] == expected


def test_pages_of_the_inbox_have_each_item_once(
    api: httpx.Client, executions: Executions, editor: str
) -> None:
    for priority in ("low", "urgent", "normal"):
        steps = [{**review(editor), "id": f"review-{n}"} for n in range(3)]
        executions.running(priority=priority, steps=steps)
    whole = items(api, editor)
    read: list[JSON] = []
    cursor: str | None = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        page = ok(api.get("/inbox", params={"assignee": editor, "limit": 2, **more}))
        read += page["data"]
        assert page["hasMore"] == (page["nextCursor"] is not None)
        cursor = page["nextCursor"]
    assert read == whole
    assert len(places(read)) == len(set(places(read))) == 9


def test_steps_follow_the_assignee_of_their_execution(
    api: httpx.Client, executions: Executions, editor: str
) -> None:
    made = executions.running(steps=[{"id": "a", "name": "A"}])
    assert items(api, editor) == []
    ok(api.patch(f"/executions/{made}", json={"assignee": person(editor)}))
    assert places(items(api, editor)) == [(made, "a")]
    ok(api.patch(f"/executions/{made}", json={"assignee": None}))
    assert items(api, editor) == []


@pytest.mark.parametrize("command", ["complete", "fail", "cancel"])
def test_inbox_has_no_steps_of_an_ended_execution(
    api: httpx.Client, executions: Executions, editor: str, command: str
) -> None:
    made = executions.running(steps=[review(editor)], assignee=person(editor))
    result = {"success": True, "output": None, "summary": ""}
    bodies: dict[str, JSON] = {
        "complete": result,
        "fail": {**ERROR, "recoverable": False},
        "cancel": {},
    }
    executions.tell(made, command, **bodies[command])
    assert items(api, editor) == []


def test_inbox_of_all_has_steps_without_an_assignee(
    api: httpx.Client, executions: Executions
) -> None:
    made = executions.running(priority="urgent", steps=[{"id": "a", "name": "A", "kind": "human"}])
    at = ok(api.get("/readyz"))["position"]
    page = ok(api.get("/inbox", params={"minPosition": at, "limit": 500}))
    (item,) = [item for item in page["data"] if item["execution"] == made]
    assert "assignee" not in item


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": cursor_of(True, SINCE, "run-1", "a")}, "cursor"),
        ({"cursor": cursor_of(0, SINCE, "\0", "a")}, "cursor"),
        ({"cursor": cursor_of(0, "today", "run-1", "a")}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"person": "x"}, "person"),
    ],
)
def test_invalid_request_for_the_inbox_is_refused_with_the_name_of_the_parameter(
    api: httpx.Client, query: JSON, path: str
) -> None:
    problem = refused(api.get("/inbox", params=query), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == [path]
