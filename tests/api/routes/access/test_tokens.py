"""JSON Web Tokens over HTTP, for direct commands, and over WebSocket."""

from __future__ import annotations

from collections.abc import Iterator
from time import time

import httpx
import pytest

from api.access.tokens.signing_keys import FixedKeys, of_secret
from api.access.tokens.verifier import JwtVerifier, TokenRequirements
from tests.support.api_client import Catalog, Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.stream_consumers import read_until_closed, socket, until_caught_up
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token


@pytest.fixture(autouse=True)
def verifier(server: Serving) -> Iterator[None]:
    access = server.system.admission.access
    before = access._verifiers
    known = JwtVerifier([FixedKeys(of_secret(SECRET))], TokenRequirements(ISSUER, AUDIENCE, 5))
    access._verifiers = (*before, known)
    yield
    access._verifiers = before


def client(server: Serving, text: bytes) -> httpx.Client:
    headers = {"Authorization": f"Bearer {text.decode()}"}
    return httpx.Client(base_url=f"{server.url}/api", headers=headers, timeout=30)


def test_command_with_a_token_is_accepted_at_the_first_use_of_the_token_and_later(
    server: Serving, catalog: Catalog, executions: Executions
) -> None:
    execution = executions.running()
    with client(server, token(provider=catalog.provider)) as alice:
        for percent in (10, 20):
            ok(alice.post(f"/executions/{execution}/progress", json={"progress": percent}))
        last = ok(alice.get(f"/executions/{execution}/events"))["data"][-1]
    assert last["actor"] == f"provider:{catalog.provider}/alice"


def test_token_of_another_provider_finds_nothing(server: Serving, executions: Executions) -> None:
    execution = executions.running()
    with client(server, token(provider="rival")) as rival:
        refused(rival.get(f"/executions/{execution}"), 404, "not-found")
        for _ in range(2):
            answer = rival.post(f"/executions/{execution}/progress", json={"progress": 1})
            refused(answer, 404, "not-found")


def test_refusal_of_a_token_has_the_reason_and_does_not_quote_the_token(server: Serving) -> None:
    text = token(exp=1)
    with client(server, text) as late:
        problem = refused(late.get("/executions"), 401, "unauthenticated")
    assert "expired" in problem["detail"]
    assert text.decode() not in str(problem)


def test_token_opens_a_websocket(server: Serving, catalog: Catalog, executions: Executions) -> None:
    execution = executions.running()
    shown = {"Authorization": f"Bearer {token(provider=catalog.provider).decode()}"}
    with socket(server, f"/executions/{execution}/watch", shown) as watching:
        assert until_caught_up(read_until_closed(watching))


def test_stream_of_a_token_that_expires_ends_with_it(
    server: Serving, catalog: Catalog, executions: Executions
) -> None:
    execution = executions.running()
    leeway = TokenRequirements(ISSUER, AUDIENCE, 0)
    server.system.admission.access._verifiers = (
        JwtVerifier([FixedKeys(of_secret(SECRET))], leeway),
    )
    text = token(provider=catalog.provider, exp=int(time()) + 3).decode()
    shown = {"Authorization": f"Bearer {text}"}
    with socket(server, f"/executions/{execution}/watch", shown) as watching:
        frames = list(read_until_closed(watching))
    assert (frames[-1]["type"], frames[-1]["reason"]) == ("closing", "expired")
