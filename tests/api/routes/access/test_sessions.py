"""Sessions of browsers: sign-in, end, and protection of the cookie against pages of other origins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial

import httpx
import pytest
from click.testing import CliRunner
from websockets.exceptions import InvalidStatus

from api.access import sessions
from api.cli.main import main
from api.web.access.browsers import COOKIE, Browsers
from tests.support.api_client import JSON, Catalog, Executions, ok, refused
from tests.support.running_server import TOKEN, Serving, serving
from tests.support.stream_consumers import read_until_closed, socket
from tests.support.waiting import wait_until

OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def key(api: httpx.Client, catalog: Catalog) -> JSON:
    body = {"role": "provider", "party": catalog.provider, "name": "ann"}
    return ok(api.post("/keys", json=body))


def browser(server: Serving, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"{server.url}/api", headers=headers, timeout=30)


@contextmanager
def signed_in(server: Serving, token: str) -> Iterator[httpx.Client]:
    with browser(server) as client:
        ok(client.post("/session", json={"token": token}, headers=OWN))
        yield client


def cookie(client: httpx.Client) -> str:
    return str(client.cookies[COOKIE])


def of_cookie(value: str, **more: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={value}", **more}


def code(api: httpx.Client) -> str:
    return str(ok(api.post("/session/codes"))["code"])


def test_session_of_a_key_has_the_name_and_rights_of_the_key(
    server: Serving, key: JSON, catalog: Catalog
) -> None:
    with browser(server) as client:
        answer = client.post("/session", json={"token": key["key"]}, headers=OWN)
        me = ok(answer)
        assert ok(client.get("/me")) == me
    assert (me["name"], me["provider"]) == (f"provider:{catalog.provider}/ann", catalog.provider)
    assert (me["roles"], me["credential"]) == (["provider"], "session")
    said = answer.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43"):
        assert part in said
    assert "Secure" not in said
    assert key["key"] not in said
    assert answer.headers["cache-control"] == "no-store"


def test_cookie_is_secure_behind_tls(server: Serving) -> None:
    with browser(server, **OWN) as client:
        headers = {"X-Forwarded-Proto": "https"}
        answer = client.post("/session", json={"token": TOKEN}, headers=headers)
        assert answer.headers["set-cookie"].endswith("; Secure")
    assert Browsers("https://executions.example").cookie("x", 1, {}).endswith("; Secure")


def test_me_shows_the_name_and_the_role_of_each_caller(
    api: httpx.Client, server: Serving, key: JSON
) -> None:
    assert ok(api.get("/me"))["name"] == "admin"
    with browser(server, Authorization=f"Bearer {key['key']}") as client:
        me = ok(client.get("/me"))
        assert (me["credential"], me["subject"]) == ("key", key["party"])
        assert "keys.manage" not in me["rights"]
    refused(httpx.get(f"{server.url}/me"), 401, "unauthenticated")


def test_ended_session_is_refused_in_every_process(server: Serving, key: JSON) -> None:
    with serving(server.conninfo) as other, signed_in(server, key["key"]) as client:
        value = cookie(client)
        elsewhere = f"{other.url}/api/me"
        assert httpx.get(elsewhere, headers=of_cookie(value)).status_code == 200
        answer = client.delete("/session", headers=OWN)
        assert ok(answer) == {"signedOut": True}
        assert "Max-Age=0" in answer.headers["set-cookie"]
        for where in (f"{server.url}/api/me", elsewhere):
            wait_until(partial(refused_at, where, value))


def test_session_ends_with_the_key_that_it_began_with(
    server: Serving, api: httpx.Client, key: JSON
) -> None:
    origin = {"Origin": server.url}
    with signed_in(server, key["key"]) as client:
        headers = of_cookie(cookie(client), **origin)
        with socket(server, "/executions/watch", headers) as watching:
            assert json.loads(watching.recv(timeout=20))["type"] == "caught-up"
            ok(api.delete(f"/keys/{key['$id']}"))
            assert list(read_until_closed(watching))[-1]["reason"] == "revoked"
        wait_until(lambda: client.get("/me").status_code == 401)


def test_streams_of_a_session_end_with_it(server: Serving, key: JSON) -> None:
    with signed_in(server, key["key"]) as client:
        headers = of_cookie(cookie(client), Origin=server.url)
        with socket(server, "/executions/watch", headers) as watching:
            watching.recv(timeout=20)
            ok(client.delete("/session", headers=OWN))
            assert list(read_until_closed(watching))[-1]["reason"] == "signed-out"


@contextmanager
def sign_in_by_code(server: Serving, client: httpx.Client) -> Iterator[httpx.Client]:
    """Sign in another browser by a code of a client's session."""
    text = str(ok(client.post("/session/codes", headers=OWN))["code"])
    with browser(server) as other:
        ok(other.post("/session", json={"code": text}, headers=OWN))
        yield other


