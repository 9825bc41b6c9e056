"""Liveness, readiness and metrics of the server."""

from __future__ import annotations

import httpx
import pytest

from api.routes import health
from api.routes.health import CLOSING
from domain.errors import Overloaded
from tests.support.api_client import Executions, ok, refused
from tests.support.running_server import Serving


def test_readyz_shows_the_position_of_the_log_and_every_view(
    api: httpx.Client, executions: Executions
) -> None:
    created = executions.create()
    ok(api.get("/executions", params={"minPosition": created["position"]}))
    ready = ok(api.get("/readyz"))
    assert ready["status"] == "ready"
    assert ready["position"] == created["position"]
    assert {"executions", "analytics", "catalog"} <= ready["views"].keys()
    assert ready["views"]["executions"] == {"position": created["position"], "lag": 0, "parked": 0}


def test_metrics_are_in_the_prometheus_format(api: httpx.Client, executions: Executions) -> None:
    position = executions.create()["position"]
    refused(api.get("/executions/no-such"), 404, "not-found")
    response = api.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert f"executions_log_position {float(position)}" in lines
    assert any(line.startswith("executions_requests_total{") for line in lines)
    assert 'executions_view_parked{view="executions"} 0.0' in lines


def test_head_answers_as_get_does_without_the_body(api: httpx.Client) -> None:
    for path in ("/healthz", "/executions", "/openapi.json"):
        response = api.head(path)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"] == "application/json"


def test_server_that_is_stopping_is_not_ready(
    api: httpx.Client, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.system.hub.state, "closing", True)
    response = api.get("/readyz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"status": "unavailable", "detail": CLOSING}


def test_server_that_loses_its_database_during_the_request_is_not_ready(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(*_: object) -> None:
        raise Overloaded

    monkeypatch.setattr(health, "without_owner", lose)
    response = api.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "unavailable")
