"""After too many failed attempts an address gets 429, except for tokens that were valid before."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api.access.failed_attempts import FailedAttempts
from tests.support.api_client import ok, refused
from tests.support.running_server import AUTHORIZED, Serving


@pytest.fixture(autouse=True)
def few(server: Serving) -> Iterator[None]:
    admission = server.system.admission
    before, admission.attempts = admission.attempts, FailedAttempts(3)
    yield
    admission.attempts = before


def test_attempts_beyond_a_few_are_429_with_retry_after(server: Serving, api: httpx.Client) -> None:
    wrong = {"Authorization": "Bearer nonsense"}
    for path in ("/executions", "/me", "/keys"):
        refused(httpx.get(server.url + path, headers=wrong), 401, "unauthenticated")
    answer = httpx.get(f"{server.url}/executions", headers=wrong)
    refused(answer, 429, "rate-limited")
    assert 1 <= int(answer.headers["retry-after"]) <= 20
    body = {"code": "nonsense"}
    refused(httpx.post(f"{server.url}/session", json=body), 429, "rate-limited")
    assert api.get("/executions").is_success


def test_key_that_was_used_before_is_not_locked_out(server: Serving, api: httpx.Client) -> None:
    keys = [ok(api.post("/keys", json={"role": "operator"}))["key"] for _ in range(2)]
    used, new = ({"Authorization": f"Bearer {key}"} for key in keys)
    assert httpx.get(f"{server.url}/me", headers=used).is_success
    for _ in range(3):
        httpx.get(f"{server.url}/me", headers={"Authorization": "Bearer nonsense"})
    assert httpx.get(f"{server.url}/me", headers=used).is_success
    refused(httpx.get(f"{server.url}/me", headers=new), 429, "rate-limited")


def test_request_without_a_token_is_not_counted_as_an_attempt(server: Serving) -> None:
    for _ in range(5):
        refused(httpx.get(f"{server.url}/executions"), 401, "unauthenticated")
    assert httpx.get(f"{server.url}/executions", headers=AUTHORIZED).is_success
