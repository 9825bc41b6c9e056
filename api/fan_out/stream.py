"""The stream in NATS that holds the events of a log: the sequence of a message is the position of its event."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import structlog
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import BadRequestError, NotFoundError, ServerError

from api.fan_out.wire import Subjects, decode_row
from api.settings import SetupError

API_TIMEOUT = 5.0
LEAST_PAYLOAD = 4 * 1024 * 1024
"""Bytes of a message that NATS must accept at least: more than the largest event."""
ONE_SERVER = 10074
"""The code of the error for replicas at a server that is in no cluster."""
LOG, NAME, KEY = "log", "log-name", "key"
"""Keys in the metadata of the stream: the id of the log, its name, and the id of the edge key."""

log = structlog.get_logger()


class NatsRetention(NamedTuple):
    """The retention of events in NATS: in seconds, in bytes, and the number of replicas."""

    seconds: float
    size: int
    replicas: int = 1


class SourceLog(NamedTuple):
    """The log to be relayed: its id, its name, the id of the edge key, and the position of its last event."""

    log: str
    name: str | None
    key: str
    head: int


class NatsStream(NamedTuple):
    """A stream as it is found: which log it holds, and from where to where; `last_at` is the time of its last event."""

    log: str
    name: str | None
    key: str
    first: int
    last: int
    last_at: datetime | None = None


class OtherLogInStream(SetupError):
    """The stream holds events of another log, or of another past of this one."""

    def __init__(self, stream: str, why: str) -> None:
        super().__init__(
            f"the stream {stream} in NATS {why}. If this is the right log, run `executions relay nats --begin-again`: it "
            "deletes the stream and begins anew at the end of the log. Edges then end their streams, and consumers that "
            "name the log of their cursor hear that it is another one"
        )


def require_payload(client: Client) -> None:
    """Raises SetupError where NATS does not accept messages as large as events can be."""
    if client.max_payload < LEAST_PAYLOAD:
        raise SetupError(
            f"NATS takes messages of {client.max_payload} bytes at most, and events may be larger: set "
            "`max_payload: 8MB` in its configuration"
        )


async def find_stream(client: Client, stream: str) -> NatsStream | None:
    """The stream of this name; None where there is none."""
    try:
        info = await client.jsm(timeout=API_TIMEOUT).stream_info(stream)
    except NotFoundError:
        return None
    return _nats_stream(info)


async def open_stream(
    client: Client,
    subjects: Subjects,
    of: SourceLog,
    retention: NatsRetention,
    *,
    begin_again: bool = False,
) -> NatsStream:
    """The stream of a log: it is made where there is none, and begins behind the end of the log then.

    Raises:
        OtherLogInStream: the stream has events of another log.
        SetupError: NATS does not accept messages as large as events, or so many replicas.
    """
    require_payload(client)
    manager = client.jsm(timeout=API_TIMEOUT)
    existing = await find_stream(client, subjects.stream)
    if existing is not None and begin_again:
        log.warning("the stream in NATS is deleted, and begins again", stream=subjects.stream)
        await manager.delete_stream(subjects.stream)
        existing = None
    if existing is None:
        try:
            return _nats_stream(await manager.add_stream(_config(subjects, of, retention)))
        except BadRequestError as error:
            raise SetupError(f"NATS does not make the stream: {error.description}") from None
        except ServerError as error:
            if error.err_code != ONE_SERVER:
                raise
            raise SetupError(
                f"NATS does not keep {retention.replicas} replicas: it is one server, and no cluster"
            ) from None
    if existing.log != of.log:
        raise OtherLogInStream(
            subjects.stream,
            f"holds events of the log {existing.log or '(unknown)'}, and this one is {of.log}",
        )
    return existing._replace(last_at=await _time_of(client, subjects, existing))


async def _time_of(client: Client, subjects: Subjects, nats_stream: NatsStream) -> datetime | None:
    if nats_stream.last < nats_stream.first:
        return None
    try:
        found_ = await client.jsm(timeout=API_TIMEOUT).get_msg(subjects.stream, nats_stream.last)
    except NotFoundError:  # it was too old, and has gone meanwhile
        return None
    try:
        return decode_row(nats_stream.last, found_.data or b"").at
    except (ValueError, TypeError):
        raise OtherLogInStream(subjects.stream, "ends with a message that is no event") from None


def _nats_stream(info: StreamInfo) -> NatsStream:
    about, state = info.config.metadata or {}, info.state
    last = max(state.last_seq, state.first_seq - 1)
    name = about.get(NAME) or None
    return NatsStream(about.get(LOG, ""), name, about.get(KEY, ""), state.first_seq, last)


def _config(subjects: Subjects, of: SourceLog, retention: NatsRetention) -> StreamConfig:
    return StreamConfig(
        name=subjects.stream,
        subjects=[subjects.events],
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        first_seq=of.head + 1,
        max_age=retention.seconds,
        max_bytes=retention.size,
        num_replicas=retention.replicas,
        deny_delete=True,
        deny_purge=True,
        metadata={LOG: of.log, NAME: of.name or "", KEY: of.key},
    )
