"""Words the refusal of a WebSocket handshake that cannot be read."""

from __future__ import annotations

import re

UNREADABLE_HEADER = re.compile(r"\b(missing|empty|invalid) ([A-Za-z-]+) header")


def reason(text: str) -> str:
    """The library's reason in our words, which quote nothing that the client sent: a token, perhaps."""
    found = UNREADABLE_HEADER.search(text)
    if found is None:
        return "This is no valid WebSocket handshake (RFC 6455, section 4.1)."
    wrong, name = found.groups()
    return f"The WebSocket handshake cannot be read: its header {name} is {wrong}."
