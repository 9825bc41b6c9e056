"""The conditions of a message: its command is decided only where all of them hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from domain.errors import Forbidden, Invalid, Overtaken, VersionMismatch
from domain.eventlog.codec import EventRow
from domain.json_forms import format_time
from domain.model import Versioned
from domain.writer.message import Message, Unless

DAY = timedelta(hours=24)
"""How far back a sender without the right `import` may date a command by `occurredAt`."""


def check_conditions(message: Message, versioned: Versioned[Any] | None, now: datetime) -> None:
    """Check `if_match` of a message, and `occurred_at` of its command.

    Raises:
        VersionMismatch: the stream has another version.
        Invalid: `occurredAt` lies in the future.
        Forbidden: `occurredAt` lies more than 24 hours back, and the sender lacks the right `import`.
    """
    version = versioned.version if versioned else 0
    if message.if_match is not None and version not in message.if_match:
        raise VersionMismatch(version=version)
    if (when := message.command.occurred_at) is None:
        return
    if when > now:
        raise Invalid.field(
            "occurredAt",
            f"must not lie in the future, but is `{format_time(when)}`",
        )
    if now - when > DAY and not message.importing:
        raise Forbidden("Dating an event more than 24 hours back needs the right `import`.")


def require_not_overtaken(
    unless: Unless, latest: Mapping[str, int], rows: Iterable[EventRow]
) -> None:
    """Check that no event of the type of `unless` came after its position; `rows` are those of the batch so far.

    Raises:
        Overtaken: such an event came.
    """
    if latest.get(unless.type, 0) > unless.after or any(row.type == unless.type for row in rows):
        raise Overtaken
