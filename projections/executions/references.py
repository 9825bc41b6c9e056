"""Large sealed content, which rows do not repeat: they refer to the event that holds it.

A token is `<version>.<base64url of nonce and ciphertext>`, and was sealed in the event of that version.
A reference is `<version>.<nonce>.<length of the token>`. So an execution with megabytes of content
costs its row what a small one costs, and a list reads the content of its page alone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import orjson
from psycopg import AsyncConnection
from pydantic import BaseModel

from domain.errors import Unreadable
from domain.eventlog.codec import Codec, EventRow
from domain.eventlog.state_parts import read_following
from domain.model import Recorded, Versioned, replay
from domain.sealing import SEALED, SEALED_JSON, Ciphertext

LARGE = 1_024
"""Characters from which on a token is referred to."""
NONCE = 16
"""Characters of a nonce of 12 bytes."""
REFERENCE = re.compile(rb'{"\$sealed":"([0-9]+)\.([\w-]{%d})\.([0-9]+)"}' % NONCE)
STREAM = "execution/"
Choose = Callable[[bytes], bytes]
"""Takes of a document what is shown."""
STREAMS, EVENTS = 50, 200
"""So many streams are folded side by side, with so many events of each at a time."""


def whole(document: bytes) -> bytes:
    """All of a document is shown."""
    return document


def nothing(_: bytes) -> bytes:
    """Nothing of a document is shown: its id is enough."""
    return b""


class Listed(NamedTuple):
    """An execution as clients see it: JSON with tokens, or references, in the place of sealed fields.

    `damaged`: nothing of it can be read but its id.
    """

    id: str
    document: bytes
    damaged: bool = False

    @classmethod
    def unreadable(cls, id_: str) -> Self:
        """One that cannot be read, and says so."""
        shown = {"$type": "ServiceExecution", "$id": id_, "unreadable": True}
        return cls(id_, orjson.dumps(shown), damaged=True)

    def choose(self, choose: Choose) -> Self:
        """What is chosen of it; all there is of one that cannot be read."""
        if self.damaged or choose is whole:
            return self
        return self._replace(document=choose(self.document))


def referring(recorded: Recorded) -> Recorded:
    """The event with references in the place of its large tokens."""
    if recorded.size < LARGE or not recorded.event.sealed:
        return recorded
    spared: list[int] = []
    event = _referring(recorded.event, spared)
    return recorded._replace(event=event, size=recorded.size - sum(spared))


def _referring(value: Any, spared: list[int]) -> Any:
    if isinstance(value, Ciphertext):
        return _reference(value, spared)
    if isinstance(value, BaseModel):
        members = value.__dict__
        changed = {name: _referring(member, spared) for name, member in members.items()}
        changed = {name: new for name, new in changed.items() if new is not members[name]}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_referring(item, spared) for item in value)
        return (
            items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        )
    return value


def _reference(content: Ciphertext, spared: list[int]) -> Ciphertext:
    version, _, text = content.token.partition(".")
    if content.mark != SEALED or len(text) < LARGE:
        return content
    reference = f"{version}.{text[:NONCE]}.{len(content.token)}"
    spared.append(len(content.token) - len(reference))
    return Ciphertext(reference)


async def fold(
    connection: AsyncConnection,
    codec: Codec,
    versions: Mapping[str, int],
    known: Mapping[str, Versioned[Any]],
    unreadable: dict[str, Unreadable] | None = None,
) -> dict[str, Versioned[Any]]:
    """The states of streams at versions, from those that are known or from their first events on.

    Events that do not apply are left out, as the view leaves them out; and so are streams without any
    that do, and those whose events are archived and `unreadable`.

    Not from snapshots: what those have sealed is in no event.
    """
    states = dict(known)
    reached = {s: states[s].version if s in states else 0 for s in versions}
    while behind := [s for s, version in reached.items() if version < versions[s]][:STREAMS]:
        stream_versions = [(stream, reached[stream]) for stream in behind]
        found = await read_following(connection, stream_versions, EVENTS, unreadable)
        for (stream, _), rows in found.items():
            if stream in (unreadable or ()):
                reached[stream] = versions[stream]
                states.pop(stream, None)
                continue
            rows_left = [row for row in rows if row.version <= versions[stream]]
            for row in rows_left:
                _apply(codec, row, states)
            reached[stream] = rows_left[-1].version if rows_left else versions[stream]
        await asyncio.sleep(0)
    return states


def _apply(codec: Codec, row: EventRow, states: dict[str, Versioned[Any]]) -> None:
    try:
        state = replay(states.get(row.stream), [referring(codec.decode(row))])
    except Exception:  # noqa: BLE001 - the view has parked this event, and went on without it
        return
    assert state is not None
    states[row.stream] = state


def refers(document: bytes) -> bool:
    """Whether the document refers to any content."""
    return REFERENCE.search(document) is not None


def full_size(document: bytes) -> int:
    """How many bytes a document has together with the content that it refers to."""
    found = REFERENCE.findall(document)
    return len(document) + (sum(int(size) for _, _, size in found) if found else 0)


async def with_content(connection: AsyncConnection, documents: Sequence[Listed]) -> list[Listed]:
    """The documents with tokens in the place of references; `null` for content that is nowhere."""
    wanted = {
        (STREAM + listed.id, int(found[1]) - 1)
        for listed in documents
        for found in REFERENCE.finditer(listed.document)
    }
    if not wanted:
        return list(documents)
    tokens: dict[tuple[str, bytes], bytes] = {}
    for (stream, _), rows in (await read_following(connection, sorted(wanted), 1)).items():
        tokens.update(_tokens(stream, (row.data for row in rows)))

    def whole(listed: Listed) -> Listed:
        def content(found: re.Match[bytes]) -> bytes:
            return tokens.get((STREAM + listed.id, b"%b.%b" % found.group(1, 2)), b"null")

        return listed._replace(document=REFERENCE.sub(content, listed.document))

    return list(map(whole, documents))


def _tokens(stream: str, events: Iterable[bytes]) -> Iterable[tuple[tuple[str, bytes], bytes]]:
    """The sealed fields of events by stream, version and nonce."""
    for event in events:
        for found in SEALED_JSON.finditer(event):
            version, _, text = found[1].partition(b".")
            yield (stream, b"%b.%b" % (version, text[:NONCE])), found[0]
