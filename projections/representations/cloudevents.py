"""An event as clients see it: CloudEvents 1.0 in JSON, built without parsing the event's data."""

from __future__ import annotations

from typing import Any

import orjson

from domain.eventlog.codec import EventRow, open_json, sealed_json
from domain.eventlog.encryption import DataKey
from domain.json_forms import format_time
from domain.model import Versioned
from projections.representations.execution import document

EXTENSIONS = (
    ("occurredAt", "occurredat"),
    ("correlation", "correlationid"),
    ("causation", "causationid"),
)
"""Members of a row's meta, and the extension attributes they become (CloudEvents: lower case only)."""


def envelope(row: EventRow, key: DataKey | None, after: Versioned[Any] | None = None) -> bytes:
    """The CloudEvents envelope of a row of the log, what is sealed opened with `key`.

    Where the key was destroyed, sealed content reads as `null`. `after` is the state of the execution
    after the event, if that is to be shown: beside `data`, as some events' data has a `state`, too.
    """
    head = orjson.dumps(_attributes(row))
    body = b'%b,"data":%b' % (head[:-1], open_json(row.data, key))
    if after is None:
        return body + b"}"
    state = open_json(sealed_json(document(after, after.at)), key)
    return b'%b,"state":%b}' % (body, state)


def _attributes(row: EventRow) -> dict[str, Any]:
    position, version, at, stream, type_, meta, _ = row
    kind, _, identity = stream.partition("/")
    known = orjson.loads(meta)
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(position),
        "type": type_,
        "source": f"/api/{kind}s/{identity}",
        "subject": identity,
        "time": format_time(at),
        "datacontenttype": "application/json",
        "position": position,
        "version": version,
        "actor": known["by"],
    }
    for name, extension in EXTENSIONS:
        if name in known:
            attributes[extension] = known[name]
    return attributes
