"""The answer to a command with `Prefer: receipt` proves that its last event is in the signed tree."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from domain.eventlog.sessions import session_options
from projections.audit.note import checkpoint_of
from projections.audit.proofs import root_of_inclusion
from projections.audit.reader import TreeReader
from tests.support.api_client import JSON, Executions, ok
from tests.support.running_server import Serving

RECEIPT = {"Prefer": "receipt"}


def require_proven(server: Serving, receipt: JSON) -> None:
    """Require that the proof leads to the root signed by the key of the log."""
    key = server.system.signer.public_key
    head = checkpoint_of(receipt["note"], key)
    assert receipt["publicKey"] == key
    assert (head.size, head.root.hex()) == (receipt["treeSize"], receipt["rootHash"])
    leaf, path = bytes.fromhex(receipt["leafHash"]), [bytes.fromhex(p) for p in receipt["path"]]
    assert root_of_inclusion(receipt["position"] - 1, head.size, leaf, path) == head.root


COMMANDS: dict[str, tuple[str, str, JSON]] = {
    "create": ("POST", "", {"order": "order-123", "service": "sdr-service"}),
    "start": ("POST", "/{id}/start", {}),
    "progress": ("POST", "/{id}/progress", {"progress": 12}),
    "update": ("PUT", "/{id}", {"tags": ["a"]}),
    "patch": ("PATCH", "/{id}", {"tags": ["b"]}),
    "fork": ("POST", "/{id}/fork", {"version": 1}),
    "heartbeat": ("POST", "/{id}/heartbeat", {}),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("prefer", ["receipt", "return=minimal, receipt, wait=30"])
def test_answer_has_a_receipt_of_its_last_event(
    api: httpx.Client, server: Serving, running_execution: str, name: str, prefer: str
) -> None:
    method, path, body = COMMANDS[name]
    path = f"/executions{path.replace('{id}', running_execution)}"
    answer = api.request(method, path, json=body, headers={"Prefer": prefer})
    shown = ok(answer)
    assert answer.status_code in {200, 201}
    assert shown["receipt"]["position"] == int(answer.headers["log-position"])
    applied = "return=minimal, receipt" if "minimal" in prefer else "receipt"
    assert answer.headers["preference-applied"] == applied
    assert shown["$id"]
    require_proven(server, shown["receipt"])


def test_claim_has_a_receipt(api: httpx.Client, server: Serving, queued_execution: str) -> None:
    answer = api.post(
        "/executions/claim", json={"worker": "w", "service": "sdr-service"}, headers=RECEIPT
    )
    require_proven(server, ok(answer)["receipt"])


def test_repeated_request_with_the_same_key_gets_a_receipt(
    api: httpx.Client, server: Serving, running_execution: str
) -> None:
    key = {"Idempotency-Key": "k-1"}
    path, body = f"/executions/{running_execution}/progress", {"progress": 7}
    first = api.post(path, json=body, headers=key)
    again = api.post(path, json=body, headers={**key, **RECEIPT})
    assert again.headers["idempotency-replayed"] == "true"
    receipt = ok(again)["receipt"]
    assert str(receipt["position"]) == first.headers["log-position"]
    require_proven(server, receipt)


def test_other_preference_gets_no_receipt(api: httpx.Client, running_execution: str) -> None:
    path = f"/executions/{running_execution}/progress"
    for prefer in ("return=minimal", "receipts", 'x="receipt"'):
        answer = api.post(path, json={"progress": 3}, headers={"Prefer": prefer})
        assert "receipt" not in ok(answer)


def test_refusal_and_dry_run_are_answered_at_once_and_without_receipt(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    answer = api.post(path, json={"progress": 300}, headers=RECEIPT)
    assert (answer.status_code, "receipt" in answer.json()) == (422, False)
    answer = api.post(path, json={"progress": 30}, params={"dryRun": "true"}, headers=RECEIPT)
    assert (answer.status_code, "receipt" in answer.json()) == (200, False)


@pytest.fixture
def stopped_tree(server: Serving) -> Iterator[None]:
    """Hold a lock that the builder of the tree waits for."""
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options) as connection:
        connection.execute("SELECT * FROM audit_head FOR UPDATE")
        yield


@pytest.mark.usefixtures("stopped_tree")
def test_command_is_answered_without_receipt_if_no_head_is_signed_in_time(
    api: httpx.Client, running_execution: str
) -> None:
    path = f"/executions/{running_execution}/progress"
    answer = api.post(path, json={"progress": 9}, headers={"Prefer": "receipt, wait=0"})
    assert answer.status_code == 202
    shown: Any = answer.json()
    assert shown["progress"] == 9
    assert "receipt" not in shown
    assert "preference-applied" not in answer.headers
    assert ok(api.get(f"/executions/{running_execution}"))["progress"] == 9


@pytest.mark.usefixtures("stopped_tree")
def test_requests_that_wait_for_a_receipt_share_the_queries_of_the_head(
    api: httpx.Client, executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    usual = TreeReader.head

    async def record_and_read(self: TreeReader) -> Any:
        looks.append(self)
        return await usual(self)

    ids = [executions.running() for _ in range(16)]
    monkeypatch.setattr(TreeReader, "head", record_and_read)

    def status(id_: str) -> int:
        headers = {"Prefer": "receipt, wait=1"}
        return api.post(f"/executions/{id_}/start", json={}, headers=headers).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(status, ids)) == {202}
    assert 0 < len(looks) < 16 * 20 / 4
