"""A page of several logs: each log is asked for its share, and once more if that was too little."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.access.identity import ANONYMOUS
from api.cells.client import CellClient
from api.cells.directory import Directory
from api.cells.merge import share
from api.routes.cells.asking import Asking
from api.routes.cells.executions import CellHandlers
from api.web.request import Request
from api.web.responses import page
from projections.query.pagination import decode_cursor, encode_cursor
from tests.support.scripted_logs import ScriptedQuestions

JSON = dict[str, Any]
LIMIT = 20
NAMES = ("east", "north", "south")
LOGS = st.fixed_dictionaries(
    {}, optional={name: st.integers(0, 2 * LIMIT + 1) for name in NAMES}
).filter(bool)


class Logs:
    """Logs with rows in the order of their names; each records its requests."""

    def __init__(self, rows: dict[str, list[str]], silent: int | None = None) -> None:
        self.rows = {name: sorted(ids) for name, ids in rows.items()}
        self.asked: list[tuple[str, int]] = []
        self._silent = silent
        urls = {name: f"http://{name}.example" for name in rows}
        client = CellClient(questions=partial(ScriptedQuestions, self._answer))
        self._handlers = CellHandlers(Asking(Directory(None, urls), client))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if len(self.asked) == self._silent:
            return httpx.Response(503)
        name, query = request.url.host.partition(".")[0], request.url.params
        limit = int(query["limit"])
        self.asked.append((name, limit))
        last = decode_cursor(query["cursor"])[2] if "cursor" in query else ""
        behind = [each for each in self.rows[name] if each > last]
        shown = behind[:limit]
        cursors = [encode_cursor(["$id", "", each]) for each in shown]
        following = cursors[-1] if len(behind) > limit else None
        items = [orjson.dumps({"$id": each}) for each in shown]
        text = page(items, following, members={"cursors": cursors}, lengths=True)
        return httpx.Response(200, content=text)

    def page(self, cursor: str | None = None, **query: str) -> JSON:
        asked = httpx.QueryParams(
            {"sort": "$id", "limit": LIMIT, **query, **({"cursor": cursor} if cursor else {})}
        )
        scope = {
            "path": "/cells/executions",
            "path_params": {},
            "query_string": str(asked).encode(),
            "state": {"headers": {b"authorization": b"Bearer x"}},
        }
        found: JSON = {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                found.update(orjson.loads(message["body"]))

        async def answer() -> None:
            app = await self._handlers.executions(Request(scope, ANONYMOUS))
            await app({"type": "http"}, _nothing, send)

        anyio.run(answer)
        return found


async def _nothing() -> Any:
    raise AssertionError("there is no body")


@given(LOGS, st.randoms(use_true_random=False))
def test_pages_are_full_and_exact_for_any_distribution_of_rows(
    logs: dict[str, int], chance: Any
) -> None:
    every = [f"{number:03}" for number in range(sum(logs.values()))]
    left = list(every)
    chance.shuffle(left)
    there = Logs({name: [left.pop() for _ in range(count)] for name, count in logs.items()})
    shown: list[str] = []
    cursor = None
    while True:
        found = there.page(cursor)
        shown += [row["$id"] for row in found["data"]]
        assert len(found["data"]) == min(LIMIT, len(every) - len(shown) + len(found["data"]))
        if not found["hasMore"]:
            break
        cursor = found["nextCursor"]
    assert shown == every


def test_log_is_asked_for_its_share_and_once_more_for_missing_rows() -> None:
    ids = [f"{number:03}" for number in range(3 * LIMIT)]
    there = Logs({"north": ids[: 2 * LIMIT], "south": ids[2 * LIMIT :]})
    assert [row["$id"] for row in there.page(count="true")["data"]] == ids[:LIMIT]
    first = share(LIMIT, 2)
    assert LIMIT / 2 < first < LIMIT
    assert sorted(there.asked[:2]) == [("north", first), ("south", first)]
    assert there.asked[2:] == [("north", LIMIT - first)]


def test_page_ends_early_if_a_log_is_unavailable_at_the_second_request() -> None:
    ids = [f"{number:03}" for number in range(2 * LIMIT)]
    there = Logs({"north": ids, "south": ["900"]}, silent=2)
    found = there.page()
    assert [row["$id"] for row in found["data"]] == ids[: share(LIMIT, 2)]
    assert found["hasMore"] is True
    there = Logs({"north": ids, "south": ["900"]})
    second = there.page(found["nextCursor"])["data"]
    assert [row["$id"] for row in second] == ids[share(LIMIT, 2) :][:LIMIT]


@pytest.mark.parametrize("logs", [1, 2, 3, 16, 100])
@pytest.mark.parametrize("limit", [1, 2, 50, 500])
def test_shares_of_all_logs_are_at_least_a_page_and_each_at_most_one(limit: int, logs: int) -> None:
    assert limit <= logs * share(limit, logs)
    assert share(limit, logs) <= limit
    assert share(limit, 1) == limit
