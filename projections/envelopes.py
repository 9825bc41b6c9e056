"""An event as clients see it: CloudEvents 1.0 in JSON, built without parsing the event's data."""

from __future__ import annotations

from typing import Any

import orjson

from domain.codec import Stored, open_json
from domain.vault import DataKey
from domain.wire import format_time

EXTENSIONS = (
    ("occurredAt", "occurredat"),
    ("correlation", "correlationid"),
    ("causation", "causationid"),
)
"""Members of a row's meta, and the extension attributes they become (CloudEvents: lower case only)."""


def envelope(row: Stored, key: DataKey | None) -> bytes:
    """The CloudEvents envelope of a row of the log, what is sealed opened with `key`.

    Where the key was destroyed, sealed content reads as `null`.
    """
    head = orjson.dumps(_attributes(row))
    return b'%b,"data":%b}' % (head[:-1], open_json(row.data, key))


def _attributes(row: Stored) -> dict[str, Any]:
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
