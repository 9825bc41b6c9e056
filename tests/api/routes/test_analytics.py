"""Analytics over HTTP: groups, limits and the form of numbers."""

from __future__ import annotations

from time import monotonic, sleep

import httpx
import psycopg
import pytest

from api.access.identity import Caller
from api.access.rights import Right
from api.access.scope import NOTHING, Reach, Scope
from domain.eventlog.sessions import session_options
from tests.support.api_client import RESULT, Executions, ok, refused
from tests.support.callers import admit, client
from tests.support.running_server import Serving


@pytest.fixture(scope="module")
def position(api: httpx.Client, executions: Executions) -> int:
    """The position of the last event of an agent's execution, in which Ann does one of two steps."""
    agent = {"type": "ai-agent", "id": "agent", "name": "Agent", "model": "m-1"}
    steps = [{"id": "research", "name": "Research"}, {"id": "review", "name": "Review"}]
    one = executions.running(assignee=agent, steps=steps)
    executions.tell(one, "steps/research/start")
    executions.tell(one, "metrics", step="research", tokensUsed=10, cost=2)
    executions.tell(one, "steps/research/complete")
    executions.tell(one, "steps/review/start", assignee={"type": "human", "id": "ann"})
    executions.tell(one, "steps/review/complete")
    return int(executions.tell(one, "complete", **RESULT)["position"])


def test_analytics_of_steps_distinguish_work_of_people_and_of_agents(
    api: httpx.Client, position: int
) -> None:
    query = f"by=step,assigneeType&minPosition={position}"
    answer = ok(api.get(f"/analytics/executions?{query}"))
    assert (answer["of"], answer["by"], answer["total"]) == ("steps", ["step", "assigneeType"], 2)
    groups = {tuple(group["key"]): group for group in answer["groups"]}
    assert groups["Research", "ai-agent"]["tokens"] == 10
    assert groups["Review", "human"]["statuses"]["completed"] == 1


def test_whole_numbers_have_no_fraction(api: httpx.Client, position: int) -> None:
    for by in ("", "&by=service,day", "&by=step"):
        response = api.get(f"/analytics/executions?minPosition={position}{by}")
        assert '"totalCost":2,' in response.text
        assert '"successRate":1,' in response.text
        assert ".0," not in response.text


def test_first_and_last_seen_are_times_of_creation(api: httpx.Client, position: int) -> None:
    answer = ok(api.get(f"/analytics/executions?by=day,hour&minPosition={position}"))
    [created] = ok(api.get("/executions?fields=metadata.createdAt"))["data"]
    times = {"firstSeen": created["metadata"]["createdAt"], "lastSeen": answer["lastSeen"]}
    assert times.items() <= answer.items()
    assert [group["key"] for group in answer["groups"]] == [
        [times["firstSeen"][:10], f"{times['firstSeen'][:13]}:00Z"]
    ]


@pytest.mark.parametrize(
    ("query", "path", "said"),
    [
        ("by=colour", "by", "errorCode, but is `colour`"),
        ("by=service,service", "by", "each key once, but `service` comes twice"),
        ("by=service,day,status", "by", "must name at most 2 keys, but names 3"),
        ("status=pending", "status", "retry, but is `pending`"),
        ("by=step&status=queued", "status", "skipped, but is `queued`"),
        ("from=yesterday", "from", "but is `yesterday`"),
    ],
)
def test_invalid_analytics_query_is_refused_by_parameter_and_value(
    api: httpx.Client, query: str, path: str, said: str
) -> None:
    problem = refused(api.get(f"/analytics/executions?{query}"), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == [path]
    assert problem["errors"][0]["message"].endswith(said)


def test_steps_that_are_pending_are_found(api: httpx.Client, position: int) -> None:
    answer = ok(api.get("/analytics/executions?by=step&status=pending"))
    assert (answer["total"], answer["groups"]) == (0, [])


def test_analytics_of_a_view_without_a_bookmark_are_answered_and_the_view_is_rebuilt(
    api: httpx.Client, executions: Executions, server: Serving
) -> None:
    name = executions.running()
    position = executions.tell(name, "complete", **RESULT)["position"]
    ok(api.get("/analytics/executions", params={"minPosition": position}))
    before = ok(api.get("/analytics/executions"))["total"]
    with psycopg.connect(server.conninfo, options=session_options("executions")) as connection:
        connection.execute("DELETE FROM bookmarks WHERE view = 'analytics'")
    ok(api.get("/analytics/executions"))
    executions.running()
    deadline = monotonic() + 30
    while ok(api.get("/analytics/executions"))["total"] != before + 1:
        assert monotonic() < deadline
        sleep(0.05)


def test_analytics_are_refused_to_a_caller_without_a_party(server: Serving) -> None:
    partyless = Caller("partyless", Scope((Reach(NOTHING, frozenset({Right.READ_ANALYTICS})),)))
    admit(server, partyless)
    with client(server, partyless) as api:
        refused(api.get("/analytics/executions"), 403, "forbidden")
