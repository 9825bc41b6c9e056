"""The frames of a stream of the service, and notices while it reconnects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from rich.console import Console
from rich.text import Text

from api.cli.terminal import plain
from api.client.connection import ADVICE

if TYPE_CHECKING:
    from service_executions import Client


class ReceivedFrame(NamedTuple):
    """A frame: its JSON text, and the parsed value."""

    text: str
    content: Any

    @property
    def position(self) -> int:
        """The position of the frame's event; 0 for other frames."""
        found: int = self.content.get("position", 0)
        return found


def follow(
    client: Client,
    path: str,
    query: dict[str, str],
    *,
    start: str | None = None,
    lost: Callable[[], None] = lambda: None,
) -> Iterator[ReceivedFrame]:
    """The frames until the stream has ended, each once. `lost` is called when the connection is lost."""
    from service_executions import Stream

    notices = Console(stderr=True, soft_wrap=True)

    def on_lost(reason: str, seconds: float) -> None:
        advice = "" if stream.caught_up else f". {ADVICE}"
        notices.print(Text(plain(f"{reason}; trying again in {seconds:.1f} s{advice}"), "dim"))
        lost()

    stream = Stream(client.transport, path, query, _parse, start=start, on_lost=on_lost)
    return stream


def _parse(text: str) -> ReceivedFrame:
    return ReceivedFrame(text, orjson.loads(text))
