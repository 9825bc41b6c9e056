"""The verification of an execution names every stored row that a superuser changed."""

from __future__ import annotations

import httpx
import pytest

from tests.support.api_client import JSON, Executions, ok, refused
from tests.support.running_server import Serving
from tests.support.tampering import tampered

FAULT = tuple[str, str, int | None, str | None]


@pytest.fixture(scope="module")
def ended(executions: Executions) -> str:
    id_ = executions.running(tags=["a", 'b"\\'], metadata={"region": "north", "n": [1.5, None]})
    executions.tell(id_, "checkpoints", state={"page": 3})
    executions.tell(id_, "complete", success=True, output={"secret": "x" * 3_000}, summary="done")
    return id_


@pytest.fixture(scope="module")
def open_(executions: Executions) -> str:
    id_ = executions.running()
    for progress in range(1, 12):
        executions.tell(id_, "progress", progress=progress / 2)
    return id_


def read_verification(api: httpx.Client, id_: str) -> JSON:
    """The result of the verification, once the signed head and the view have all events of the execution."""
    position = ok(api.get(f"/executions/{id_}"))["position"]
    ok(api.get("/executions", params={"minPosition": position}))
    return ok(api.get(f"/executions/{id_}/verify", params={"minPosition": position}))


@pytest.mark.parametrize("name", ["ended", "open_"])
def test_untouched_execution_has_no_fault(
    api: httpx.Client, request: pytest.FixtureRequest, name: str
) -> None:
    id_ = request.getfixturevalue(name)
    found = read_verification(api, id_)
    document = ok(api.get(f"/executions/{id_}"))
    assert found["faults"] == []
    assert found["fits"]
    assert found["events"] == found["proven"] == document["version"]
    assert found["readModel"]["version"] == document["version"]
    assert found["treeSize"] >= found["position"] == document["position"]


def test_long_history_has_no_fault_until_a_snapshot_is_changed(
    api: httpx.Client, executions: Executions, server: Serving
) -> None:
    id_ = executions.running()
    commands = [
        {"command": "updateProgress", "execution": id_, "progress": n % 100} for n in range(600)
    ]
    ok(api.post("/commands", json=commands))
    executions.tell(id_, "checkpoints", state={"page": 3})
    assert read_verification(api, id_)["fits"]
    with tampered(server.conninfo, CHANGED_SNAPSHOT.replace("{id}", id_)):
        found = read_verification(api, id_)
        assert [fault["part"] for fault in found["faults"]] == ["snapshots"]


CHANGED_SNAPSHOT = """UPDATE snapshots SET state = convert_to(replace(
        convert_from(state, 'UTF8'), '"acme"', '"evil"'), 'UTF8') WHERE originator_id = 'execution/{id}';
    UPDATE snapshots SET digest = snapshot_digest(originator_id, originator_version, position, shape,
        state) WHERE originator_id = 'execution/{id}'"""
KEY_GONE = "DELETE FROM data_keys WHERE originator_id = 'execution/{id}'"
KEY_DAMAGED = """UPDATE data_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)
    WHERE originator_id = 'execution/{id}'"""
ROW = "UPDATE executions_ended SET {} WHERE id = '{{id}}'"
OPEN = "UPDATE execution_states SET {} WHERE id = '{{id}}'"
EVENT = "UPDATE events SET {} WHERE originator_id = 'execution/{{id}}' AND originator_version = {}"
SIGNED = ("audit", "leaf")
CHANGES: dict[str, tuple[str, set[tuple[str, str | None]]]] = {
    EVENT.format("state = state || ' '", 2): ("ended", {SIGNED}),
    EVENT.format("at = at + interval '1 us'", 1): ("ended", {SIGNED}),
    EVENT.format("meta = replace(meta, 'admin', 'other')", 1): ("ended", {SIGNED}),
    EVENT.format("topic = 'execution.no.such'", 2): ("ended", {SIGNED}),
    EVENT.format("state = '{\"x\":1}'", 2): ("ended", {SIGNED, ("log", None)}),
    "DELETE FROM events WHERE originator_id = 'execution/{id}' AND originator_version = 2": (
        "ended",
        {("log", "version")},
    ),
    ROW.format("customer = 'evil'"): ("ended", {("executions", "customer")}),
    ROW.format("position = position + 1, tags = '{x}'"): (
        "ended",
        {("executions", "position"), ("executions", "tags")},
    ),
    ROW.format("metadata = metadata || '{\"n\":1}'"): ("ended", {("executions", "metadata")}),
    ROW.format("version = version - 1"): ("ended", {("executions", "version")}),
    ROW.format("version = version + 1"): ("ended", {("executions", "version")}),
    "DELETE FROM executions_ended WHERE id = '{id}'": ("ended", {("executions", "version")}),
    "DELETE FROM execution_documents WHERE id = '{id}'": ("ended", {("executions", "document")}),
    "UPDATE execution_documents SET document = document || ' ' WHERE id = '{id}'": (
        "ended",
        {("executions", "document")},
    ),
    OPEN.format("version = version - 1"): ("open_", {("executions", "state")}),
    OPEN.format("state = state || ' '"): ("open_", {("executions", "state")}),
    "UPDATE executions_open SET progress = 99 WHERE id = '{id}'": (
        "open_",
        {("executions", "progress")},
    ),
    "UPDATE audit_tiles SET hashes = substr(hashes, 33)": ("ended", {("audit", None)}),
    "UPDATE audit_head SET note = translate(note, '0123456789abc', '1234567890bca')": (
        "ended",
        {("audit", None)},
    ),
    "UPDATE audit_head SET root = sha256('x')": ("ended", {("audit", None), ("audit", "path")}),
}


