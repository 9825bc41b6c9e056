"""Comparison of two executions, or of two versions of one."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import RESULT, Executions, ok, refused


@pytest.fixture(scope="module")
def pair(executions: Executions) -> tuple[str, str]:
    """Two executions that did the same step with different outcomes; the second did one more step."""
    both = []
    for number in range(2):
        execution = executions.running()
        executions.tell(execution, "steps/s-1/start", name="Research")
        usage = {"tokensUsed": 100 + 20 * number, "cost": 0.5}
        executions.tell(execution, "steps/s-1/complete", output={"n": number}, usage=usage)
        both.append(execution)
    executions.tell(both[1], "steps/s-2/start", name="Send")
    for execution in both:
        executions.tell(execution, "complete", **RESULT)
    return both[0], both[1]


def test_two_executions_are_compared_step_by_step(api: httpx.Client, pair: tuple[str, str]) -> None:
    one, other = pair
    response = api.get(f"/executions/{one}/compare", params={"with": other})
    found = ok(response)
    assert (found["this"]["$id"], found["with"]["$id"]) == pair
    assert found["difference"]["tokensUsed"] == 20
    assert [row["matchedBy"] for row in found["steps"]] == ["id", None]
    parted = found["firstDivergence"]
    assert (parted["index"], parted["differs"]) == (0, ["output"])
    assert response.headers["cache-control"] == "private, no-cache"
    known = {"If-None-Match": response.headers["etag"]}
    assert api.get(response.url, headers=known).status_code == 304


def test_comparison_of_two_versions_of_one_execution_is_immutable(
    api: httpx.Client, pair: tuple[str, str]
) -> None:
    versions: dict[str, str | int] = {"with": pair[0], "version": 4, "withVersion": 6}
    response = api.get(f"/executions/{pair[0]}/compare", params=versions)
    found = ok(response)
    assert (found["this"]["version"], found["with"]["version"]) == (4, 6)
    assert found["steps"][0]["differs"] == ["status", "output"]
    assert "immutable" in response.headers["cache-control"]


def test_comparison_with_a_missing_execution_or_version_is_refused(
    api: httpx.Client, pair: tuple[str, str]
) -> None:
    path = f"/executions/{pair[0]}/compare"
    assert refused(api.get(path), 422, "invalid")["errors"][0]["path"] == "with"
    refused(api.get(path, params={"with": "a b"}), 422, "invalid")
    missing = refused(api.get(path, params={"with": "no-such"}), 404, "not-found")
    assert missing["with"] == "no-such"
    late: dict[str, str | int] = {"with": pair[1], "withVersion": 99}
    assert refused(api.get(path, params=late), 404, "not-found")["version"] == 99
    refused(api.get("/executions/no-such/compare", params={"with": pair[0]}), 404, "not-found")


def test_comparison_with_a_running_execution_is_never_304(
    api: httpx.Client, pair: tuple[str, str], running_execution: str
) -> None:
    path = f"/executions/{pair[0]}/compare"
    response = api.get(path, params={"with": running_execution})
    assert response.headers["etag"].startswith('W/"')
    known = {"If-None-Match": response.headers["etag"]}
    assert api.get(response.url, headers=known).status_code == 200
