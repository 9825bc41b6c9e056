"""Following a stream from the outside: every frame once, whatever happens to the connection."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import httpx

from api.client.address import Address, unknown, unreached

SILENCE = 45.0
"""Seconds without even a heartbeat, after which the connection is taken for lost."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
LINE_END = re.compile(r"\r\n|\n|\r(?!\Z)")
"""A last `\\r` may be half of one: it waits for what follows."""


class Frame(NamedTuple):
    """One server-sent event; `data` is JSON."""

    type: str
    id: str
    data: str
    retry: float | None = None


class Refused(Exception):
    """The service does not give this stream, and asking again would not help."""


def follow(
    where: Address,
    path: str,
    query: Mapping[str, str],
    lost: Callable[[str, float], None],
) -> Iterator[Frame]:
    """Frames until the stream has ended. A lost connection is made again, after `lost` was called with why
    and for how long it waits.

    Raises:
        Refused: the request is wrong, or not allowed.
    """
    place, pause = "", SHORTEST_PAUSE
    log: dict[str, str] = {}
    headers = {"Accept": "text/event-stream", **authorization(where)}
    with httpx.Client(headers=headers, timeout=httpx.Timeout(10, read=SILENCE)) as client:
        while True:
            wait, reason = None, ""
            try:
                for frame in _visit(client, where, path, query, place=place, log=log):
                    place, pause, wait = frame.id or place, SHORTEST_PAUSE, frame.retry
                    yield frame
            except Ended:
                return
            except httpx.ConnectError as error:
                reason = unreached(where.url, str(error))
            except httpx.HTTPError as error:
                reason = f"{where.url}: {str(error) or type(error).__name__}"
            if wait is not None:
                reason = f"{where.url} is going away"
            wait = pause if wait is None else wait
            if reason:
                lost(reason, wait)
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


class Ended(Exception):
    """There is nothing to come any more."""


def authorization(where: Address) -> dict[str, str]:
    """The header with the token, if there is one."""
    return {"Authorization": f"Bearer {where.token}"} if where.token else {}


def _visit(
    client: httpx.Client,
    where: Address,
    path: str,
    query: Mapping[str, str],
    *,
    place: str,
    log: dict[str, str],
) -> Iterator[Frame]:
    """The frames of one connection. `log` names the log that the place is of, once it is known."""
    resumed = {"Last-Event-ID": place} if place else {}
    url = f"{where.url}/api{path}"
    with client.stream("GET", url, params={**query, **log}, headers=resumed) as response:
        if response.status_code == 204:
            raise Ended
        if response.status_code in {429, 500, 502, 503, 504}:
            raise httpx.RemoteProtocolError(f"the server answers {response.status_code}")
        require_ok(where, response)
        if not log and "log-id" in response.headers:
            log["log"] = response.headers["log-id"]
        yield from frames(lines(response.iter_text()))


def require_ok(where: Address, response: httpx.Response) -> None:
    """Raises Refused where it is not the answer that was asked for."""
    if response.status_code == 401:
        raise Refused(unknown(where))
    if response.status_code not in {200, 201}:
        raise Refused(_reason(response))


def _reason(response: httpx.Response) -> str:
    response.read()
    try:
        problem = response.json()
        details = [f"{e['path']}: {e['message']}" for e in problem.get("errors", ())]
        return "; ".join(details) or str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answers {response.status_code}"


def lines(parts: Iterable[str]) -> Iterator[str]:
    """The lines of a text that comes in parts.

    Not `str.splitlines`, which httpx takes: it ends a line at characters that may stand in a text.
    """
    rest = ""
    for part in parts:
        *whole, rest = LINE_END.split(rest + part)
        yield from whole


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """The frames in the lines of an event stream (WHATWG HTML, section 9.2.6)."""
    found: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in found:
                retry = found.get("retry", "")
                yield Frame(
                    found.get("event", "message"),
                    found.get("id", ""),
                    found["data"],
                    int(retry) / 1000 if retry.isdecimal() else None,
                )
            found = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in found:
            value = f"{found['data']}\n{value}"
        if name:
            found[name] = value
