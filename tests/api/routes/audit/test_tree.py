"""The tree over HTTP: the signed head, proofs for the stored rows, tiles, and refusals."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import httpx
import psycopg
import pytest

from domain.eventlog.codec import EventRow
from domain.eventlog.queries import IN_ORDER, NEWEST, SPAN
from domain.eventlog.sessions import session_options
from projections.audit import tables
from projections.audit.leaf import leaf_bytes
from projections.audit.merkle import leaf_hash
from projections.audit.note import TreeCheckpoint, checkpoint_of
from projections.audit.proofs import root_of_inclusion, roots_of_consistency
from projections.audit.tile_cache import TileCache
from tests.support.api_client import JSON, Executions, ok, refused
from tests.support.running_server import Serving, serving


@pytest.fixture
def head(api: httpx.Client, executions: Executions) -> JSON:
    """The head of a tree with some events, the last of which were just recorded."""
    position = executions.create()["position"]
    return ok(api.get("/audit/tree-head", params={"minPosition": position}))


def stored_rows(server: Serving) -> list[EventRow]:
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options) as connection:
        found = connection.execute((SPAN + IN_ORDER).encode(), (0, NEWEST), binary=True)
        return [EventRow(*row) for row in found]


def hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def test_head_is_signed_and_names_the_log(api: httpx.Client, server: Serving, head: JSON) -> None:
    assert head["origin"] == f"executions/{server.log_id}"
    root = bytes.fromhex(head["rootHash"])
    signed = checkpoint_of(head["note"], head["publicKey"])
    assert signed == TreeCheckpoint(head["origin"], head["treeSize"], root)
    answer = api.get("/audit/tree-head", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain")
    assert checkpoint_of(answer.text, head["publicKey"]).size >= head["treeSize"]
    assert int(answer.headers["log-position"]) >= head["treeSize"]


def test_inclusion_proof_is_valid_for_every_stored_row(
    api: httpx.Client, server: Serving, head: JSON
) -> None:
    size = head["treeSize"]
    for row in stored_rows(server)[:size]:
        query = {"position": row.position, "treeSize": size}
        proof = ok(answer := api.get("/audit/inclusion", params=query))
        assert proof["leafHash"] == leaf_hash(leaf_bytes(row)).hex()
        leaf, path = bytes.fromhex(proof["leafHash"]), hashes(proof["path"])
        root = root_of_inclusion(row.position - 1, size, leaf, path)
        assert root.hex() == proof["rootHash"] == head["rootHash"]
        assert "immutable" in answer.headers["cache-control"]


def test_consistency_proof_is_valid_from_every_size(api: httpx.Client, head: JSON) -> None:
    size = head["treeSize"]
    for first in range(1, size + 1):
        proof = ok(api.get("/audit/consistency", params={"from": first, "to": size}))
        inclusion = ok(api.get("/audit/inclusion", params={"position": 1, "treeSize": first}))
        assert proof["fromHash"] == inclusion["rootHash"]
        roots = bytes.fromhex(proof["fromHash"]), bytes.fromhex(proof["toHash"])
        assert roots_of_consistency(first, size, hashes(proof["path"]), roots[0]) == roots
        assert proof["toHash"] == head["rootHash"]


def test_proof_without_a_size_is_for_a_signed_head(api: httpx.Client, head: JSON) -> None:
    for path in ("/audit/inclusion?position=1", "/audit/consistency?from=1"):
        answer = api.get(path)
        proof = ok(answer)
        size = proof.get("treeSize") or proof["to"]
        root = proof.get("rootHash") or proof["toHash"]
        assert size >= head["treeSize"]
        if size == head["treeSize"]:
            assert root == head["rootHash"]
        assert "immutable" not in answer.headers["cache-control"]


def test_tile_has_the_hashes_of_the_leaves(api: httpx.Client, server: Serving, head: JSON) -> None:
    answer = api.get("/audit/tile/0/0")
    expected = [leaf_hash(leaf_bytes(row)) for row in stored_rows(server)[: head["treeSize"]]]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.content.startswith(b"".join(expected)[: 256 * 32])


REFUSED: dict[str, tuple[int, str, str]] = {
    "/audit/inclusion": (422, "invalid", "position"),
    "/audit/inclusion?position=0": (422, "invalid", "position"),
    "/audit/inclusion?position=99999": (422, "invalid", "position"),
    "/audit/inclusion?position=2&treeSize=1": (422, "invalid", "position"),
    "/audit/inclusion?position=1&treeSize=99999": (422, "invalid", "treeSize"),
    "/audit/consistency": (422, "invalid", "from"),
    "/audit/consistency?from=3&to=2": (422, "invalid", "from"),
    "/audit/consistency?from=1&to=99999": (422, "invalid", "to"),
    "/audit/consistency?from=1&until=3": (422, "invalid", "until"),
    "/audit/tile/0/99": (404, "not-found", ""),
    "/audit/tile/3/0": (404, "not-found", ""),
    "/audit/tile/-1/0": (404, "not-found", ""),
    f"/audit/tile/0/{'9' * 30}": (404, "not-found", ""),
    f"/audit/tile/{2**31}/0": (404, "not-found", ""),
    "/audit/tile/x/0": (404, "not-found", ""),
    "/audit/tree-head?minPosition=99999": (504, "not-yet-visible", ""),
}


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.usefixtures("head")
def test_refusal_names_the_field(api: httpx.Client, path: str) -> None:
    status, code, field = REFUSED[path]
    problem = refused(api.get(path, headers={"Prefer": "wait=0"}), status, code)
    assert [error["path"] for error in problem.get("errors", [])] == ([field] if field else [])


def test_damaged_tile_is_answered_500(api: httpx.Client, server: Serving, head: JSON) -> None:
    options = session_options("executions")
    with psycopg.connect(server.conninfo, options=options) as connection:
        kept: Any = connection.execute("SELECT hashes FROM audit_tiles WHERE level = 0").fetchone()
        try:
            connection.execute("UPDATE audit_tiles SET hashes = substr(hashes, 1, 40)")
            connection.commit()
            query = {"position": 3, "treeSize": head["treeSize"]}
            refused(api.get("/audit/inclusion", params=query), 500, "damaged")
        finally:
            connection.execute("UPDATE audit_tiles SET hashes = %s WHERE level = 0", kept)


def test_empty_log_has_a_head_and_no_proofs(database: str) -> None:
    with serving(database) as server, server.client() as api:
        while (answer := api.get("/audit/tree-head")).status_code == 503:
            assert answer.headers["retry-after"]
        shown = ok(answer)
        assert (shown["treeSize"], shown["rootHash"]) == (0, sha256().hexdigest())
        refused(api.get("/audit/inclusion?position=1"), 422, "invalid")


def test_tiles_of_an_inclusion_proof_are_read_in_the_query_of_the_head(
    api: httpx.Client, server: Serving, head: JSON, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are not cached; the first proof of a process needs more queries."""
    asked: list[object] = []
    read = tables.tiles_of_tree

    async def record_and_read(connection: Any, wanted: Any) -> Any:
        asked.append(wanted)
        return await read(connection, wanted)

    monkeypatch.setattr("projections.audit.reader.tiles_of_tree", record_and_read)
    monkeypatch.setattr(TileCache, "trim", TileCache.clear)
    path, query = "/audit/inclusion", {"position": 1, "treeSize": head["treeSize"]}
    first = ok(api.get(path, params=query))
    asked.clear()
    assert ok(api.get(path, params=query)) == first
    assert ok(api.get(path, params={"position": 2}))["position"] == 2
    assert asked == []
