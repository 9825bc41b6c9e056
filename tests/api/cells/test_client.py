"""Requests to the servers of other logs: usable answers, refusals, and logs that are unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from api.cells.client import MOST_ASKED, Asked, CellClient, CellRequest
from api.cells.merge import OTHER_BUILD, CellPage
from api.cells.order import CellOrder
from api.cells.remote import LARGEST
from api.cells.sums import sums_of
from domain.errors import DomainError, Overloaded
from projections.query.pagination import encode_cursor
from tests.support.scripted_logs import ScriptedQuestions

pytestmark = pytest.mark.anyio

URLS = {name: f"http://{name}.example" for name in ("north", "south")}
PAGE: dict[str, Any] = {"data": [], "cursors": [], "hasMore": False}
AT = "2026-11-29T12:00:00.000000Z"
PAGE_OF = partial(CellPage.of, CellOrder.of("-priority"))
REQUEST = CellRequest("/api/executions", {"authorization": "Bearer x"}, PAGE_OF)
Answers = Callable[[httpx.Request], Any]


def page(*places: list[Any]) -> dict[str, Any]:
    cursors = [encode_cursor(["-priority", "filter", *place]) for place in places]
    return {"data": [{} for _ in places], "cursors": cursors, "hasMore": False}


def answering(
    answers: Answers, seconds: float = 5.0, now: Callable[[], float] = float
) -> CellClient:
    return CellClient(questions=partial(ScriptedQuestions, answers), seconds=seconds, steady=now)


async def ask(client: CellClient, *names: str, question: CellRequest = REQUEST) -> dict[str, Asked]:
    return await client.ask(URLS, {name: [] for name in names}, question)


async def forever() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0.01)
        yield b" "


async def test_log_whose_answer_does_not_end_is_unavailable() -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.host == "south.example":
            return httpx.Response(200, content=forever())
        return httpx.Response(200, json=PAGE, headers={"log-position": "7"})

    found = await ask(answering(answers, 0.2), "north", "south")
    assert (found["north"].position, found["north"].away) == (7, None)
    assert "within 0.2 seconds" in str(found["south"].away)


async def test_document_keeps_the_digits_of_its_numbers() -> None:
    row = '{"n":123456789012345678901,"cost":12345678901234567.01,"share":0.1,"id":"1234567890.1234567890"}'
    cursor = encode_cursor(["-priority", "filter", 1, AT, "a"])
    page = f'{{"data":[{row}],"cursors":["{cursor}"],"hasMore":false}}'
    found = await ask(answering(lambda _: httpx.Response(200, text=page)), "north")
    assert found["north"].body.rows[0].decode() == row


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 500, "json": {"detail": "broken"}},
        {"status_code": 302},
        {"status_code": 429},
        {"status_code": 404, "text": "<html>"},
        {"status_code": 200, "text": "<html>"},
        {"status_code": 200, "json": []},
        {"status_code": 200, "json": {"data": []}},
        {"status_code": 200, "json": {**PAGE, "data": [{}]}},
        {"status_code": 200, "json": {**PAGE, "data": [{}], "cursors": ["x"]}},
        {"status_code": 200, "json": {**PAGE, "data": [{}], "cursors": [encode_cursor([])]}},
        {"status_code": 200, "json": page(["low", AT, "a"])},
        {"status_code": 200, "json": page([1, 1, "a"])},
        {"status_code": 200, "json": {**page([1, AT, "a"]), "data": [7]}},
        {"status_code": 200, "json": PAGE, "headers": {"log-position": "x"}},
        {"status_code": 200, "content": b" " * (LARGEST + 1)},
    ],
)
@pytest.mark.parametrize("read", [PAGE_OF, sums_of])
async def test_log_with_an_invalid_answer_is_unavailable(
    answer: dict[str, Any], read: Callable[[bytes], Any]
) -> None:
    client = answering(lambda _: httpx.Response(**answer))
    [found] = (await ask(client, "north", question=REQUEST._replace(read=read))).values()
    assert (found.body, bool(found.away)) == (None, True)


@pytest.mark.parametrize(
    "places",
    [
        *([[1, "a"]], [[1, AT, AT, "a"]]),
        *([[1, AT, "a"], [2, AT, "b"]], [[1, AT, "a"], [1, AT, "b"]], [[1, AT, "a"], [1, AT, "a"]]),
    ],
)
async def test_log_of_another_build_with_another_sort_order_is_unavailable_for_that_reason(
    places: list[list[Any]],
) -> None:
    answer = page(*places)
    [found] = (await ask(answering(lambda _: httpx.Response(200, json=answer)), "north")).values()
    assert found.away == OTHER_BUILD


async def test_refusal_of_a_log_keeps_its_members() -> None:
    problem = {
        "type": "/problems/too-expensive",
        "title": "x",
        "status": 422,
        "detail": "Ask less.",
    }
    more = {"indexedFields": ["status"], "errors": []}
    client = answering(lambda _: httpx.Response(422, json=problem | more))
    with pytest.raises(DomainError, match="`north` says: Ask less") as refused:
        await ask(client, "north")
    assert (refused.value.code, refused.value.members) == (
        "too-expensive",
        {"cell": "north", **more},
    )


async def test_log_that_does_not_answer_delays_no_other_until_too_many_requests_wait() -> None:
    async def answers(request: httpx.Request) -> httpx.Response:
        if request.url.host == "south.example":
            await asyncio.Event().wait()
        return httpx.Response(200, json=PAGE)

    client = answering(answers)
    waiting = [asyncio.create_task(ask(client, "south")) for _ in range(MOST_ASKED - 1)]
    await asyncio.sleep(0)
    assert (await ask(client, "north"))["north"].away is None
    waiting.append(asyncio.create_task(ask(client, "south")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await ask(client, "north")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await ask(client, "north"))["north"].away is None


async def test_log_gets_a_token_that_it_refused_at_most_once_a_minute() -> None:
    asked: list[str] = []
    now = [1.0]

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["authorization"])
        return httpx.Response(401, json={"type": "/problems/unauthenticated", "detail": "Unknown."})

    client = answering(answers, now=lambda: now[0])
    other = REQUEST._replace(headers={"authorization": "Bearer y"})
    for question, at in ((REQUEST, 1.0), (REQUEST, 60.0), (other, 60.0), (REQUEST, 61.5)):
        now[0] = at
        with pytest.raises(DomainError) as refused:
            await ask(client, "north", question=question)
        assert (refused.value.code, refused.value.members) == ("unauthenticated", {"cell": "north"})
    assert asked == ["Bearer x", "Bearer y", "Bearer x"]
