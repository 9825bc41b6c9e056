"""A server, when it starts, resets views whose rows may be outdated; nothing else does."""

from __future__ import annotations

import psycopg
import pytest
import structlog

from domain import registry
from projections.engine.migrations import migrate_projections
from projections.executions.projection import Executions
from tests.support.event_writer import Log, opened, some
from tests.support.rebuilds import ask, bookmark, differences, follow, rows

pytestmark = pytest.mark.anyio

LOSSES = {
    "its bookmark was lost": "DELETE FROM bookmarks",
    "its bookmark was ahead of the log": "UPDATE bookmarks SET position = position + 1",
    "its rows had another form": "UPDATE bookmarks SET form = 'other'",
}


@pytest.mark.parametrize("reason", LOSSES)
async def test_outdated_view_is_reset_and_the_reason_is_logged(views: str, reason: str) -> None:
    view = Executions(registry.codec())
    async with opened(views) as store:
        await Log(store).write(some(3))
        await follow(views, store)
        ask(views, LOSSES[reason])
        ask(views, "UPDATE executions SET service = 'damaged'")
        migrate_projections(views, "executions", [view], begin_again=False)
        assert len(rows(views)) == 3
        with structlog.testing.capture_logs() as logs:
            migrate_projections(views, "executions", [view])
        assert [(log["view"], log["reason"]) for log in logs] == [("executions", reason)]
        assert rows(views) == []
        assert bookmark(views)[0] == 0
        await follow(views, store)
        assert await differences(views, store) == []


def test_first_start_logs_no_reset(database: str) -> None:
    with structlog.testing.capture_logs() as logs:
        migrate_projections(database, "executions", [Executions(registry.codec())])
    assert logs == []


def test_missing_tables_are_created_even_if_no_view_may_be_reset(
    database: str,
) -> None:
    migrate_projections(database, "executions", [Executions(registry.codec())], begin_again=False)
    assert rows(database) == []
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(database, "SELECT FROM catalog")