def test_session_that_began_by_a_code_of_another_ends_with_it(server: Serving, key: JSON) -> None:
    with (
        signed_in(server, key["key"]) as first,
        sign_in_by_code(server, first) as second,
        sign_in_by_code(server, second) as third,
        signed_in(server, key["key"]) as apart,
    ):
        headers = of_cookie(cookie(third), Origin=server.url)
        unused = str(ok(second.post("/session/codes", headers=OWN))["code"])
        with socket(server, "/executions/watch", headers) as watching:
            watching.recv(timeout=20)
            ok(first.delete("/session", headers=OWN))
            assert list(read_until_closed(watching))[-1]["reason"] == "signed-out"
        for ended in (second, third):
            refused(ended.get("/me"), 401, "unauthenticated")
        late = httpx.post(f"{server.url}/session", json={"code": unused}, headers=OWN)
        refused(late, 401, "unauthenticated")
        assert ok(apart.get("/me"))["credential"] == "session"


def test_session_ends_with_the_key_of_the_session_before_it(
    server: Serving, api: httpx.Client, key: JSON
) -> None:
    with signed_in(server, key["key"]) as first, sign_in_by_code(server, first) as second:
        ok(api.delete(f"/keys/{key['$id']}"))
        wait_until(lambda: second.get("/me").status_code == 401)


def test_session_at_the_end_of_the_longest_chain_cannot_make_a_code(
    server: Serving, key: JSON
) -> None:
    with ExitStack() as opened:
        last = opened.enter_context(signed_in(server, key["key"]))
        for _ in range(sessions.MOST_PARENTS - 1):
            last = opened.enter_context(sign_in_by_code(server, last))
        refused(last.post("/session/codes", headers=OWN), 403, "forbidden")


def test_cookie_sent_at_sign_in_is_replaced(server: Serving, key: JSON) -> None:
    planted = "exs_" + "A" * 49
    headers = of_cookie(planted, **OWN)
    answer = httpx.post(f"{server.url}/session", json={"token": key["key"]}, headers=headers)
    ok(answer)
    assert planted not in answer.headers["set-cookie"]
    refused(httpx.get(f"{server.url}/me", headers=of_cookie(planted)), 401, "unauthenticated")
    with signed_in(server, key["key"]) as one, signed_in(server, key["key"]) as two:
        assert cookie(one) != cookie(two)


def test_key_or_token_is_refused_as_a_cookie(server: Serving, key: JSON) -> None:
    for value in (key["key"], TOKEN):
        ok(httpx.get(f"{server.url}/me", headers={"Authorization": f"Bearer {value}"}))
        refused(httpx.get(f"{server.url}/me", headers=of_cookie(value)), 401, "unauthenticated")


def test_cookie_is_refused_as_a_bearer_token(server: Serving, key: JSON) -> None:
    with signed_in(server, key["key"]) as client:
        headers = {"Authorization": f"Bearer {cookie(client)}"}
        refused(httpx.get(f"{server.url}/me", headers=headers), 401, "unauthenticated")


