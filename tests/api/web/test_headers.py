"""Repeated lines of a list header are joined, those of other headers are refused; HTTP/1 and one host are required."""

from __future__ import annotations

import httpx
import pytest

from api.problems.problems import Malformed
from api.web.headers import ONCE, items, read
from api.web.preferences import preferences, seconds_to_wait, wants_minimal
from tests.api.transport.test_broken_http import answered, asking, connected
from tests.support.api_client import ok, refused
from tests.support.running_server import TOKEN, Serving

HOST = (b"host", b"x")
LINKED = b"application/ld+json"
HANDSHAKE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
)


def lines(*fields: tuple[bytes, bytes], version: str = "1.1") -> dict[bytes, bytes]:
    return read({"headers": list(fields), "http_version": version})


def test_lines_of_a_list_header_are_joined() -> None:
    found = lines(HOST, (b"if-match", b'"1"'), (b"prefer", b"a"), (b"if-match", b'"2", "3"'))
    assert found == {b"host": b"x", b"if-match": b'"1", "2", "3"', b"prefer": b"a"}


@pytest.mark.parametrize("name", sorted(ONCE))
def test_header_of_a_single_value_is_malformed_when_repeated(name: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        lines(HOST, (name, b"a"), (b"accept", b"*/*"), (name, b"a"))
    assert name.decode().title() in refusal.value.detail


@pytest.mark.parametrize(
    ("version", "fields", "taken"),
    [
        ("1.1", [HOST], True),
        ("1.1", [], False),
        ("1.0", [], True),
        ("0.9", [HOST], False),
        ("2.0", [HOST], False),
        ("1.0", [HOST, HOST], False),
    ],
)
def test_request_needs_http_1_and_a_single_host(
    version: str, fields: list[tuple[bytes, bytes]], taken: bool
) -> None:
    if taken:
        assert lines(*fields, version=version) == dict(fields)
    else:
        with pytest.raises(Malformed):
            lines(*fields, version=version)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" , ,a,, b ", ["a", "b"]),
        ('"a,b", c', ['"a,b"', "c"]),
        (r'"a\",b",c', [r'"a\",b"', "c"]),
        ('a, "b, c', ["a", '"b, c']),
        ('a, "b\\', ["a", '"b\\']),
    ],
)
def test_header_list_is_split_outside_of_quotes(text: str, found: list[str]) -> None:
    assert list(items(text)) == found


def test_header_with_unclosed_quotes_is_scanned_once() -> None:
    text = '"' + r"\"" * 32_000
    assert list(items(text)) == [text]


@pytest.mark.parametrize(
    ("prefer", "found"),
    [
        ("", {}),
        ("return=minimal", {"return": "minimal"}),
        ("Return = minimal , wait=10", {"return": "minimal", "wait": "10"}),
        ('return="minimal"; foo="a, b"', {"return": "minimal"}),
        ('foo="return=minimal, wait=1", wait=2', {"foo": "return=minimal, wait=1", "wait": "2"}),
        ("respond-async, wait=5, wait=30", {"respond-async": "", "wait": "5"}),
        ('a="x\\"y"', {"a": 'x"y'}),
        ("=x, (a), b c, d=e f, g", {"g": ""}),
    ],
)
def test_preferences_are_parsed(prefer: str, found: dict[str, str]) -> None:
    assert preferences(prefer) == found


@pytest.mark.parametrize(
    ("prefer", "minimal"),
    [
        ("return=minimal", True),
        ("RETURN=minimal;x", True),
        ("return=minimalistic", False),
        ("x-return=minimal", False),
        ("return=representation, return=minimal", False),
        ('note="return=minimal"', False),
    ],
)
def test_only_return_minimal_makes_an_answer_minimal(prefer: str, minimal: bool) -> None:
    assert wants_minimal(prefer) is minimal


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [("wait=3", 3), ("wait=x", None), ("wait=-1", None), ("await=3", None), ('wait="4"', 4)],
)
def test_prefer_wait_gives_the_seconds_to_wait(prefer: str, seconds: int | None) -> None:
    assert seconds_to_wait(prefer) == seconds


@pytest.mark.parametrize("tags", [('"9"', '"3"'), ('"3"', '"9"')])
def test_either_line_of_a_condition_may_be_met(
    api: httpx.Client, running_execution: str, tags: tuple[str, str]
) -> None:
    path = f"/executions/{running_execution}"
    conditions = [("If-Match", tag) for tag in tags]
    ok(api.post(f"{path}/progress", json={"progress": 7}, headers=conditions))
    refused(
        api.post(f"{path}/progress", json={"progress": 8}, headers=conditions),
        412,
        "version-mismatch",
    )


def test_lines_of_other_lists_count_together(api: httpx.Client, running_execution: str) -> None:
    past = f"/executions/{running_execution}?version=2"
    known = [("If-None-Match", '"2"'), ("If-None-Match", '"9"')]
    assert api.get(past, headers=known).status_code == 304
    forms = [("Accept", LINKED.decode()), ("Accept", "application/json;q=0.5")]
    assert api.get(past, headers=forms).headers["content-type"] == LINKED.decode()
    wishes = [("Prefer", "return=minimal"), ("Prefer", "wait=1")]
    shown = ok(api.post(f"/executions/{running_execution}/pause", json={}, headers=wishes))
    assert shown.keys() == {"$id", "status", "version", "position"}


@pytest.mark.parametrize(
    "twice",
    [
        b"Authorization: Bearer " + TOKEN.encode(),
        b"Idempotency-Key: a",
        b"Content-Type: application/json",
        b"Last-Event-ID: 1",
        b"Host: x",
    ],
)
@pytest.mark.parametrize("handshake", [(), HANDSHAKE], ids=["HTTP", "WebSocket"])
def test_repeated_header_is_named_in_its_refusal(
    server: Serving, twice: bytes, handshake: tuple[bytes, ...]
) -> None:
    name = twice.partition(b":")[0].decode().title()
    with connected(server) as wire:
        wire.sendall(asking(b"GET /events", *handshake, twice, twice))
        status, headers, body = answered(wire)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert f"header {name} comes" in httpx.Response(400, content=body).json()["detail"]


@pytest.mark.parametrize(
    "request_line",
    [b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz\r\n\r\n", b"GET /nowhere HTTP/1.1\r\n\r\n"],
)
def test_request_without_host_or_version_is_malformed(server: Serving, request_line: bytes) -> None:
    with connected(server) as wire:
        wire.sendall(request_line)
        assert answered(wire)[0] == 400


def test_http_1_0_needs_no_host(server: Serving) -> None:
    with connected(server) as wire:
        wire.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert answered(wire)[0] == 200
