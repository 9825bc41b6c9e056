"""`POST /users/:id/erase`: a job erases everything without a hold; its receipt lists both."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.support.api_client import JSON, Catalog, ok, refused

WORD = "Sesame"
REASON = {"reason": "Jane asked for it"}


@pytest.fixture
def customer(api: httpx.Client, catalog: Catalog) -> str:
    """A customer with three ended executions, one running execution, and two orders, one of them without executions."""
    id_ = f"jane-{time.monotonic_ns()}"
    ok(api.post("/users", json={"$id": id_, "name": "Jane", "kind": "person"}))
    order = {"$id": f"order-{id_}", "service": catalog.service, "customer": id_}
    for id_of in (order["$id"], f"{order['$id']}-2"):
        ok(api.post("/orders", json={**order, "$id": id_of, "params": {"note": WORD}}))
    for number in range(4):
        made = {"$id": f"{id_}-{number}", "order": f"order-{id_}", "service": catalog.service}
        ok(api.post("/executions", json={**made, "status": "running"}))
        if number:
            body = {"success": True, "output": WORD, "summary": WORD}
            ok(api.post(f"/executions/{id_}-{number}/complete", json=body))
    return id_


def wait_for_end(api: httpx.Client, job: str) -> JSON:
    """Wait until the job has ended; return it."""
    deadline = time.monotonic() + 30
    while (shown := ok(api.get(f"/jobs/{job}")))["status"] == "running":
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    return shown


def erase(api: httpx.Client, customer: str) -> JSON:
    position = ok(api.get(f"/executions/{customer}-3"))["position"]
    asked = {"minPosition": position}
    answer = api.post(f"/users/{customer}/erase", json=REASON, params=asked)
    assert answer.status_code == 202
    return wait_for_end(api, ok(answer)["$id"])


def test_customer_is_erased_and_the_receipt_lists_erased_and_held_subjects(
    api: httpx.Client, customer: str, completed_execution: str
) -> None:
    kept = f"{customer}-2"
    hold = ok(api.post("/holds", json={"executions": [kept], "reason": "Audit"}))["$id"]
    job = erase(api, customer)
    assert (job["matching"], job["done"], job["refused"]) == (6, 4, 2)
    receipt = ok(api.get(f"/jobs/{job['$id']}/receipt"))
    assert sorted(receipt["erased"]) == [f"{customer}-{number}" for number in (0, 1, 3)]
    assert receipt["orders"] == [f"order-{customer}-2"]
    refusal, of_order = receipt["kept"]
    assert (refusal["execution"], refusal["code"], refusal["holds"]) == (kept, "held", [hold])
    assert (of_order["order"], of_order["code"]) == (f"order-{customer}", "held")
    assert (of_order["holds"], "execution" in of_order) == ([hold], False)
    assert ok(api.get(f"/orders/order-{customer}"))["params"] == {"note": WORD}
    assert ok(api.get(f"/orders/order-{customer}-2"))["params"] is None
    assert (receipt["customer"], receipt["requestedBy"]) == (customer, "admin")
    assert (receipt["reason"], receipt["status"]) == (REASON["reason"], "completed")
    assert not receipt["hasMore"]
    for number in range(4):
        shown = ok(api.get(f"/executions/{customer}-{number}"))
        assert shown.get("erased", False) == (number != 2)
    assert ok(api.get(f"/executions/{customer}-0"))["status"] == "cancelled"
    assert ok(api.get(f"/executions/{kept}"))["result"]["summary"] == WORD
    assert "erased" not in ok(api.get(f"/executions/{completed_execution}"))
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "over"}))
    again = erase(api, customer)
    assert (again["done"], again["refused"]) == (6, 0)
    assert ok(api.get(f"/orders/order-{customer}"))["erased"] is True
    assert ok(api.get(f"/executions/{kept}"))["erased"] is True


def test_receipt_names_the_events_of_the_erasures(api: httpx.Client, customer: str) -> None:
    job = erase(api, customer)
    receipt = ok(api.get(f"/jobs/{job['$id']}/receipt"))
    assert receipt["positions"][-1] == job["position"]


def test_order_of_another_customer_is_not_erased(
    api: httpx.Client, catalog: Catalog, customer: str
) -> None:
    body = {"service": catalog.service, "customer": catalog.customer, "params": {"note": WORD}}
    other = ok(api.post("/orders", json=body))
    erase(api, customer)
    assert ok(api.get(f"/orders/{other['$id']}"))["params"] == {"note": WORD}


def test_unknown_customer_and_receipt_of_an_unknown_job_are_not_found(api: httpx.Client) -> None:
    refused(api.post("/users/no-such/erase", json=REASON), 404, "not-found")
    refused(api.get("/jobs/no-such/receipt"), 404, "not-found")


def test_erase_is_refused_as_a_bulk_command(api: httpx.Client) -> None:
    body = {"command": "erase", "filter": {}, "reason": "all of it"}
    refused(api.post("/executions/bulk", json=body), 422, "invalid")
