"""The listening socket: bound before anything else starts, opened when everything is ready."""

from __future__ import annotations

import errno
import socket

from api.settings import Settings, SetupError

BACKLOG = 4096
"""Connections that may wait in the kernel to be accepted."""
UNSENT_BYTES = 128 * 1024
"""Bytes of a connection that the kernel holds unsent (TCP_NOTSENT_LOWAT)."""
USER_TIMEOUT_MS = 60_000
"""Milliseconds after which a connection whose client acknowledges nothing is lost (TCP_USER_TIMEOUT)."""


def bind(settings: Settings) -> socket.socket:
    """Bind a socket to the configured address. It does not listen yet, so early clients are refused by the kernel.

    Raises:
        SetupError: the address cannot be bound.
    """
    found = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if found.family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections inherit both options: the kernel holds little for a slow reader, and a client that disappeared
        # without closing is noticed.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        found.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as error:
        found.close()
        raise _refusal(settings, error) from None
    return found


def listen(on: socket.socket, settings: Settings) -> None:
    """Begin to listen. Two servers can bind the same port while neither listens, so the second one fails here.

    Raises:
        SetupError: another server listens already.
    """
    try:
        on.listen(BACKLOG)
    except OSError as error:
        raise _refusal(settings, error) from None


def url(on: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = on.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def url_from_here(on: socket.socket) -> str:
    """The URL of a listening socket for clients on this machine: a loopback address in the place of "all addresses"."""
    for everywhere, here in (("//0.0.0.0:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        if everywhere in url(on):
            return url(on).replace(everywhere, here)
    return url(on)


def _refusal(settings: Settings, error: OSError | UnicodeError) -> SetupError:
    number = error.errno if isinstance(error, OSError) else None
    other_port = "choose another with --port or EXECUTIONS_PORT"
    if number == errno.EADDRINUSE:
        return SetupError(f"port {settings.port} is taken; {other_port}")
    if number in {errno.EACCES, errno.EPERM}:
        return SetupError(f"port {settings.port} is not for this user; {other_port}")
    reason = (isinstance(error, OSError) and error.strerror) or "it is no name of a host"
    return SetupError(
        f"host {settings.host} cannot be listened on ({reason}); "
        "choose another with --host or EXECUTIONS_HOST"
    )
