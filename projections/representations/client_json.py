"""Makes JSON for clients: sealed content is opened, or null if it cannot be."""

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
"""The full URL of a webhook, which no client may see: beside it is `url`, in which secret parts are masked."""


def plain_json(value: Any) -> bytes:
    """Return the JSON of values that were unsealed before. A remaining `Ciphertext` is written as null.

    If the value is a document (it has `$id`), it ends with `"unreadable": true` if a `Ciphertext` was damaged, else with
    `"erased": true`, because the key was destroyed.
    """
    damaged: set[bool] = set()

    def as_null(value: object) -> Any:
        if isinstance(value, Ciphertext):
            damaged.add(value.damaged)
        return _as_null(value)

    json = orjson.dumps(value, as_null)
    if not damaged or "$id" not in value:
        return json
    return mark_unreadable(json) if True in damaged else mark_erased(json)


def with_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an object with None in place of each `Ciphertext`, and if there was any, with `unreadable` or `erased` as
    the last member.
    """
    found = {value.damaged for value in entry.values() if isinstance(value, Ciphertext)}
    if not found:
        return entry
    shown = {name: None if isinstance(v, Ciphertext) else v for name, v in entry.items()}
    return {**shown, "unreadable" if True in found else "erased": True}


def mark_unreadable(json: bytes) -> bytes:
    """Return a JSON object, which must not be empty, with `"unreadable": true` at its end."""
    return json[:-1] + b',"unreadable":true}'


def mark_erased(json: bytes) -> bytes:
    """Return a JSON object, which must not be empty, with `"erased": true` at its end, once."""
    return json if json.endswith(ERASED) else json[:-1] + ERASED


def _as_null(value: object) -> Any:
    if isinstance(value, Decimal):
        return exact(value)
    if not isinstance(value, Ciphertext):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")
    return None


def open_json(sealed: bytes, key: DataKey | None) -> bytes:
    """Return stored JSON with its sealed tokens replaced by their content, or by `null` if the key was destroyed.

    Secrets are not opened: they become `"***"`, and the full URLs of webhooks are left out.
    """
    if b'"$secret"' in sealed:
        sealed = SECRET_JSON.sub(b'"***"', WHOLE_URL.sub(b"", sealed))
    if b'"$sealed"' not in sealed:
        return sealed
    if (known := usable(key)) is None:
        return SEALED_JSON.sub(b"null", sealed)
    return SEALED_JSON.sub(lambda token: known.open(token[1].decode()), sealed)


def open_and_mark(sealed: bytes, key: DataKey | None) -> bytes:
    """Return a stored JSON object with its sealed tokens replaced by their content, and `null` for what cannot be opened.

    If anything could not be opened, the object ends with `"erased": true` if the key was destroyed, else with
    `"unreadable": true`.
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
