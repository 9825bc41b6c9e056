"""Ids of executions whose path would be that of another route are refused."""

from __future__ import annotations

import httpx
import pytest

from api.client.ids import TAKEN
from tests.support.api_client import Catalog, ok, refused
from tests.support.operations import OPERATIONS


@pytest.mark.parametrize("identity", TAKEN)
def test_id_that_is_the_path_of_a_route_is_refused(
    api: httpx.Client, catalog: Catalog, identity: str
) -> None:
    ids = {"order": catalog.order, "service": catalog.service}
    problem = refused(api.post("/executions", json={"$id": identity, **ids}), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["$id"]
    many = [{"command": "create", "execution": identity, **ids}]
    (outcome,) = api.post("/commands", json=many).json()
    assert outcome["status"] == 422
    assert [error["path"] for error in outcome["problem"]["errors"]] == ["execution"]
    order = {"service": catalog.service, "customer": catalog.customer}
    confirm = f"/orders/{ok(api.post('/orders', json=order))['$id']}/confirm"
    problem = refused(api.post(confirm, json={"execution": identity}), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["execution"]
    user = {"$id": identity, "name": "Ann", "kind": "person"}
    problem = refused(api.post("/users", json=user), 422, "invalid")
    assert [error["path"] for error in problem["errors"]] == ["$id"]


def test_every_route_below_executions_is_a_reserved_id() -> None:
    paths = {tuple(operation.path.split("/")[1:3]) for operation in OPERATIONS}
    names = {path[1] for path in paths if path[0] == "executions" and len(path) > 1}
    assert names - {"{id}"} <= set(TAKEN)
