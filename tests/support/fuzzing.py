"""Malformed requests: every operation with invalid paths, queries, headers and bodies."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

from api.web.operation import Operation
from tests.support.operation_examples import BODIES
from tests.support.operations import OPERATIONS
from tests.support.running_server import TOKEN

LONG = "x" * 300
IDENTITIES = (
    "no-such",
    "..",
    "%00",
    "a%2Fb",
    "%F0%9F%99%82",
    LONG,
    "find",
    "-",
    "a%20b",
    "%",
    "%zz",
)
STEPS = ("s-1", "a%2Fb", "%00", "%25", LONG)
WORDS: tuple[str, ...] = (
    *("", "0", "1", "-1", "7", "99999999999999999999", "1e9", "NaN", "true", "null", "[]", "{}"),
    *("running", "completed", "$in", "id", "-metadata.createdAt", "metadata.x", "metadata[", '"'),
    *("2026-11-22T12:00:00Z", "2026-13-40", "start", "now", "\0", "é🙂", "a,b,,c", LONG, "%", "*"),
)
FILTERS: tuple[Any, ...] = (
    {"status": "running"},
    {"$or": [{"status": "running"}, {"progress": {"$gte": 50}}]},
    {"$not": {"metadata.a.b": {"$exists": True}}},
    {"filter": {"status": {"$nin": []}}, "limit": 1},
    {"$or": []},
    {"metadata": {"$in": [None, {}, []]}},
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63 - 1, -(2**63), 2**70, 1e308, "", "x", "\0", "\ud800"),
    *([], {}, [[]], {"": ""}, {"$sealed": "1.x"}, {"$secret": "x"}, ["x"] * 60, LONG * 40),
    *("2026-11-22T12:00:00Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00+14:00", "24:00"),
)
RAW: tuple[bytes, ...] = (
    *(b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"[" * 5_000, b'{"a":1,"a":2}'),
    *(b'{"a":' * 200 + b"1" + b"}" * 200, b"{}\n{}\n", b"1" * 400, b'{"cost": 1e-400}', b"NaN"),
)
HEADERS: dict[str, tuple[str, ...]] = {
    "accept": ("*/*", "text/event-stream", "application/ld+json", ";;q=x", "text/*;q=0", ""),
    "content-type": (
        "application/json",
        "application/x-ndjson",
        "text/plain",
        "x",
        "",
        "application/json;charset=latin1",
    ),
    "if-match": ('"1"', "*", '"x"', "W/1", '"1", "2"', '"99999999999999999999"', ","),
    "if-none-match": ('"1"', "*", '"', 'W/"1-2"'),
    "idempotency-key": ("k-1", "", "a b", LONG, "#", "k-2"),
    "prefer": ("return=minimal", "wait=1", 'wait="1', "wait=-1", ",,;="),
    "last-event-id": ("0", "1", "-1", "x", "99999999999999999999", "1-1"),
    "traceparent": ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x"),
    "x-correlation-id": ("c", "", "ä", LONG),
    "x-causation-id": ("c", " "),
    "authorization": ("", "Bearer", "Bearer x", "Basic x", "bearer  " + TOKEN),
    "range": ("bytes=0-1",),
    "content-encoding": ("gzip", "identity"),
    "transfer-encoding": ("chunked",),
    "expect": ("100-continue", "x"),
}
FRAMES: tuple[bytes, ...] = (
    *(b'{"type":"pause"}', b'{"type":"seek","position":-1}', b'{"type":"speed","speed":1e99}'),
    *(b"{}", b"[]", b"\xff", b"x" * 70_000, b"[" * 1_000, b""),
)


class Answer(NamedTuple):
    """The status of an answer, its headers in lower case, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Fuzzer:
    """Makes requests, the same ones for the same seed, about existing and missing entries."""

    def __init__(self, seed: int, entries: Mapping[str, Sequence[str]]) -> None:
        self._random = Random(seed)
        self._entries = entries

    def request(self) -> bytes:
        """An HTTP request."""
        random = self._random
        operation = random.choice(OPERATIONS)
        body = self._body(operation) if operation.body is not None or random.random() < 0.1 else b""
        method = operation.method if random.random() < 0.95 else random.choice(("PUT", "HEAD", "X"))
        headers = self._headers(("authorization", f"Bearer {TOKEN}"), ("host", "x"))
        if "transfer-encoding" in headers:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        else:
            headers["content-length"] = str(len(body))
        return _message(method, self._target(operation), headers) + body

    def handshake(self) -> bytes:
        """A WebSocket handshake."""
        streams = [row for row in OPERATIONS if "events" in row.path or "watch" in row.path]
        headers = self._headers(
            ("host", "x"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("authorization", f"Bearer {TOKEN}"),
            leave_out=("transfer-encoding", "expect", "content-encoding"),
        )
        if self._random.random() < 0.2:
            headers["sec-websocket-protocol"] = self._random.choice(
                ("executions", "bearer.x", ",", "")
            )
        return _message("GET", self._target(self._random.choice(streams)), headers)

    def frames(self) -> Iterator[bytes]:
        """Messages of a client, masked with zeros."""
        for _ in range(self._random.randrange(4)):
            content = self._random.choice(FRAMES)
            size = len(content)
            head = bytes((0x80 | self._random.choice((1, 2, 9, 3)),))
            length = bytes((0x80 | size,)) if size < 126 else b"\xff" + size.to_bytes(8, "big")
            yield head + length + bytes(4) + content

    def _target(self, operation: Operation) -> str:
        random, path = self._random, operation.path
        kind = path.split("/")[1] if path.count("/") else ""
        known = self._entries.get(kind, ())
        identity = (
            random.choice(known) if known and random.random() < 0.7 else random.choice(IDENTITIES)
        )
        for name, value in (("id", identity), ("step", random.choice(STEPS)), ("code", identity)):
            path = path.replace(f"{{{name}}}", value)
        names = [*(p.name for p in operation.parameters), "metadata.x", "status", "tag", "by", "x"]
        query = [(random.choice(names), random.choice(WORDS)) for _ in range(random.randrange(4))]
        text = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        return f"{random.choice(('', '/api'))}{path}{'?' if text else ''}{text}"

    def _headers(self, *given: tuple[str, str], leave_out: Sequence[str] = ()) -> dict[str, str]:
        random, headers = self._random, dict(given)
        for name, values in HEADERS.items():
            if name not in leave_out and random.random() < 0.07:
                headers[name] = random.choice(values)
        return headers

    def _body(self, operation: Operation) -> bytes:
        random = self._random
        if random.random() < 0.1:
            return random.choice(RAW)
        example = BODIES.get(operation.name, {})
        if operation.name == "findExecutions" and random.random() < 0.7:
            example = random.choice(FILTERS)
        if operation.name == "sendCommands":
            example = [self._command() for _ in range(random.randrange(1, 6))]
        body = json.loads(json.dumps(example))
        for _ in range(random.randrange(3)):
            body = self._changed(body)
        return json.dumps(body).encode()

    def _command(self) -> Any:
        name = self._random.choice([*BODIES, "create", "start"])
        body = BODIES.get(name, {})
        given = body if isinstance(body, dict) else {}
        return {
            "command": name,
            "execution": self._random.choice(self._entries["executions"]),
            **given,
        }

    def _changed(self, value: Any) -> Any:
        """The same value with one change somewhere."""
        random = self._random
        if random.random() < 0.2 or not isinstance(value, dict | list) or not value:
            return random.choice(VALUES)
        if isinstance(value, list):
            place = random.randrange(len(value))
            return [*value[:place], self._changed(value[place]), *value[place + 1 :]]
        name = random.choice(list(value))
        change: Callable[[], Any] = random.choice(
            (
                lambda: value | {name: self._changed(value[name])},
                lambda: {key: each for key, each in value.items() if key != name},
                lambda: (
                    value | {random.choice(("x", "$id", "id", "", "$type")): random.choice(VALUES)}
                ),
            )
        )
        return change()


def _message(method: str, target: str, headers: dict[str, str]) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def exchange(wire: socket.socket, request: bytes) -> Answer:
    """Send a request and read its answer; of an endless one only the head.

    Raises:
        ConnectionError: there is no answer.
    """
    wire.sendall(request)
    stream = wire.makefile("rb")
    status = 100
    while status == 100:
        first = stream.readline().split()
        if len(first) < 2:
            raise ConnectionError("no answer")
        status = int(first[1])
        headers = dict(_fields(stream))
    if request.startswith(b"HEAD") or status in (101, 204, 304):
        return Answer(status, headers, b"")
    if "content-length" not in headers:
        return Answer(status, headers | {"connection": "close"}, b"")
    return Answer(status, headers, stream.read(int(headers["content-length"])))


def _fields(stream: Any) -> Iterator[tuple[str, str]]:
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        yield name.lower(), value.strip()
