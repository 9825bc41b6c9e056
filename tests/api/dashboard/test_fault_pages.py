"""What the pages show when an answer is missing, late or a refusal: never something that is not so."""

from __future__ import annotations

import re
from typing import Any

import httpx

from tests.api.dashboard.conftest import Tab, of

LIMITED = {"type": "/problems/rate-limited", "title": "Too many requests", "detail": "Wait a little."}


def refuse(route: Any) -> None:
    route.fulfill(status=429, content_type="application/problem+json", json=LIMITED)


def test_version_that_cannot_be_read_shows_why_and_no_other_state(tab: Tab) -> None:
    tab.page.route(re.compile(r"/executions/enrich-t\?version=6"), refuse)
    page = tab.open(of("enrich", version="5"))
    page.get_by_text("As of version 5 of").wait_for()
    page.get_by_role("button", name="One version on").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("Too many requests").wait_for()
    assert page.get_by_text("As of version").count() == 0
    assert page.locator("header.head").count() == 0
    tab.page.unroute_all()
    alert.get_by_role("button", name="Try again").click()
    page.get_by_text("As of version 6 of").wait_for()
    assert "failed" in page.locator("header.head").inner_text()


def test_execution_that_cannot_be_read_again_keeps_its_state_and_shows_why(
    tab: Tab, api: httpx.Client
) -> None:
    body = {"$id": "stale", "order": "order-leads", "service": "leads", "status": "running"}
    api.post("/executions", json=body).raise_for_status()
    page = tab.open("/executions/stale")
    page.locator(".badge.live").wait_for()
    page.get_by_role("heading", name="stale").wait_for()
    tab.page.route(re.compile(r"/executions/stale\?fields"), refuse)
    api.post("/executions/stale/progress", json={"progress": 12}).raise_for_status()
    page.get_by_role("alert").get_by_text("Too many requests").wait_for()
    assert "running" in page.locator("header.head").inner_text()
