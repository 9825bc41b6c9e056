"""A relay answers requests of edges, except those that have timed out."""

from __future__ import annotations

from time import monotonic
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from api.fan_out.connection import NatsServers
from api.fan_out.relay.answers import RelayResponder
from api.fan_out.wire import ANSWER_TIMEOUT, Subjects
from domain.eventlog.encryption import KEY_BYTES, Vault
from domain.eventlog.store import Store


class Asking:
    """The connection of a relay, with a request that it cannot answer."""

    subject = "log.ask.nothing"
    reply = "inbox"
    data = b"{}"

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    async def publish(self, _: str, part: bytes, headers: object) -> None:
        self.answers.append(part)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ago", "answers"), [(0.0, [b'{"error":"failed"}\n']), (ANSWER_TIMEOUT, [])]
)
async def test_request_that_has_timed_out_at_the_edge_is_not_answered(
    ago: float, answers: list[bytes]
) -> None:
    asking, nowhere = Asking(), NatsServers(())
    relay = RelayResponder(nowhere, Subjects("log"), cast(Store, None), Vault(bytes(KEY_BYTES)))
    await relay._answer(cast(Client, asking), cast(Msg, asking), monotonic() - ago)
    assert asking.answers == answers
