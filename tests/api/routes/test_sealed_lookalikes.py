"""Content that looks like sealed content is stored and shown unchanged."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import Catalog

LOOKALIKES = [
    {"$sealed": "1.AAAA"},
    {"$secret": "1.AAAA"},
    '{"$sealed":"1.AAAA"}',
    {"$sealed": None},
]


@pytest.mark.parametrize("content", LOOKALIKES)
def test_content_that_looks_sealed_is_returned_unchanged(
    api: httpx.Client, catalog: Catalog, content: object
) -> None:
    order = {"order": catalog.order, "service": catalog.service, "status": "running"}
    made = api.post("/executions", json=order).json()
    path = f"/executions/{made['$id']}"
    result = {"success": True, "output": content, "summary": "done"}
    answer = api.post(f"{path}/complete", json=result)
    assert answer.json()["result"]["output"] == content
    assert api.get(path).json()["result"]["output"] == content
    version = answer.json()["version"]
    assert api.get(path, params={"version": version}).json()["result"]["output"] == content
    position = answer.headers["log-position"]
    listed = api.get("/executions", params={"$id": made["$id"], "minPosition": position}).json()
    assert listed["data"][0]["result"]["output"] == content
    last = api.get(f"{path}/events").json()["data"][-1]
    assert last["data"]["result"]["output"] == content