FOREIGN: dict[str, dict[str, str]] = {
    "nothing is said": {},
    "another site": {"Sec-Fetch-Site": "cross-site"},
    "a sister": {"Sec-Fetch-Site": "same-site"},
    "another origin": {"Origin": "https://evil.example"},
    "no origin": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_page_of_another_origin_cannot_send_commands_with_the_cookie(
    server: Serving, executions: Executions, key: JSON, kind: str
) -> None:
    execution = executions.running()
    with signed_in(server, key["key"]) as client:
        path = f"/executions/{execution}/cancel"
        refused(client.post(path, headers=FOREIGN[kind]), 403, "forbidden")
        assert ok(client.get(f"/executions/{execution}"))["status"] == "running"
        ok(client.post(path, headers={"Origin": server.url}))


@pytest.mark.parametrize("kind", FOREIGN)
def test_page_of_another_origin_cannot_open_a_websocket_with_the_cookie(
    server: Serving, key: JSON, kind: str
) -> None:
    with signed_in(server, key["key"]) as client:
        headers = of_cookie(cookie(client), **FOREIGN[kind])
        with pytest.raises(InvalidStatus) as refusal, socket(server, "/events", headers):
            pass
        assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("kind", ["another site", "a sister", "another origin"])
def test_page_of_another_origin_cannot_sign_in(server: Serving, kind: str) -> None:
    body, headers = {"token": TOKEN}, FOREIGN[kind]
    answer = httpx.post(f"{server.url}/session", json=body, headers=headers)
    refused(answer, 403, "forbidden")
    assert "set-cookie" not in answer.headers


def test_public_url_determines_the_own_origin() -> None:
    browsers = Browsers("https://executions.example/")
    scope = {"type": "http", "method": "POST"}
    headers = {b"host": b"127.0.0.1:8000", b"origin": b"https://executions.example"}
    browsers.require_own_page(scope, headers)
    with pytest.raises(Exception, match="Origin"):
        browsers.require_own_page(scope, {**headers, b"origin": b"https://127.0.0.1:8000"})


def test_code_signs_in_one_browser_once(server: Serving, api: httpx.Client) -> None:
    text = code(api)
    with browser(server, **OWN) as client:
        assert ok(client.post("/session", json={"code": text}))["name"] == "admin"
        assert ok(client.get("/me"))["roles"] == ["admin"]
    with browser(server, **OWN) as second:
        refused(second.post("/session", json={"code": text}), 401, "unauthenticated")


def test_code_is_accepted_in_another_spelling(server: Serving, api: httpx.Client) -> None:
    text = code(api)
    payload, _, signature = text.removeprefix("exc_").partition(".")
    written = (text, text.removeprefix("exc_"), f"exc_{payload[:8]}!{payload[8:]}.{signature}")
    answers = [
        httpx.post(f"{server.url}/session", json={"code": each}, headers=OWN).status_code
        for each in (*written, f"exc_{payload}==.{signature}")
    ]
    assert answers == [201, 401, 401, 401]


def test_code_is_accepted_once_across_processes(server: Serving, api: httpx.Client) -> None:
    text = code(api)
    with serving(server.conninfo) as other:
        answers = [
            httpx.post(f"{each.url}/session", json={"code": text}, headers=OWN).status_code
            for each in (server, other)
        ]
    assert answers == [201, 401]


def test_forged_and_expired_codes_are_refused(
    server: Serving, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = code(api)
    for forged in ("", "exc_", text[:-1] + ("0" if text[-1] != "0" else "1"), "exc_e30.00", "é"):
        answer = httpx.post(f"{server.url}/session", json={"code": forged}, headers=OWN)
        refused(answer, 401, "unauthenticated")
    monkeypatch.setattr(sessions, "CODE_LASTS", timedelta(0))
    answer = httpx.post(f"{server.url}/session", json={"code": code(api)}, headers=OWN)
    assert "expired" in refused(answer, 401, "unauthenticated")["detail"]


def test_session_needs_a_token_or_a_code(server: Serving) -> None:
    for body in ({}, {"token": "a", "code": "b"}):
        answer = httpx.post(f"{server.url}/session", json=body, headers=OWN)
        refused(answer, 422, "invalid")
    answer = httpx.post(f"{server.url}/session", json={"token": "nonsense"}, headers=OWN)
    refused(answer, 401, "unauthenticated")


def test_open_prints_a_link_whose_code_is_exchanged_for_a_session(server: Serving) -> None:
    words = ["open", "--print", "--url", server.url, "--token", TOKEN]
    printed = CliRunner().invoke(main, words)
    assert printed.exit_code == 0, printed.output
    page, _, text = printed.stdout.strip().partition("#")
    answer = httpx.get(page)
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    with browser(server, **OWN) as client:
        ok(client.post("/session", json={"code": text}))


def refused_at(where: str, cookie: str) -> bool:
    return httpx.get(where, headers=of_cookie(cookie)).status_code == 401
