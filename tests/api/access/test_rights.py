"""Every operation needs a token, except health and documents."""

from __future__ import annotations

from itertools import cycle

import httpx
import pytest

from api.access.identity import ANONYMOUS
from api.access.rights import ROLES, Right, Role
from tests.support.api_client import refused
from tests.support.lean_transport import LeanTransport
from tests.support.operation_examples import path_of
from tests.support.operations import OPERATIONS
from tests.support.running_server import TOKEN, Serving

OPEN = {"health", "readiness", "openapi", "asyncapi", "problem", "startSession", "openPage"}
GUARDED = [operation for operation in OPERATIONS if operation.name not in OPEN]
WRONG = {
    "another": "Bearer nonsense",
    "nearly": f"Bearer {TOKEN}x",
    "cut": f"Bearer {TOKEN[:-1]}",
    "empty": "Bearer",
    "basic": f"Basic {TOKEN}",
    "bare": TOKEN,
    "not ASCII": "Bearer \u00fc",
}


def test_every_operation_declares_a_right_that_some_role_has() -> None:
    for operation in OPERATIONS:
        assert isinstance(operation.right, Right), operation.name
        assert operation.right in ROLES[Role.ADMIN], operation.name


def test_only_health_and_documents_need_no_token() -> None:
    assert {op.name for op in OPERATIONS if op.right is Right.OPEN} == OPEN
    assert ANONYMOUS.rights == {Right.OPEN}


def test_request_without_token_is_answered_401(server: Serving) -> None:
    """Each operation without a token, and with one of the invalid headers."""
    kinds = zip(GUARDED, cycle(WRONG.values()), cycle(("", "/api")), strict=False)
    with httpx.Client(base_url=server.url, transport=LeanTransport()) as stranger:
        for operation, header, prefix in kinds:
            for sent in (None, header):
                headers = {} if sent is None else {b"authorization": sent.encode()}
                path = prefix + path_of(operation)
                response = stranger.request(operation.method, path, headers=headers)
                refused(response, 401, "unauthenticated")
                assert response.headers["www-authenticate"] == "Bearer", (operation.name, sent)
                assert TOKEN not in response.text


def test_request_without_token_is_refused_before_its_body_is_read(server: Serving) -> None:
    refused(httpx.post(f"{server.url}/executions", content=b"{"), 401, "unauthenticated")
    refused(httpx.get(f"{server.url}/executions?nonsense=1"), 401, "unauthenticated")


def test_bearer_scheme_is_accepted_in_any_case(server: Serving) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert httpx.get(f"{server.url}/executions", headers=headers).is_success


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/problems/invalid"])
def test_public_paths_are_served_with_and_without_a_token(server: Serving, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        assert httpx.get(server.url + path, headers=headers).status_code == 200
