"""Secrets that clients send are not logged, stored or answered."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
import structlog

from api.access.keys import new_key
from api.access.tokens.signing_keys import FixedKeys, of_secret
from api.access.tokens.verifier import JwtVerifier, TokenRequirements
from api.embedded_postgres.cluster import programs_of_the_wheel
from api.telemetry.logging import configure_logging
from domain.eventlog.sessions import variables
from tests.support.api_client import Catalog, ok
from tests.support.running_server import AUTHORIZED, TOKEN, Serving
from tests.support.tokens import AUDIENCE, ISSUER, SECRET, token, unsigned

PATHS = ("/executions", "/no-such-path", "/executions/no-such", "/me")
OWN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def verifier(server: Serving) -> Iterator[None]:
    access = server.system.admission.access
    before = access._verifiers
    access.add(JwtVerifier([FixedKeys(of_secret(SECRET))], TokenRequirements(ISSUER, AUDIENCE, 5)))
    yield
    access._verifiers = before


def dump_database(server: Serving) -> str:
    """Everything in the database, as text."""
    words = variables(server.conninfo, "executions")
    dump = [str(programs_of_the_wheel() / "pg_dump"), "--inserts"]
    done = subprocess.run(dump, env=words, capture_output=True, check=True, text=True)
    return str(done.stdout)


def send_secrets(server: Serving, secrets: dict[str, str]) -> list[httpx.Response]:
    """Send the secrets in every header and place that takes one; return the answers."""
    answers = []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for secret in secrets.values():
            ways: list[dict[str, str]] = [
                {"Authorization": f"Bearer {secret}"},
                {"Authorization": f"Basic {secret}"},
                {"Cookie": f"executions_session={secret}"},
                {"Authorization": f"Bearer {secret}, Bearer {secret}"},
            ]
            for headers in ways:
                answers += [client.get(path, headers=headers) for path in PATHS]
                answers.append(client.post("/executions", content=b"{", headers=headers))
                answers.append(client.post("/executions/x/start", json={}, headers=headers))
            answers += [
                client.post("/session", json={member: secret}, headers=OWN)
                for member in ("token", "code")
            ]
            protocol = base64.urlsafe_b64encode(secret.encode()).rstrip(b"=").decode()
            with suppress(httpx.HTTPError):
                answers.append(
                    client.get(
                        "/events",
                        headers={
                            "Connection": "Upgrade",
                            "Upgrade": "websocket",
                            "Sec-WebSocket-Version": "13",
                            "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
                            "Sec-WebSocket-Protocol": f"executions, bearer.{protocol}x(",
                        },
                    )
                )
    return answers


@pytest.fixture
def logged() -> Iterator[None]:
    """The logs of the service, captured."""
    before = structlog.get_config()
    configure_logging("debug")
    yield
    structlog.configure(**before)


def test_secrets_in_requests_are_not_logged_stored_or_answered(
    server: Serving,
    api: httpx.Client,
    catalog: Catalog,
    logged: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = {"role": "provider", "party": catalog.provider}
    revoked = ok(api.post("/keys", json=body))
    good = ok(api.post("/keys", json=body))
    ok(api.delete(f"/keys/{revoked['$id']}"))
    code = ok(api.post("/session/codes"))["code"]
    started = httpx.post(f"{server.url}/session", json={"token": good["key"]}, headers=OWN)
    secrets = {
        "an unknown key": new_key().decode(),
        "a revoked key": revoked["key"],
        "a key": good["key"],
        "a cookie": started.cookies["executions_session"],
        "a token": token(provider=catalog.provider).decode(),
        "an expired token": token(exp=1).decode(),
        "a forged token": unsigned(
            {"alg": "none"}, sub="planted-subject-of-a-forged-token"
        ).decode(),
        "a code": code,
        "the administrator's token": TOKEN,
        "nonsense": "planted-nonsense-0123456789",
    }
    answers = send_secrets(server, secrets)
    answered = "".join(f"{answer.headers} {answer.text}" for answer in answers)
    kept, printed = dump_database(server), "".join(capfd.readouterr())
    assert "session.started" in kept
    assert "/problems/unauthenticated" in answered
    signatures = {kind: secret.rpartition(".")[2] or secret for kind, secret in secrets.items()}
    for kind, secret in (*secrets.items(), *signatures.items()):
        assert secret not in printed, f"{kind} was printed"
        assert secret not in kept, f"{kind} was stored"
        assert secret not in answered, f"{kind} was answered"


def test_administrators_token_is_not_in_documents_metrics_or_settings(
    server: Serving, api: httpx.Client
) -> None:
    for path in ("/openapi.json", "/readyz", "/metrics", "/me", "/keys"):
        assert TOKEN not in httpx.get(server.url + path, headers=AUTHORIZED).text
    assert TOKEN not in repr(server.system.settings)
