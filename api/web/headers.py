"""Reads the headers of a request, one value a name (RFC 9110, 5.3), and the items of a header that is a list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from starlette.types import Scope

from api.problems.problems import Malformed

Headers = dict[bytes, bytes]

ITEM = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))+', re.DOTALL)
"""An item of a list: a comma within quotes does not end the item. A quote that is not closed extends to the end of
the text, so that the match takes linear time."""
ONCE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"origin",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"traceparent",
        b"user-agent",
        b"x-causation-id",
        b"x-correlation-id",
        b"x-purpose",
    }
)
"""Headers that have one value, not a list: a second line would contradict or hide the first."""
VERSIONS = ("1.1", "1.0")


def read(scope: Scope) -> Headers:
    """The headers of a request or a WebSocket handshake by name; several lines of a list are joined.

    Raises:
        Malformed: a header that is no list comes twice, Host is missing, or the protocol is not HTTP/1.
    """
    lines = scope["headers"]
    headers = dict(lines)
    if len(headers) < len(lines):
        headers = _join(lines)
    if scope["http_version"] != "1.1":
        _require_version(scope["http_version"])
    elif b"host" not in headers:
        raise Malformed("The header Host is missing: HTTP/1.1 asks for it.")
    return headers


def items(text: str) -> Iterator[str]:
    """The items of a list in a header; a comma within quotes does not separate items."""
    return (found for item in ITEM.findall(text) if (found := item.strip()))


def _join(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    joined: dict[bytes, list[bytes]] = {}
    for name, value in lines:
        joined.setdefault(name, []).append(value)
    for name, values in joined.items():
        if name in ONCE and len(values) > 1:
            shown = name.decode().title()
            raise Malformed(f"The header {shown} comes {len(values)} times: send it once.")
    return {name: b", ".join(values) for name, values in joined.items()}


def _require_version(version: str) -> None:
    if version not in VERSIONS:
        raise Malformed(f"This is HTTP/{version}: speak HTTP/1.1.")
