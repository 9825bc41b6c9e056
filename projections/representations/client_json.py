"""JSON for clients: what is sealed in it is opened, or null."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import partial
from typing import Any

import orjson

from domain.eventlog.codec import exact
from domain.eventlog.encryption import DataKey, WrongKey, usable
from domain.sealing import SEALED_JSON, SECRET_JSON, Ciphertext

ERASED = b',"erased":true}'
WHOLE_URL = re.compile(rb',"fullUrl":{"\$secret":"[^"]*"}')
"""The whole URL of a webhook, which no reader sees: beside it stands `url`, as far as it may be seen."""


def plain_json(value: Any) -> bytes:
    """JSON of what was opened before; content whose key was destroyed reads as null, and a document says
    `"erased": true` at its end.

    So does what is damaged; then it says `"unreadable": true`.
    """
    closed: set[bool] = set()

    def as_null(value: object) -> Any:
        if isinstance(value, Ciphertext):
            closed.add(value.damaged)
        return _as_null(value)

    json = orjson.dumps(value, as_null)
    if not closed or "$id" not in value:
        return json
    return mark_unreadable(json) if True in closed else mark_erased(json)


def with_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    """An object that is shown within another: `None` for content that is not open, and why at its end."""
    found = {value.damaged for value in entry.values() if isinstance(value, Ciphertext)}
    if not found:
        return entry
    shown = {name: None if isinstance(v, Ciphertext) else v for name, v in entry.items()}
    return {**shown, "unreadable" if True in found else "erased": True}


def mark_unreadable(json: bytes) -> bytes:
    """A JSON object, not an empty one, with `"unreadable": true` at its end."""
    return json[:-1] + b',"unreadable":true}'


def mark_erased(json: bytes) -> bytes:
    """A JSON object, not an empty one, with `"erased": true` at its end."""
    return json if json.endswith(ERASED) else json[:-1] + ERASED


def _as_null(value: object) -> Any:
    if isinstance(value, Decimal):
        return exact(value)
    if not isinstance(value, Ciphertext):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return None


def open_json(sealed: bytes, key: DataKey | None) -> bytes:
    """Stored JSON with its tokens replaced by their content; `null` where the key was destroyed.

    Secrets stay secrets: they read as `"***"`, and the whole URLs of webhooks are left out.
    """
    if b'"$secret"' in sealed:
        sealed = SECRET_JSON.sub(b'"***"', WHOLE_URL.sub(b"", sealed))
    if b'"$sealed"' not in sealed:
        return sealed
    if (known := usable(key)) is None:
        return SEALED_JSON.sub(b"null", sealed)
    return SEALED_JSON.sub(lambda token: known.open(token[1].decode()), sealed)


def open_and_mark(sealed: bytes, key: DataKey | None) -> bytes:
    """`open_json` of an object that is shown in spite of what cannot be opened in it: that is `null`,
    and at its end stands `"unreadable": true`, or `"erased": true` where the key was destroyed.
    """
    if usable(key) is None and SEALED_JSON.search(sealed):
        return mark_erased(open_json(sealed, None))
    try:
        return open_json(sealed, key)
    except WrongKey:
        assert key is not None
        return mark_unreadable(SEALED_JSON.sub(partial(_open_or_null, key), sealed))


def _open_or_null(key: DataKey, token: re.Match[bytes]) -> bytes:
    return key.open_or_report(token[1].decode()) or b"null"
