"""An event as clients see it: CloudEvents 1.0 in JSON, built without parsing the event's data."""

from __future__ import annotations

from typing import Any

import orjson

from domain.damage import REPORTS
from domain.eventlog.codec import EventRow, to_sealed_json
from domain.eventlog.encryption import DamagedKey, DataKey, usable
from domain.json_forms import format_time
from domain.model import Versioned
from projections.representations.client_json import (
    ERASED,
    mark_unreadable,
    open_and_mark,
    open_json,
)
from projections.representations.execution import document

NO_META = '{"by":"unknown"}'
EXTENSIONS = (
    ("occurredAt", "occurredat"),
    ("correlation", "correlationid"),
    ("causation", "causationid"),
)
"""Members of a row's meta, and the extension attributes they become (CloudEvents: lower case only)."""


def source(stream: str, log: str | None = None) -> str:
    """Where the events of a stream come from: a path of its own log, which begins with the log's name if it has one."""
    kind, _, identity = stream.partition("/")
    path = f"/api/{kind}s/{identity}"
    return path if log is None else f"/logs/{log}{path}"


def envelope(
    row: EventRow,
    key: DataKey | None,
    after: Versioned[Any] | None = None,
    log: str | None = None,
) -> bytes:
    """The CloudEvents envelope of a row of the log, what is sealed opened with `key`.

    Where the key was destroyed, sealed content reads as `null`, with `"erased": true`. `after` is the state of the execution
    after the event, if that is to be shown: beside `data`, as some events' data has a `state`, too.
    An event that is damaged has `"data": null, "unreadable": true`, and stops no other. `log` is the name of the log.
    """
    try:
        return _open(row, key, after, log)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is reported
        if not isinstance(key, DamagedKey):  # that was reported, once for all its events
            REPORTS.report("an event cannot be opened", row.stream, row.version, error)
        return _unreadable(row, log)


def _open(
    row: EventRow, key: DataKey | None, after: Versioned[Any] | None, log: str | None
) -> bytes:
    orjson.loads(row.data)  # half a JSON text would spoil all that it is sent with
    head = orjson.dumps(_attributes(row, log))
    body = b'%b,"data":%b' % (head[:-1], open_json(row.data, key))
    if after is not None:
        state = open_and_mark(to_sealed_json(document(after, after.at)), key)
        body = b'%b,"state":%b' % (body, state)
    if usable(key) is None and b'"$sealed"' in row.data:
        return body + ERASED
    return body + b"}"


def _unreadable(row: EventRow, log: str | None) -> bytes:
    row = row._replace(data=b"null")
    try:
        shown = _open(row, None, None, log)
    except Exception:  # noqa: BLE001 - its metadata is damaged, too
        shown = _open(row._replace(meta=NO_META), None, None, log)
    return mark_unreadable(shown)


def _attributes(row: EventRow, log: str | None) -> dict[str, Any]:
    position, version, at, stream, type_, meta, _ = row
    known = orjson.loads(meta)
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(position),
        "type": type_,
        "source": source(stream, log),
        "subject": stream.partition("/")[2],
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
