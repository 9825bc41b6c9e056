"""`POST /orders/:id/erase`: its answer, its refusals, and all reads of the order after the erasure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import httpx
import pytest

from tests.support.api_client import Catalog, Executions, ok, recorded_event, refused

WORD = "Sesame"
REASON = {"reason": "Jane asked for it"}
NUMBERS = count()


@pytest.fixture
def order(api: httpx.Client, catalog: Catalog) -> str:
    """An order whose parameters contain the word."""
    id_ = f"written-{next(NUMBERS)}"
    body = {"$id": id_, "service": catalog.service, "customer": catalog.customer}
    ok(api.post("/orders", json={**body, "params": {"note": WORD}}))
    return id_


@pytest.fixture
def execution(api: httpx.Client, catalog: Catalog, order: str) -> str:
    """A queued execution of that order."""
    created = ok(api.post("/executions", json={"order": order, "service": catalog.service}))
    return str(created["$id"])


@pytest.fixture
def held(api: httpx.Client, execution: str) -> Iterator[str]:
    """A hold on the execution only."""
    hold = ok(api.post("/holds", json={"executions": [execution], "reason": "Audit"}))["$id"]
    yield hold
    api.request("DELETE", f"/holds/{hold}", json={"reason": "over"})


def test_answer_has_null_for_the_parameters_and_is_marked_erased(
    api: httpx.Client, order: str
) -> None:
    shown = ok(api.post(f"/orders/{order}/erase", json=REASON))
    assert (shown["params"], shown["erased"], shown["status"]) == (None, True, "cancelled")
    assert ok(api.get(f"/orders/{order}"))["erased"] is True


def test_order_that_was_confirmed_stays_confirmed(api: httpx.Client, order: str) -> None:
    ok(api.post(f"/orders/{order}/confirm"))
    assert ok(api.post(f"/orders/{order}/erase", json=REASON))["status"] == "confirmed"


def test_no_read_shows_the_parameters(api: httpx.Client, order: str, execution: str) -> None:
    past = ok(api.get(f"/executions/{execution}?version=1&expand=order"))["order"]
    assert past["params"] == {"note": WORD}
    erased = ok(api.post(f"/orders/{order}/erase", json=REASON))
    for path in (
        f"/orders/{order}",
        f"/orders?limit=500&minPosition={erased['position']}",
        f"/executions/{execution}/order",
        *(f"/executions/{execution}?expand=order{at}" for at in ("", "&version=1")),
        f"/executions?expand=order&order={order}&minPosition={erased['position']}",
    ):
        answer = api.get(path)
        assert answer.is_success, path
        assert WORD not in answer.text, path


def test_order_within_its_execution_is_marked_erased_and_the_execution_is_not(
    api: httpx.Client, order: str, execution: str
) -> None:
    erased = ok(api.post(f"/orders/{order}/erase", json=REASON))
    for path in (
        f"/executions/{execution}?expand=order",
        f"/executions/{execution}?expand=order&version=1",
    ):
        answer = api.get(path)
        shown = ok(answer)
        assert (shown["order"]["params"], shown["order"]["erased"]) == (None, True)
        assert "erased" not in shown
        assert "immutable" not in answer.headers["cache-control"]
    since = f"&minPosition={erased['position']}"
    [listed] = ok(api.get(f"/executions?expand=order&order={order}{since}"))["data"]
    assert (listed["order"]["erased"], "unreadable" in listed) == (True, False)


def test_second_erasure_changes_nothing_and_is_refused_with_another_reason(
    api: httpx.Client, order: str
) -> None:
    first = ok(api.post(f"/orders/{order}/erase", json=REASON))
    assert ok(api.post(f"/orders/{order}/erase", json=REASON))["version"] == first["version"]
    refused(api.post(f"/orders/{order}/erase", json={"reason": "Another"}), 409, "erased")


def test_erasure_is_refused_by_a_hold_on_an_execution_of_the_order(
    api: httpx.Client, order: str, held: str
) -> None:
    problem = refused(api.post(f"/orders/{order}/erase", json=REASON), 409, "held")
    assert problem["holds"] == [held]
    assert ok(api.get(f"/orders/{order}"))["params"] == {"note": WORD}
    ok(api.request("DELETE", f"/holds/{held}", json={"reason": "over"}))
    ok(api.post(f"/orders/{order}/erase", json=REASON))


@pytest.mark.parametrize("scope", ["order", "service", "customer"])
def test_erasure_is_refused_by_a_hold_on_the_order_service_or_customer(
    api: httpx.Client, catalog: Catalog, order: str, scope: str
) -> None:
    of = {"order": order, "service": catalog.service, "customer": catalog.customer}[scope]
    hold = ok(api.post("/holds", json={scope: of, "reason": "Audit"}))["$id"]
    problem = refused(api.post(f"/orders/{order}/erase", json=REASON), 409, "held")
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "over"}))
    assert problem["holds"] == [hold]


def test_erasure_is_accepted_with_a_hold_on_an_execution_of_another_order(
    api: httpx.Client, order: str, executions: Executions
) -> None:
    other = executions.create()["$id"]
    hold = ok(api.post("/holds", json={"executions": [other], "reason": "Audit"}))["$id"]
    ok(api.post(f"/orders/{order}/erase", json=REASON))
    ok(api.request("DELETE", f"/holds/{hold}", json={"reason": "over"}))


def test_no_read_shows_the_reason_of_its_cancellation(
    api: httpx.Client, order: str, execution: str
) -> None:
    cancelled = ok(api.post(f"/orders/{order}/cancel", json={"reason": "Mimosa"}))
    erased = ok(api.post(f"/orders/{order}/erase", json=REASON))
    assert (erased["cancellation"]["reason"], erased["cancellation"]["by"]) == (None, "admin")
    for path in (
        f"/orders/{order}",
        f"/orders?limit=500&minPosition={erased['position']}",
        f"/executions/{execution}?expand=order",
    ):
        answer = api.get(path)
        assert answer.is_success, path
        assert "Mimosa" not in answer.text, path
    assert "Mimosa" not in recorded_event(api, cancelled["position"])


def test_reason_of_a_cancellation_of_an_erased_order_is_not_stored(
    api: httpx.Client, order: str
) -> None:
    ok(api.post(f"/orders/{order}/confirm"))
    ok(api.post(f"/orders/{order}/erase", json=REASON))
    refused(api.post(f"/orders/{order}/cancel", json={"reason": WORD}), 409, "erased")
    assert ok(api.post(f"/orders/{order}/cancel", json={}))["status"] == "cancelled"
