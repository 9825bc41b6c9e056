"""CORS: only pages of the origins in the setting may read answers. Answers have protective headers by default."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import Response

from api.settings import SetupError, origins, read
from api.web.access.answer_headers import AnswerHeaders

pytestmark = pytest.mark.anyio
APP = "https://app.example"


def client(*allowed: str, **headers: str) -> httpx.AsyncClient:
    app: Any = AnswerHeaders(Response("{}", headers=headers), allowed)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


async def preflight(browser: httpx.AsyncClient, origin: str) -> Any:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization, if-match",
    }
    return await browser.options("/executions/1", headers=asked)


async def test_answer_has_protective_headers_by_default() -> None:
    headers = (await client().get("/")).headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["referrer-policy"] == "no-referrer"


async def test_answer_with_protective_headers_of_its_own_keeps_them() -> None:
    said = {"cache-control": "private, no-cache", "content-security-policy": "default-src 'self'"}
    headers = (await client(**said).get("/")).headers
    for name, value in said.items():
        assert headers.get_list(name) == [value]


async def test_page_of_an_allowed_origin_may_send_requests_and_read_answers() -> None:
    browser = client(APP)
    asked = await preflight(browser, APP)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == APP
    assert "PUT" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == "authorization, if-match"
    headers = (await browser.get("/", headers={"Origin": APP})).headers
    assert headers["access-control-allow-origin"] == APP
    assert "Log-Position" in headers["access-control-expose-headers"]
    assert "origin" in headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{APP}.evil.example", "*"])
async def test_page_of_another_origin_may_not_read_answers(origin: str) -> None:
    for browser in (client(APP), client()):
        for answer in (
            await preflight(browser, origin),
            await browser.get("/", headers={"Origin": origin}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_pages_of_other_origins_may_not_send_cookies() -> None:
    answer = await preflight(client(APP), APP)
    assert "access-control-allow-credentials" not in answer.headers


def test_origins_of_the_setting_are_compared_in_lower_case_without_a_slash() -> None:
    assert origins("https://App.example/, http://127.0.0.1:3000") == {APP, "http://127.0.0.1:3000"}


@pytest.mark.parametrize("value", ["*", "app.example", "https://app.example/path", "ftp://x"])
def test_setting_that_is_not_an_origin_is_refused(value: str) -> None:
    with pytest.raises(SetupError, match="ALLOWED_ORIGINS"):
        read({"EXECUTIONS_ALLOWED_ORIGINS": value})
