"""Related objects of an execution at a version or a time are shown as they were then."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.api_client import JSON, Catalog, ok, refused

IMMUTABLE = "private, max-age=31536000, immutable"


@pytest.fixture
def confirmed(api: httpx.Client, catalog: Catalog) -> JSON:
    """An execution whose order was confirmed between its first and its second version."""
    order = {"service": catalog.service, "customer": catalog.customer}
    identity = str(ok(api.post("/orders", json=order))["$id"])
    early = {"order": identity, "service": catalog.service}
    execution = str(ok(api.post("/executions", json=early))["$id"])
    created = ok(api.get(f"/executions/{execution}"))["metadata"]["createdAt"]
    time.sleep(0.01)
    ok(api.post(f"/orders/{identity}/confirm", json={}))
    ok(api.post(f"/executions/{execution}/start", json={}))
    return {"execution": execution, "created": created}


def test_related_object_at_a_version_is_as_it_was_then(api: httpx.Client, confirmed: JSON) -> None:
    path = f"/executions/{confirmed['execution']}/order"
    then = api.get(f"{path}?version=1")
    assert ok(then)["status"] == "pending"
    assert then.headers["etag"] == '"1"'
    assert then.headers["cache-control"] == IMMUTABLE
    now = api.get(f"{path}?version=2")
    assert (ok(now)["status"], now.headers["etag"]) == ("confirmed", '"2"')
    assert ok(api.get(path))["status"] == "confirmed"


def test_related_object_at_a_time_is_as_it_was_then(api: httpx.Client, confirmed: JSON) -> None:
    path = f"/executions/{confirmed['execution']}/order"
    then = api.get(path, params={"at": confirmed["created"]})
    assert ok(then)["status"] == "pending"
    assert then.headers["cache-control"] == IMMUTABLE
    later = api.get(path, params={"at": "2999-01-01T00:00:00Z"})
    assert ok(later)["status"] == "confirmed"
    assert "immutable" not in later.headers["cache-control"]


def test_related_object_at_a_time_may_be_newer_than_the_execution(
    api: httpx.Client, catalog: Catalog
) -> None:
    """The last event of the execution before that time is older than that of the order."""
    order = {"service": catalog.service, "customer": catalog.customer}
    identity = str(ok(api.post("/orders", json=order))["$id"])
    early = {"order": identity, "service": catalog.service}
    execution = str(ok(api.post("/executions", json=early))["$id"])
    other = ok(api.post(f"/orders/{identity}/confirm", json={}))["execution"]
    then = ok(api.get(f"/executions/{other}"))["metadata"]["createdAt"]
    time.sleep(0.01)
    ok(api.post("/executions", json=early))
    shown = api.get(f"/executions/{execution}/order", params={"at": then})
    assert ok(shown)["status"] == "confirmed"
    assert shown.headers["cache-control"] == IMMUTABLE


def test_expanded_objects_at_a_version_are_as_they_were_then(
    api: httpx.Client, confirmed: JSON
) -> None:
    path = f"/executions/{confirmed['execution']}"
    then = api.get(path, params={"expand": "order,service", "version": 1})
    assert ok(then)["order"]["status"] == "pending"
    assert then.headers["etag"] == '"1-order1-service1"'
    assert then.headers["cache-control"] == IMMUTABLE
    now = ok(api.get(path, params={"expand": "order"}))
    assert now["order"]["status"] == "confirmed"


def test_related_object_is_304_while_its_etag_matches(api: httpx.Client, confirmed: JSON) -> None:
    path = f"/executions/{confirmed['execution']}/order"
    assert api.get(path, headers={"If-None-Match": '"2"'}).status_code == 304
    assert api.get(path, headers={"If-None-Match": '"1"'}).status_code == 200


def test_related_object_at_a_missing_version_is_not_found(
    api: httpx.Client, confirmed: JSON
) -> None:
    path = f"/executions/{confirmed['execution']}/order"
    assert refused(api.get(f"{path}?version=9"), 404, "not-found")["newest"] == 3
