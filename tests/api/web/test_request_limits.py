"""Requests beyond the limit of a caller get 429 on every path, and record nothing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving


@pytest.fixture
def limit_of_one_a_second(server: Serving) -> Iterator[None]:
    limits = server.system.admission.limits
    limits._a_second = 1
    yield
    limits._a_second = None


@pytest.fixture
def operator(server: Serving, api: httpx.Client) -> Iterator[httpx.Client]:
    key = ok(api.post("/keys", json={"role": "operator"}))["key"]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{server.url}/api", headers=headers) as client:
        ok(client.get("/me"))
        yield client


def test_request_beyond_the_limit_is_429_with_retry_after(
    operator: httpx.Client, limit_of_one_a_second: None
) -> None:
    answers = [operator.get("/me") for _ in range(3)]
    assert answers[0].is_success
    for answer in answers[1:]:
        refused(answer, 429, "rate-limited")
        assert answer.headers["retry-after"] == "1"


def test_command_beyond_the_limit_is_not_recorded(
    api: httpx.Client, executions: Executions, limit_of_one_a_second: None, server: Serving
) -> None:
    server.system.admission.limits._a_second = None
    path = f"/executions/{executions.running()}/progress"
    server.system.admission.limits._a_second = 1
    statuses = [api.post(path, json={"progress": nth}).status_code for nth in range(1, 5)]
    assert statuses[0] == 200
    assert set(statuses[1:]) == {429}
    server.system.admission.limits._a_second = None
    assert ok(api.get(path.removesuffix("/progress")))["progress"] == 1
