"""Lists of the catalog: entries as clients see them, by kind, within the scope of the caller."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson
import pytest
from psycopg import AsyncConnection

from domain.access.grant import GrantCreated, GrantRevoked
from domain.access.key import KeyCreated
from domain.catalog.order import OrderConfirmed, OrderCreated
from domain.catalog.service import ServiceCreated
from domain.catalog.user import UserCreated
from domain.catalog.workflow import WorkflowCreated, WorkflowStep
from domain.errors import Invalid
from domain.model import Event, Recorded
from projections.catalog import Catalog, CatalogPage
from projections.executions.columns import field
from projections.query.parser import from_json
from projections.representations.catalog import order_document, service_document, user_document
from tests.support.given import NOON
from tests.support.random_logs import CODEC, followed, rows, states

pytestmark = pytest.mark.anyio


def log_of(*happened: tuple[str, Event]) -> list[Recorded]:
    versions: dict[str, int] = {}
    log = []
    for position, (stream, event) in enumerate(happened, 1):
        versions[stream] = versions.get(stream, 0) + 1
        log.append(Recorded(stream, versions[stream], position, NOON, event, "t"))
    return log


def ordered(customer: str, provider: str = "p-1") -> OrderCreated:
    return OrderCreated(service="s-1", customer=customer, provider=provider, params={"a": [1, 2.5]})


LOG = log_of(
    ("user/p-1", UserCreated(name="Acme", kind="organization")),
    ("user/c-1", UserCreated(name="Ada", kind="person")),
    ("workflow/w-1", WorkflowCreated(name="W", steps=(WorkflowStep(id="a", name="A"),))),
    ("service/s-1", ServiceCreated(name="Outreach", provider="p-1", workflow="w-1")),
    ("service/s-2", ServiceCreated(name="Research", provider="p-2")),
    ("order/o-1", ordered("c-1")),
    ("order/o-2", ordered("c-2")),
    ("order/o-3", ordered("c-1", "p-2")),
    ("order/o-2", OrderConfirmed(execution="e-1")),
)


async def list_entries(
    connection: AsyncConnection, kind: str, only: Mapping[str, str] | None = None, **more: Any
) -> list[str]:
    page = await Catalog(CODEC).list(connection, kind, only or {}, **more)
    return [entry.id for entry in page.data]


async def documents(view: Catalog, connection: AsyncConnection, kind: str) -> list[Any]:
    return [orjson.loads(entry.document) for entry in (await view.list(connection, kind, {})).data]


@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_catalog_entries_equal_their_folded_streams(database: str, page: int) -> None:
    by_id = {versioned.state.id: versioned for versioned in states(LOG)}
    async with followed(database, Catalog(CODEC), LOG, page) as connection:
        view = Catalog(CODEC)
        orders = await documents(view, connection, "order")
        services = await documents(view, connection, "service")
        users = await documents(view, connection, "user")
    assert orders == [order_document(by_id[identity]) for identity in ("o-1", "o-2", "o-3")]
    assert services == [service_document(by_id[identity]) for identity in ("s-1", "s-2")]
    assert users == [user_document(by_id[identity]) for identity in ("c-1", "p-1")]
    assert orders[1]["execution"] == "e-1"


async def test_page_size_changes_no_entry(database: str) -> None:
    tables = []
    for size in (1, 3, 1000):
        async with followed(database, Catalog(CODEC), LOG, size) as connection:
            tables.append(await rows(connection, "catalog"))
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize(
    ("kind", "only", "found"),
    [
        ("order", {"status": "pending"}, ["o-1", "o-3"]),
        ("order", {"customer": "c-1", "status": "pending"}, ["o-1", "o-3"]),
        ("order", {"execution": "e-1"}, ["o-2"]),
        ("service", {"workflow": "w-1"}, ["s-1"]),
        ("user", {"kind": "person"}, ["c-1"]),
        ("workflow", {"name": "W"}, ["w-1"]),
        ("workflow", {"name": "w"}, []),
    ],
)
async def test_entries_are_found_by_their_members(
    database: str, kind: str, only: Mapping[str, str], found: list[str]
) -> None:
    async with followed(database, Catalog(CODEC), LOG) as connection:
        assert await list_entries(connection, kind, only) == found


@pytest.mark.parametrize(
    ("kind", "scope", "found"),
    [
        ("order", {"customer": "c-1"}, ["o-1", "o-3"]),
        ("order", {"customer": "c-1", "provider": "p-1"}, ["o-1"]),
        ("order", {"$or": [{"customer": "c-1"}, {"provider": "p-1"}]}, ["o-1", "o-2", "o-3"]),
        ("order", {"$not": {}}, []),
        ("service", {"provider": "p-2"}, ["s-2"]),
        ("service", {"customer": "c-1"}, []),
    ],
)
async def test_scope_shows_only_own_entries(
    database: str, kind: str, scope: Mapping[str, Any], found: list[str]
) -> None:
    async with followed(database, Catalog(CODEC), LOG) as connection:
        assert await list_entries(connection, kind, scope=from_json(scope, field)) == found


async def test_only_existing_and_visible_entries_are_listed(database: str) -> None:
    async with followed(database, Catalog(CODEC), LOG) as connection:
        assert await list_entries(connection, "order", ids={"o-1", "none"}) == ["o-1"]
        assert await list_entries(connection, "order", ids=()) == []


async def test_pages_show_every_entry_once(database: str) -> None:
    log = log_of(*((f"user/u-{n}", UserCreated(name="U", kind="person")) for n in range(25)))
    async with followed(database, Catalog(CODEC), log) as connection:
        page, seen = CatalogPage([], "", 0), list[str]()
        while page.next_cursor is not None:
            page = await Catalog(CODEC).list(
                connection, "user", {}, limit=10, cursor=page.next_cursor
            )
            seen += (entry.id for entry in page.data)
    assert sorted(seen) == seen
    assert len(set(seen)) == len(seen) == 25


async def test_unknown_member_in_a_query_is_refused(database: str) -> None:
    async with followed(database, Catalog(CODEC), LOG) as connection:
        with pytest.raises(Invalid):
            await list_entries(connection, "user", {"customer": "c-1"})


def grant(customer: str | None, *, days: int) -> GrantCreated:
    later = NOON + timedelta(days=days)
    return GrantCreated(
        auditor="ann", order="o-1", customer=customer, purpose="Audit", expires_at=later
    )


GRANTS = log_of(
    ("grant/g-1", grant("c-1", days=1)),
    ("grant/g-2", grant("c-1", days=3)),
    ("grant/g-3", grant("c-1", days=3)),
    ("grant/g-4", grant("c-2", days=3)),
    ("grant/g-5", grant(None, days=3)),
    ("grant/g-3", GrantRevoked()),
    ("key/k-1", KeyCreated(role="operator", digest="d-1", expires_at=NOON + timedelta(days=1))),
    ("key/k-2", KeyCreated(role="operator", digest="d-2")),
)
TOMORROW = NOON + timedelta(days=1)


@pytest.mark.parametrize(
    ("kind", "status", "found"),
    [
        ("grant", "active", ["g-2", "g-4", "g-5"]),
        ("grant", "expired", ["g-1"]),
        ("grant", "revoked", ["g-3"]),
        ("key", "active", ["k-2"]),
        ("key", "expired", ["k-1"]),
    ],
)
async def test_expired_entry_is_found_by_its_present_status(
    database: str, kind: str, status: str, found: list[str]
) -> None:
    async with followed(database, Catalog(CODEC), GRANTS, 1000) as connection:
        view = Catalog(CODEC)
        page = await view.list(connection, kind, {"status": status}, now=TOMORROW)
        whole = await view.list(connection, kind, {}, now=TOMORROW)
        before = await view.list(connection, kind, {"status": "expired"}, now=NOON)
    assert [entry.id for entry in page.data] == found
    assert {orjson.loads(entry.document)["status"] for entry in page.data} == {status}
    shown = {entry.id: orjson.loads(entry.document)["status"] for entry in whole.data}
    assert [id_ for id_, each in shown.items() if each == status] == found
    assert before.data == []


@pytest.mark.parametrize(
    ("customer", "open_grants"), [("c-1", 1), ("c-2", 1), (None, 1), ("c-3", 0)]
)
async def test_open_grants_are_counted_by_their_owner(
    database: str, customer: str | None, open_grants: int
) -> None:
    async with followed(database, Catalog(CODEC), GRANTS, 1000) as connection:
        assert await Catalog(CODEC).open_grants(connection, customer, None, TOMORROW) == open_grants
