"""Pages of other origins can do nothing with the session of a signed-in browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from api.telemetry.metrics import REFUSALS
from api.web.access.browsers import COOKIE
from tests.support.api_client import Catalog, Executions, ok
from tests.support.running_server import TOKEN, Serving

PAGE = "<!doctype html><title>A page</title><form method=post></form>"
POST = """url => fetch(url, {method: "POST", credentials: "include", mode: "no-cors", body: "{}",
    headers: {"Content-Type": "text/plain"}}).then(answer => answer.status, () => "failed")"""
FORM = """url => new Promise(over => { const form = document.forms[0]; form.action = url;
    const frame = document.createElement("iframe"); frame.name = form.target = "below";
    document.body.append(frame); frame.onload = () => over("sent"); form.submit() })"""
SOCKET = """url => new Promise(over => { const socket = new WebSocket(url);
    socket.onopen = () => over("open"); socket.onerror = () => over("refused") })"""
OTHERS = {
    "another port of the host": "http://127.0.0.1:12345/",
    "another site": "http://evil.localhost:12345/",
}
"""Addresses of pages of other origins: with the first the browser sends even a `SameSite=Strict` cookie."""


@pytest.fixture
def execution(server: Serving) -> Iterator[str]:
    """A running execution, which the browser may cancel."""
    with server.client() as api:
        known = Catalog("acme", "acme", "", "leads", "order-1")
        for path, entry in (
            ("users", {"$id": "acme", "name": "Acme", "kind": "organization"}),
            ("services", {"$id": "leads", "name": "Leads", "provider": "acme"}),
            ("orders", {"$id": "order-1", "service": "leads", "customer": "acme"}),
        ):
            api.post(f"/{path}", json=entry)
        yield Executions(api, known).running()


@contextmanager
def tab(browser: Any, server: Serving, url: str) -> Iterator[Any]:
    """A page at a URL, in a browser that has a session of the administrator."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = httpx.post(f"{server.url}/session", json={"token": TOKEN}, headers=headers)
    ok(answer)
    context = browser.new_context()
    value = answer.cookies[COOKIE]
    kept = {"name": COOKIE, "value": value, "url": server.url, "sameSite": "Strict"}
    context.add_cookies([{**kept, "httpOnly": True}])
    page = context.new_page()
    page.route(url, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page.goto(url)
    yield page
    context.close()


def refusals() -> float:
    """How often the service refused a page of another origin; 0 if the browser refused the request itself."""
    codes = ("forbidden", "unauthenticated")
    return sum(float(REFUSALS.labels(code)._value.get()) for code in codes)


def status(server: Serving, execution: str) -> str:
    with server.client() as api:
        return str(ok(api.get(f"/executions/{execution}"))["status"])


def socket_url(server: Serving) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/api/events"


@pytest.mark.parametrize("other", OTHERS)
def test_page_of_another_origin_sends_no_command_and_opens_no_websocket(
    browser: Any, server: Serving, execution: str, other: str
) -> None:
    cancel = f"{server.url}/api/executions/{execution}/cancel"
    with tab(browser, server, OTHERS[other]) as page:
        for way in (POST, FORM):
            before = refusals()
            page.evaluate(way, cancel)
            assert refusals() > before, way
            assert status(server, execution) == "running"
        before = refusals()
        assert page.evaluate(SOCKET, socket_url(server)) == "refused"
        assert refusals() > before


def test_page_of_the_service_sends_a_command_and_opens_a_websocket(
    browser: Any, server: Serving, execution: str
) -> None:
    with tab(browser, server, f"{server.url}/a-page") as page:
        assert page.evaluate(SOCKET, socket_url(server)) == "open"
        own = POST.replace("text/plain", "application/json").replace("no-cors", "same-origin")
        assert page.evaluate(own, f"{server.url}/api/executions/{execution}/cancel") == 200
        assert status(server, execution) == "cancelled"
