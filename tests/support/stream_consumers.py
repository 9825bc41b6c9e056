"""Consumers of streams, over both transports."""

from __future__ import annotations

import json
import socket as sockets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import islice
from threading import get_ident
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.api_client import ok
from tests.support.running_server import AUTHORIZED
from tests.support.sse_client import frames, opened

JSON = dict[str, Any]
Read = Callable[..., Iterator[JSON]]
OURS = {"checkpoint", "caught-up", "fell-behind", "closing"}
BIG = 2**24
NO_END = 10**9
"""A number of frames that is never reached, and a position."""


class Door(Protocol):
    """The address of a server, or of a proxy before it."""

    @property
    def url(self) -> str: ...


def client(url: str) -> httpx.Client:
    """A client of the administrator."""
    return httpx.Client(base_url=f"{url}/api", headers=AUTHORIZED, timeout=30)


def head(api: httpx.Client) -> int:
    """The position of the last event."""
    return int(ok(api.get("/readyz"))["position"])


@contextmanager
def socket(
    door: Door, path: str, headers: Any = None, *, queue: Any = None, **query: Any
) -> Iterator[ClientConnection]:
    """An open WebSocket of the administrator.

    It reads on while the test takes no frames, unless `queue` limits the number of unread frames:
    then its kernel buffers are small, too.
    """
    where = f"{door.url.replace('http', 'ws')}/api{path}?{urlencode(query)}"
    given = AUTHORIZED if headers is None else headers
    narrow = None if queue is None else narrow_connection(door)
    with connect(
        where, additional_headers=given, max_size=BIG, max_queue=queue, sock=narrow
    ) as connected:
        yield connected


def narrow_connection(door: Door) -> sockets.socket:
    """A connection with small buffers of its own while nothing is read."""
    where = httpx.URL(door.url)
    wire = sockets.socket()
    wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 64 * 1024)
    wire.connect((where.host, where.port))
    return wire


def read_until_closed(connected: ClientConnection) -> Iterator[JSON]:
    """Every frame until the server closes."""
    while True:
        try:
            frame: JSON = json.loads(connected.recv(timeout=30))
        except ConnectionClosed:
            return
        yield frame


def until_caught_up(frames: Iterator[JSON]) -> list[JSON]:
    """The frames before the one that marks the end of the past."""
    read = []
    for frame in frames:
        if frame["type"] == "caught-up":
            break
        read.append(frame)
    return read


def past(door: Door, path: str, **query: Any) -> list[JSON]:
    """The past as sent over a WebSocket, our own frames left out."""
    with socket(door, path, **query) as connected:
        return [
            frame
            for frame in until_caught_up(read_until_closed(connected))
            if frame["type"] not in OURS
        ]


def by_socket(
    door: Door, path: str, cursor: int, most: int, *, torn: bool = False, **query: Any
) -> Iterator[JSON]:
    """Some frames after a cursor, over a WebSocket; `torn` disconnects without a close frame."""
    with socket(door, path, **{"from": cursor, **query}) as connected:
        yield from islice(read_until_closed(connected), most)
        if torn:
            connected.socket.shutdown(sockets.SHUT_RDWR)


by_torn_socket = partial(by_socket, torn=True)


@cache
def _client(url: str, thread: int) -> httpx.Client:
    return client(url)  # making one takes longer than a visit


def by_sse(door: Door, path: str, cursor: int, most: int, **query: Any) -> Iterator[JSON]:
    """Some frames after a cursor, as server-sent events, in the form of a WebSocket."""
    with opened(_client(door.url, get_ident()), path, after=cursor, **query) as source:
        for frame in islice(frames(source), most):
            yield {**frame.data, "type": frame.type}
