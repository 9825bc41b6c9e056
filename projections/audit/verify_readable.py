"""Checks that the readable files of a bundle show exactly the proven events. In a bundle it is a part of `verify.py`."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

from projections.audit.report import Signed, report
from projections.audit.verify_proofs import EPOCH, Wrong

# --- what people read --------------------------------------------------------

EVENTS, ACCESSES, REPORT = "events.ndjson", "accesses.ndjson", "report.html"
SEALED, SECRET = {"$sealed"}, {"$secret"}
WHY_NULL = ("erased", "unreadable")
"""The members of which one is true if data is null."""
WHOLE_URL = "fullUrl"
"""A member of webhooks that is left out where it is a secret; `url` is beside it."""
MISSING = "no such member"
EXTENSIONS = {
    "occurredAt": "occurredat",
    "correlation": "correlationid",
    "causation": "causationid",
}
"""Members of the stored metadata, and the names of their CloudEvents attributes."""
SOURCE = re.compile(r"(?:/logs/[^/]+)?(/.*)")
"""The `source` of an event. It may begin with the name of the log, which is not a part of the stored event."""


def load_json(text: str | bytes) -> Any:
    """Return the value of JSON, in which no object may have a member twice. Whole numbers beyond 64 bits become floats, as
    in the service.
    """
    return json.loads(text, object_pairs_hook=_members, parse_int=_whole_number)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Wrong("an object has two members of one name")
    return found


def _whole_number(digits: str) -> int | float:
    return int(digits) if -(2**63) <= int(digits) < 2**64 else float(digits)


def exact(value: Any) -> str:
    """Return a text that is the same for equal JSON values only. In Python, 1 and true would be equal."""
    return json.dumps(value, sort_keys=True)


def time_of(at: int) -> str:
    """Return a time, given in microseconds since 1970, as the service writes it."""
    moment = EPOCH + timedelta(microseconds=at)
    return moment.isoformat(timespec="milliseconds")[:23] + "Z"


def check_readable(files: dict[str, bytes], rows: list[Any]) -> tuple[int, int, int]:
    """Check that the readable events are the proven ones. Return the number of opened sealed fields, of erased fields, and
    of events that the service could not read.
    """
    lines = files[EVENTS].splitlines()
    if len(lines) != len(rows):
        raise Wrong(f"{EVENTS} has {len(lines)} events, and {len(rows)} are proven")
    opened_fields = erased = lost = 0
    for row, line in zip(rows, lines, strict=True):
        shown, version = load_json(line), row[1]
        data, closed, damaged = (shown.pop(name, None) for name in ("data", *WHY_NULL))
        _check_attributes(row, shown, damaged=damaged is True)
        if damaged is not None:
            if damaged is not True or data is not None or closed:
                raise Wrong(
                    f"{EVENTS} says something of event {version}, and that it is unreadable"
                )
            lost += 1
            continue
        said = _fields_shown_as_sealed(load_json(row[6]), data, version)
        if closed and (not said or any(each is not None for each in said)):
            raise Wrong(f"{EVENTS} says that event {version} was erased, and shows it")
        opened_fields, erased = (
            opened_fields + (0 if closed else len(said)),
            erased + (len(said) if closed else 0),
        )
    return opened_fields, erased, lost


def _check_attributes(row: Any, shown: dict[str, Any], *, damaged: bool) -> None:
    """Check the attributes of an event against its stored row. If the event is damaged, its metadata may be, too."""
    position, version, at, stream, type_, meta, _ = row
    kind, _, identity = stream.partition("/")
    try:
        known = {"by": load_json(meta)["by"], **load_json(meta)}
    except (ValueError, KeyError, TypeError):
        if not damaged:
            raise
        known = {"by": "unknown"}
    if found := SOURCE.fullmatch(str(shown.get("source"))):
        shown = {**shown, "source": found[1]}
    expected = {
        "specversion": "1.0",
        "id": str(position),
        "type": type_,
        "source": f"/api/{kind}s/{identity}",
        "subject": identity,
        "time": time_of(at),
        "datacontenttype": "application/json",
        "position": position,
        "version": version,
        "actor": known["by"],
        **{shown_as: known[name] for name, shown_as in EXTENSIONS.items() if name in known},
    }
    for name in {**expected, **shown}:
        if exact(shown.get(name, MISSING)) != exact(expected.get(name, MISSING)):
            raise Wrong(f"{EVENTS} says another `{name}` of event {version} than was proven")


def _fields_shown_as_sealed(stored: Any, shown: Any, version: int) -> list[Any]:
    """Return the values that are shown in place of the sealed fields of an event, and check that all else is equal."""
    if isinstance(stored, dict) and set(stored) == SEALED:
        return [shown]
    if isinstance(stored, dict) and set(stored) == SECRET and shown == "***":
        return []
    if isinstance(stored, dict) and isinstance(shown, dict):
        if isinstance(whole := stored.get(WHOLE_URL), dict) and set(whole) == SECRET:
            stored = {name: value for name, value in stored.items() if name != WHOLE_URL}
        same = set(stored) == set(shown)
        pairs = [(stored[name], shown[name]) for name in stored] if same else []
    elif isinstance(stored, list) and isinstance(shown, list):
        same = len(stored) == len(shown)
        pairs = list(zip(stored, shown, strict=True)) if same else []
    else:
        same, pairs = exact(stored) == exact(shown), []
    if not same:
        raise Wrong(f"{EVENTS} says something else of event {version} than was proven")
    return [said for one, other in pairs for said in _fields_shown_as_sealed(one, other, version)]


def check_report(
    files: dict[str, bytes], stream: str, head: Signed, reads: list[tuple[str, ...]]
) -> None:
    """Check that the page for people shows exactly the readable events and the reads, by making it again from these."""
    page = files[REPORT].decode()
    events = [load_json(line) for line in files[EVENTS].splitlines()]
    said = [unescape(part.partition("</pre>")[0]) for part in page.split("<pre>")[1:]]
    if len(said) != len(events) or page != report(stream, events, said, head, reads):
        raise Wrong(f"{REPORT} shows something else than {EVENTS} and {ACCESSES}")
    for event, text in zip(events, said, strict=True):
        if exact(load_json(text)) != exact(event["data"]):
            raise Wrong(f"{REPORT} shows something else of event {event['version']} than {EVENTS}")
