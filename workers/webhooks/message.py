"""What is sent to a webhook: its body and its headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from domain.eventlog.codec import EventRow
from domain.eventlog.encryption import DataKey
from domain.execution.state import Execution
from domain.execution.webhook import RESERVED, Webhook
from domain.json_forms import format_time
from domain.model import Versioned
from projections.representations.cloudevents import envelope
from projections.representations.execution import document
from workers.webhooks.signing import signatures

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""What has a meaning in Slack's text."""


def json_body(row: EventRow, key: DataKey | None, log: str | None = None) -> bytes:
    """The CloudEvents envelope of an event of a log, which may have a name, and `timestamp`, its time."""
    shown, time = envelope(row, key, log=log), format_time(row.at)
    return b'%b,"timestamp":"%b"}' % (shown[:-1], time.encode())


def slack_body(row: EventRow, after: Versioned[Any]) -> bytes:
    """A message for Slack: what happened to which execution. It quotes no content.

    `after` is the state after the event; once that is final, its duration and cost are sent. Of what is no
    execution it says the type of the event and the id.
    """
    if not isinstance(after.state, Execution):
        return orjson.dumps({"text": f"{row.type}: {after.state.id}".translate(ESCAPES)})
    state, what = after.state, row.type.removeprefix("execution.").replace(".", " ")
    text = f"Execution {state.id} of {state.service}: {what}, now {state.status}"
    if state.final:
        metrics = document(after, after.at, ())["metrics"]
        text += f" after {metrics.get('duration', 0) / 1_000:g} s"
        text += f", cost {metrics['cost']} {metrics['currency']}"
    return orjson.dumps({"text": text.translate(ESCAPES)})


def message_headers(
    hook: Webhook, secrets: Sequence[bytes], id_: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The headers of a call: those of the webhook, and the signatures."""
    own: Mapping[str, Any] = hook.headers or {}
    return {
        **{name: value for name, value in own.items() if name.lower() not in RESERVED},
        "content-type": "application/json",
        **signatures(secrets, id_, at, body),
    }
