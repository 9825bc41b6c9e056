"""A service with the executions of the demo, and a browser that fails the test on errors of the console, violations
of the policy and requests to other hosts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from api.cli.client.demo.scenarios import CATALOG, scenarios
from api.dashboard.files import FOLDER, INDEX
from api.embedded_postgres.server import EmbeddedPostgres
from tests.support.databases import new_database
from tests.support.service_process import AUTHORIZED, Service, serving

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
    # LocalNetworkAccessChecks would refuse requests before the service does; each context would load the popups.
    "--disable-features=LocalNetworkAccessChecks,WebUIOmniboxPopup,WebUIOmniboxAimPopup",
]
WIDE = {"width": 1280, "height": 900}
PLAIN: dict[str, Any] = {
    "color_scheme": "light",
    "contrast": "no-preference",
    "forced_colors": "none",
}
RUN = "t"
"""The end of the ids of the executions of the demo."""
VIOLATIONS = """addEventListener("securitypolicyviolation",
    (event) => console.error("policy", event.violatedDirective, event.blockedURI));"""
QUIET = ("Failed to load resource: the server responded with a status of 4",)
"""Messages of the browser about answers that a page shows as refusals."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests without a browser or without the built pages."""
    missing = "Chromium" if CHROMIUM is None else None
    if not (FOLDER / INDEX).exists():
        missing = "the built dashboard (scripts/dashboard)"
    for item in items:
        if missing is not None and "_pages.py" in item.nodeid:
            item.add_marker(pytest.mark.skip(reason=f"needs {missing}"))


@pytest.fixture(scope="module")
def service(postgres: EmbeddedPostgres, admin: psycopg.Connection) -> Iterator[Service]:
    with new_database(admin) as name, serving(postgres.conninfo(name)) as running:
        with httpx.Client(base_url=f"{running.url}/api", headers=AUTHORIZED) as api:
            for path, entry in CATALOG:
                api.post(path, json=entry).raise_for_status()
            for sent in scenarios(RUN):
                answer = api.post(sent.path, json=dict(sent.body)).raise_for_status()
            position = answer.headers["log-position"]
            for path in ("/executions?limit=1", "/analytics/executions?"):
                api.get(
                    f"{path}&minPosition={position}", headers={"prefer": "wait=30"}
                ).raise_for_status()
        yield running


@pytest.fixture(scope="module")
def api(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{service.url}/api", headers=AUTHORIZED, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


class Tab:
    """A page of the dashboard, with its errors."""

    def __init__(self, page: Any, service: Service) -> None:
        self.errors: list[str] = []
        self.page = page
        self.page.set_default_timeout(20_000)
        self._service = service
        self._watches = {
            "console": self._console,
            "pageerror": lambda error: self.errors.append(str(error)),
            "request": self._request,
        }
        for event, watch in self._watches.items():
            page.on(event, watch)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not message.text.startswith(QUIET):
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self._service.url, "data:", "blob:")):
            self.errors.append(f"asked for {request.url}")

    def open(self, path: str = "/") -> Any:
        self.page.goto(f"{self._service.url}/ui{path}")
        return self.page

    def leave(self) -> None:
        """Reset the page: nothing stored, nothing open."""
        self.page.unroute_all()
        self.page.emulate_media(**PLAIN)
        self.page.set_viewport_size(WIDE)
        self.page.goto(f"{self._service.url}/livez")
        self.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        for event, watch in self._watches.items():
            self.page.remove_listener(event, watch)


@pytest.fixture(scope="module")
def page(browser: Any) -> Iterator[Any]:
    """The page that most tests share, as a new context takes a second."""
    context = browser.new_context(extra_http_headers=AUTHORIZED, viewport=WIDE)
    context.add_init_script(VIOLATIONS)
    yield context.new_page()
    context.close()


@pytest.fixture
def tab(page: Any, service: Service) -> Iterator[Tab]:
    """The shared page, signed in, with nothing stored; its errors fail the test."""
    opened = Tab(page, service)
    try:
        yield opened
    finally:
        opened.leave()
    assert opened.errors == []


def of(story: str, **query: str) -> str:
    """The path of the execution of a story of the demo."""
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    return f"/executions/{story}-{RUN}" + (f"?{text}" if text else "")
