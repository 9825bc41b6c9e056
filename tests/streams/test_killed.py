"""A server that dies without a word: consumers come back and have missed nothing."""

from __future__ import annotations

from itertools import islice
from threading import Thread

import httpx

from api.following import Address, follow
from tests.fire.conftest import serving
from tests.fire.service import AUTHORIZED, TOKEN, Service

EACH = 30


def write(service: Service, count: int) -> None:
    with httpx.Client(base_url=service.url, headers=AUTHORIZED, timeout=30) as client:
        for number in range(count):
            user = {"name": f"Ann {number}", "kind": "person"}
            client.post("/users", json=user).raise_for_status()


def test_consumers_of_a_server_that_is_killed_go_on_with_the_next(thorough: bool) -> None:
    kills = 10 if thorough else 2
    heard: list[list[int]] = [[] for _ in range(4)]

    def listen(where: Address, mine: list[int]) -> None:
        following = follow(where, "/events", {"from": "start"}, lambda *_: None)
        events = (int(frame.id) for frame in following if frame.type == "user.created")
        mine.extend(islice(events, EACH * (kills + 1)))

    with serving() as service:
        where = Address(service.url, TOKEN)
        listeners = [Thread(target=listen, args=[where, mine], daemon=True) for mine in heard]
        for listener in listeners:
            listener.start()
        for _ in range(kills):
            write(service, EACH)
            service.kill()
            service.start()
        write(service, EACH)
        for listener in listeners:
            listener.join(60)
    assert heard == [list(range(1, EACH * (kills + 1) + 1))] * 4
