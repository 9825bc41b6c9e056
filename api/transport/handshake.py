"""The text of the refusal of a malformed WebSocket handshake."""

from __future__ import annotations

import re

UNREADABLE_HEADER = re.compile(r"\b(missing|empty|invalid) ([A-Za-z-]+) header")


def reason(text: str) -> str:
    """Reword the library's reason, so that it quotes nothing that the client sent, such as a token."""
    found = UNREADABLE_HEADER.search(text)
    if found is None:
        return "This is no valid WebSocket handshake (RFC 6455, section 4.1)."
    wrong, name = found.groups()
    return f"The WebSocket handshake cannot be read: its header {name} is {wrong}."
