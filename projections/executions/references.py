"""References to large sealed content: rows do not repeat the content, but refer to the event that has it.

A token is `<version>.<base64url of nonce and ciphertext>`; the event of that version has it. A reference to a token is
`<version>.<nonce>.<length of the token>`. So the row of an execution with megabytes of content is small, and a list
reads only the content of the executions on its page.
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
"""Characters of a token from which on it is replaced by a reference."""
NONCE = 16
"""Characters of a nonce of 12 bytes in base64url."""
REFERENCE = re.compile(rb'{"\$sealed":"([0-9]+)\.([\w-]{%d})\.([0-9]+)"}' % NONCE)
STREAM = "execution/"
Choose = Callable[[bytes], bytes]
"""Returns the parts of a document that are shown."""
STREAMS, EVENTS = 50, 200
"""Streams that are folded at a time, and events of each that are read at a time."""


def whole(document: bytes) -> bytes:
    """Choose the whole document."""
    return document


def nothing(_: bytes) -> bytes:
    """Choose nothing of the document, for callers that need only the ids."""
    return b""


class Listed(NamedTuple):
    """An execution as JSON, with tokens or references in place of sealed fields. `damaged`: only its id can be read."""

    id: str
    document: bytes
    damaged: bool = False

    @classmethod
    def unreadable(cls, id_: str) -> Self:
        """Return an execution of which only the id can be read, marked as `unreadable`."""
        shown = {"$type": "ServiceExecution", "$id": id_, "unreadable": True}
        return cls(id_, orjson.dumps(shown), damaged=True)

    def choose(self, choose: Choose) -> Self:
        """Return the execution with the chosen parts of its document. A damaged one is returned unchanged."""
        if self.damaged or choose is whole:
            return self
        return self._replace(document=choose(self.document))


def referring(recorded: Recorded) -> Recorded:
    """Return the event with references in place of its large tokens."""
    if recorded.size < LARGE or not recorded.event.sealed:
        return recorded
    saved: list[int] = []
    event = _referring(recorded.event, saved)
    return recorded._replace(event=event, size=recorded.size - sum(saved))


def _referring(value: Any, saved: list[int]) -> Any:
    if isinstance(value, Ciphertext):
        return _reference(value, saved)
    if isinstance(value, BaseModel):
        members = value.__dict__
        changed = {name: _referring(member, saved) for name, member in members.items()}
        changed = {name: new for name, new in changed.items() if new is not members[name]}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, tuple):
        items = tuple(_referring(item, saved) for item in value)
        return (
            items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        )
    return value


def _reference(content: Ciphertext, saved: list[int]) -> Ciphertext:
    version, _, text = content.token.partition(".")
    if content.mark != SEALED or len(text) < LARGE:
        return content
    reference = f"{version}.{text[:NONCE]}.{len(content.token)}"
    saved.append(len(content.token) - len(reference))
    return Ciphertext(reference)


async def fold(
    connection: AsyncConnection,
    codec: Codec,
    versions: Mapping[str, int],
    known: Mapping[str, Versioned[Any]],
    unreadable: dict[str, Unreadable] | None = None,
) -> dict[str, Versioned[Any]]:
    """Return the states of streams at these versions, from the `known` states or else from the first events.

    Events that cannot be applied are skipped, as the view skips them. Streams of which no event can be applied are left
    out. So are streams whose archived events cannot be read, which are added to `unreadable`.

    Snapshots are not used: their sealed fields are in no event, so references could not be resolved.
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
            wanted = [row for row in rows if row.version <= versions[stream]]
            for row in wanted:
                _apply(codec, row, states)
            reached[stream] = wanted[-1].version if wanted else versions[stream]
        await asyncio.sleep(0)
    return states


def _apply(codec: Codec, row: EventRow, states: dict[str, Versioned[Any]]) -> None:
    try:
        state = replay(states.get(row.stream), [referring(codec.decode(row))])
    except Exception:  # noqa: BLE001 - the view has parked this event and continued without it
        return
    assert state is not None
    states[row.stream] = state


def refers(document: bytes) -> bool:
    """Whether the document has any references."""
    return REFERENCE.search(document) is not None


def full_size(document: bytes) -> int:
    """Return the size of a document in bytes, including the content that it refers to."""
    found = REFERENCE.findall(document)
    return len(document) + (sum(int(size) for _, _, size in found) if found else 0)


async def with_content(connection: AsyncConnection, documents: Sequence[Listed]) -> list[Listed]:
    """Return the documents with tokens in place of references; `null` in place of a reference that no event resolves."""
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

    def resolve(listed: Listed) -> Listed:
        def content(found: re.Match[bytes]) -> bytes:
            return tokens.get((STREAM + listed.id, b"%b.%b" % found.group(1, 2)), b"null")

        return listed._replace(document=REFERENCE.sub(content, listed.document))

    return list(map(resolve, documents))


def _tokens(stream: str, events: Iterable[bytes]) -> Iterable[tuple[tuple[str, bytes], bytes]]:
    """Yield the sealed fields of events, each by its stream and `<version>.<nonce>`."""
    for event in events:
        for found in SEALED_JSON.finditer(event):
            version, _, text = found[1].partition(b".")
            yield (stream, b"%b.%b" % (version, text[:NONCE])), found[0]
