"""Answers the requests of edges for what NATS does not have: keys, states, old events. A standby relay answers, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import orjson
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from api.fan_out.connection import AWAY, NatsServers, connection_to
from api.fan_out.keys import as_json, wrap_for_edges
from api.fan_out.wire import ANSWER_TIMEOUT, MORE, Subjects, pack, parts
from api.streaming.log.stored_log import StoredLog
from domain.errors import Damaged, Overloaded
from domain.eventlog.codec import EventRow, encode_state
from domain.eventlog.encryption import Vault
from domain.eventlog.store import Store
from domain.supervisor import Background, Tasks, cancel

GROUP = "relays"
"""The queue group: each request goes to one relay."""
AT_ONCE = 8
"""Requests that are answered at the same time."""
MOST_EVENTS = 1_000
"""Events of one answer."""

log = structlog.get_logger()
Members = dict[str, Any]


class RelayResponder(Background):
    """Answers the requests of edges while it is running."""

    outages = AWAY

    def __init__(
        self, servers: NatsServers, subjects: Subjects, store: Store, vault: Vault
    ) -> None:
        self._servers, self._subjects = servers, subjects
        self._store, self._vault = store, vault
        self._log = StoredLog(store)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._open: set[asyncio.Task[None]] = set()
        self._kinds: dict[str, Callable[[Members], Awaitable[bytes]]] = {
            "keys": self._keys,
            "rows": self._rows,
            "following": self._following,
            "versions": self._versions,
            "states": self._states,
        }

    def tasks(self) -> Tasks:
        return {"answers": self._run}

    async def stop(self) -> None:
        await super().stop()
        await cancel(*self._open)

    async def _run(self) -> None:
        async with connection_to(self._servers, "executions relay: answers") as connection:
            client = connection.client

            async def begin(message: Msg) -> None:
                answer = self._answer(client, message, monotonic())
                task = asyncio.create_task(answer, name="relay: answer")
                self._open.add(task)
                task.add_done_callback(self._open.discard)

            await client.subscribe(self._subjects.ask("*"), GROUP, cb=begin)
            await connection.until_lost()

    async def _answer(self, client: Client, message: Msg, asked_at: float) -> None:
        async with self._slots:
            if monotonic() - asked_at > ANSWER_TIMEOUT:
                return  # the edge does not wait any more
            body = await self._find_answer(message)
        try:
            for part, more in parts(body):
                headers = {MORE: "1"} if more else None
                await client.publish(message.reply, part, headers=headers)
        except AWAY as error:
            log.debug("an edge has not got its answer", error=repr(error))

    async def _find_answer(self, message: Msg) -> bytes:
        """The answer after `{}`, or why there is none."""
        try:
            found = self._kinds[message.subject.rpartition(".")[2]]
            return b"{}\n" + await found(orjson.loads(message.data))
        except Overloaded:
            return b'{"error":"away"}\n'
        except Damaged as error:
            about = {"error": "damaged", "detail": error.detail, **error.members}
            return orjson.dumps(about) + b"\n"
        except Exception:
            log.exception("a question of an edge cannot be answered", subject=message.subject)
            return b'{"error":"failed"}\n'

    async def _keys(self, asked: Members) -> bytes:
        return as_json(await wrap_for_edges(self._store, self._vault, asked["streams"]))

    async def _rows(self, asked: Members) -> bytes:
        until = min(asked["until"], asked["after"] + MOST_EVENTS)
        return pack(await self._log.rows(asked["after"], until))

    async def _following(self, asked: Members) -> bytes:
        stream_versions = [(stream, version) for stream, version in asked["places"]]
        found = await self._log.read_following(stream_versions, min(asked["limit"], MOST_EVENTS))
        rows = [found.get(stream_version, ()) for stream_version in stream_versions]
        counts = orjson.dumps([len(each) for each in rows])
        return counts + b"\n" + pack(row for each in rows for row in each)

    async def _versions(self, asked: Members) -> bytes:
        stream_positions = [(stream, position) for stream, position in asked["places"]]
        found = await self._log.versions(stream_positions)
        return orjson.dumps([found.get(stream_position, 0) for stream_position in stream_positions])

    async def _states(self, asked: Members) -> bytes:
        """States in their stored form, with sealed fields as tokens."""
        found = await self._log.states(dict(asked["versions"]))
        shape = self._store.codec.shape
        return pack(
            EventRow(
                state.position,
                state.version,
                state.at,
                stream,
                shape,
                str(state.size),
                encode_state(state.state),
            )
            for stream, state in found.items()
        )
