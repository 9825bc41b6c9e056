"""A view whose rows nobody can vouch for begins again at the start of a server, and only there."""

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
async def test_view_begins_again_and_says_why(views: str, reason: str) -> None:
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


def test_first_start_says_nothing(database: str) -> None:
    with structlog.testing.capture_logs() as logs:
        migrate_projections(database, "executions", [Executions(registry.codec())])
    assert logs == []


def test_tables_are_made_by_who_lets_no_view_begin_again_where_there_are_none(
    database: str,
) -> None:
    migrate_projections(database, "executions", [Executions(registry.codec())], begin_again=False)
    assert rows(database) == []
    with pytest.raises(psycopg.errors.UndefinedTable):
        ask(database, "SELECT FROM catalog")