@pytest.mark.parametrize("statement", CHANGES)
def test_changed_byte_is_reported_with_its_row(
    api: httpx.Client, server: Serving, request: pytest.FixtureRequest, statement: str
) -> None:
    name, expected = CHANGES[statement]
    id_ = request.getfixturevalue(name)
    assert read_verification(api, id_)["fits"]
    for _ in range(3):  # a tree that grows meanwhile would sign a new head
        with tampered(server.conninfo, statement.replace("{id}", id_)):
            found = ok(api.get(f"/executions/{id_}/verify"))
        if not found["fits"]:
            break
    named = {(fault["part"], fault.get("member")) for fault in found["faults"]}
    assert not found["fits"]
    assert expected <= named, found["faults"]


def test_destroyed_data_key_is_not_a_fault(api: httpx.Client, server: Serving, ended: str) -> None:
    assert read_verification(api, ended)["fits"]
    with tampered(server.conninfo, KEY_GONE.replace("{id}", ended)):
        server.system.store.keyring.forget()
        assert ok(api.get(f"/executions/{ended}/verify"))["fits"]
    with tampered(server.conninfo, KEY_DAMAGED.replace("{id}", ended)):
        server.system.store.keyring.forget()
        found = ok(api.get(f"/executions/{ended}/verify"))
        assert [fault["part"] for fault in found["faults"]] == ["keys"]
    server.system.store.keyring.forget()


def test_view_that_is_rebuilt_is_not_a_fault(
    api: httpx.Client, server: Serving, ended: str
) -> None:
    """As during a rebuild at a start: no row yet, and a bookmark before the events."""
    assert read_verification(api, ended)["fits"]
    gone = "DELETE FROM executions_ended; DELETE FROM execution_documents"
    other_form = "UPDATE bookmarks SET form = 'x' WHERE view = 'executions'"
    with tampered(server.conninfo, f"{gone}; {other_form}"):
        found = ok(api.get(f"/executions/{ended}/verify"))
        assert found["fits"]
        assert found["readModel"]["version"] == 0


def test_unknown_execution_is_not_found(api: httpx.Client) -> None:
    refused(api.get("/executions/none/verify"), 404, "not-found")
    refused(
        api.get("/executions/none/verify?minPosition=99999", headers={"Prefer": "wait=0"}),
        504,
        "not-yet-visible",
    )


@pytest.mark.parametrize("ends", [True, False])
def test_erased_execution_has_no_fault(
    api: httpx.Client, executions: Executions, ends: bool
) -> None:
    id_ = executions.running()
    executions.tell(id_, "checkpoints", state={"page": 3})
    commands = [
        {"command": "updateProgress", "execution": id_, "progress": n % 100} for n in range(510)
    ]
    ok(api.post("/commands", json=commands))
    if ends:
        executions.tell(id_, "complete", success=True, output={"secret": "x" * 3_000}, summary="s")
    assert read_verification(api, id_)["fits"]
    ok(api.post(f"/executions/{id_}/erase", json={"reason": "asked for"}))
    found = read_verification(api, id_)
    assert found["faults"] == []
    assert found["proven"] == found["events"]
