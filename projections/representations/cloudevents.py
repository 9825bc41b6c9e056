"""The JSON of an event: CloudEvents 1.0, built around the stored data without making objects of it."""

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
"""Members of a row's `meta`, and the names of their extension attributes (lower case only, by CloudEvents 1.0)."""


def source(stream: str, log: str | None = None) -> str:
    """Return the CloudEvents `source` of a stream: its path in the API, after `/logs/<name>` if the log has a name."""
    kind, _, identity = stream.partition("/")
    path = f"/api/{kind}s/{identity}"
    return path if log is None else f"/logs/{log}{path}"


def envelope(
    row: EventRow,
    key: DataKey | None,
    after: Versioned[Any] | None = None,
    log: str | None = None,
) -> bytes:
    """Return the CloudEvents envelope of a row of the log, its sealed content opened with `key`.

    If the key was destroyed, sealed content is `null` and the envelope has `"erased": true`. If the event is damaged, the
    envelope has `"data": null, "unreadable": true`. `after` is the state of the execution after the event, which is
    added as `state`. `log` is the name of the log, if it has one.
    """
    try:
        return _open(row, key, after, log)
    except Exception as error:  # noqa: BLE001 - any damage is reported and must not stop other events
        if not isinstance(key, DamagedKey):  # a damaged key was reported once for all its events
            REPORTS.report("an event cannot be opened", row.stream, row.version, error)
        return _unreadable(row, log)


def _open(
    row: EventRow, key: DataKey | None, after: Versioned[Any] | None, log: str | None
) -> bytes:
    orjson.loads(row.data)  # raises on incomplete JSON, which would make the whole answer invalid
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
    except Exception:  # noqa: BLE001 - the metadata is damaged, too
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
