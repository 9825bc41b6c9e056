"""An ETag changes with the shown data; a request with the current ETag is answered 304."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import RESULT, Catalog, Executions, ok, refused

LINE = {"level": "info", "message": "Starting"}


def tag(api: httpx.Client, path: str) -> str:
    response = api.get(path)
    assert response.is_success
    return response.headers["etag"]


def is_not_modified(api: httpx.Client, path: str, etag: str) -> bool:
    """Whether a request with this ETag is answered 304."""
    response = api.get(path, headers={"If-None-Match": etag})
    assert response.status_code in {200, 304}
    assert response.status_code == 200 or response.content == b""
    return response.status_code == 304


def test_etag_of_an_execution_changes_with_its_log_lines(
    api: httpx.Client, completed_execution: str
) -> None:
    path = f"/executions/{completed_execution}"
    assert tag(api, path) == '"4-1"'  # log lines that the server writes about the end
    assert is_not_modified(api, path, '"4-1"')
    ok(api.post(f"{path}/logs", json=LINE))
    assert not is_not_modified(api, path, '"4-1"')
    assert tag(api, path) == '"4-2"'
    assert ok(api.get(path))["logsTotal"] == 2


def test_etag_is_weak_while_durations_grow(api: httpx.Client, running_execution: str) -> None:
    path = f"/executions/{running_execution}"
    assert tag(api, path) == 'W/"3-0"'
    assert is_not_modified(api, path, 'W/"3-0"')
    assert tag(api, f"{path}?version=3") == '"3"'
    ok(api.post(f"{path}/logs", json=LINE))
    assert not is_not_modified(api, path, 'W/"3-0"')


def test_linked_data_has_another_etag(api: httpx.Client, completed_execution: str) -> None:
    linked = {"Accept": "application/ld+json"}
    response = api.get(f"/executions/{completed_execution}", headers=linked)
    assert response.headers["etag"] == '"4-1-ld"'


@pytest.mark.parametrize("etag", ['"3-12"', 'W/"3-0"', '"3-0-order1-service1"', '"3-ld"', '"3"'])
def test_if_match_compares_only_the_version(
    api: httpx.Client, running_execution: str, etag: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    ok(api.post(path, json={"progress": 10}, headers={"If-Match": etag}))
    refused(
        api.post(path, json={"progress": 20}, headers={"If-Match": etag}), 412, "version-mismatch"
    )


@pytest.mark.parametrize("etag", ['"3-12', "3-12", '"x-12"', '"3_12"'])
def test_if_match_that_is_not_a_version_is_refused(
    api: httpx.Client, running_execution: str, etag: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    refused(api.post(path, json={"progress": 10}, headers={"If-Match": etag}), 422, "invalid")


def test_etag_of_an_expanded_read_names_the_versions_of_the_related_objects(
    api: httpx.Client, executions: Executions, catalog: Catalog
) -> None:
    order = {"service": catalog.service, "customer": catalog.customer}
    identity = str(ok(api.post("/orders", json=order))["$id"])
    ok(api.post(f"/orders/{identity}/confirm", json={}))
    execution = ok(api.get(f"/orders/{identity}"))["execution"]
    executions.tell(execution, "start")
    executions.tell(execution, "complete", **RESULT)
    path = f"/executions/{execution}?expand=order,service"
    assert tag(api, path) == '"4-1-order2-service1"'
    assert is_not_modified(api, path, '"4-1-order2-service1"')
    assert not is_not_modified(api, path, '"4-1-order1-service1"')


def test_catalog_entry_is_304_while_its_etag_matches(api: httpx.Client, catalog: Catalog) -> None:
    path = f"/services/{catalog.service}"
    assert is_not_modified(api, path, tag(api, path))
    assert not is_not_modified(api, path, '"99"')
